"""Conversion of Python metadata values to JSON types and dates.

NumPy scalars, decimals, paths, sets and the missing values of pandas become plain values. Values without a plain form,
such as bytes, are refused with their type.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from os import PathLike, fspath
from typing import Any
from uuid import UUID

import numpy as np

_KEPT = (bool, int, float)


def plain(value: Any) -> Any:
    """Return a value as None, bool, int, float, str, date, datetime, or a list or dict of these.

    >>> plain(np.float32(0.5)), plain({"a", "b"}), plain(float("nan"))
    (0.5, ['a', 'b'], nan)

    Raises:
        TypeError: it has no such form; the message is its type.
        ValueError: a text has half a surrogate pair, or is nested too deeply.
    """
    if value is None or type(value) in _KEPT:
        return value
    form = next((form for kind, form in _FORMS if isinstance(value, kind)), _other)
    return form(value)


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can hold a text: it cannot hold half a surrogate pair, such as half an emoji.

    >>> is_utf8("emoji"), is_utf8(chr(0xD83D))
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"has half a surrogate pair at character {error.start}, which is not valid text") from error
    return value


def _scalar(value: np.generic) -> Any:
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else _date(value)
    if isinstance(value, np.timedelta64 | np.void | np.complexfloating | np.bytes_):
        raise TypeError(type(value).__name__)
    return plain(value.item())


def _date(value: np.datetime64) -> Any:
    days = np.datetime_data(value.dtype)[0] in ("Y", "M", "W", "D")
    return value.astype("datetime64[D]" if days else "datetime64[us]").item()


def _moment(value: datetime) -> datetime | None:
    if type(value).__name__ == "NaTType":  # of pandas, and a datetime
        return None
    return datetime.combine(value.date(), value.timetz())  # without the nanoseconds of pandas


def _number(value: Decimal) -> Any:
    """Return a decimal as a number, or as text if float64 cannot represent it."""
    if value.is_nan():
        return float("nan")
    if value.is_finite() and abs(value) < 2**63 and value == value.to_integral_value():
        return int(value)
    near = float(value)
    return near if not value.is_finite() or Decimal(repr(near)) == value else str(value)


def _record(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {_name(name): plain(member) for name, member in value.items()}


def _list(value: Iterable[Any]) -> list[Any]:
    return [plain(member) for member in value]


def _set(value: Iterable[Any]) -> list[Any]:
    return sorted(_list(value), key=str)


def _path(value: PathLike[Any]) -> Any:
    return plain(fspath(value))


def _other(value: Any) -> None:
    if type(value).__name__ == "NAType":  # of pandas
        return
    raise TypeError(type(value).__name__)


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"record with a name of type {type(name).__name__}")
    return _text(name)


#: Conversions by type; the first match applies.
_FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (np.generic, _scalar),
    (str, lambda value: _text(str(value))),
    (bool, bool),
    (int, int),
    (float, float),
    (datetime, _moment),
    (date, lambda value: value),
    (Decimal, _number),
    (time, time.isoformat),
    (UUID, str),
    (PathLike, _path),
    (Mapping, _record),
    (set | frozenset, _set),
    (np.ndarray, lambda value: plain(value.tolist())),
    (list | tuple, _list),
)
