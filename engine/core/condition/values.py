"""Constants of conditions: as literals write them and parameters bring them, before a column gives them a type."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, DecimalException
from typing import Any

from quiver.errors import BadSpec

#: A number without a fraction is kept exactly, whatever its size; so is a decimal fraction.
Number = Decimal
NANOSECONDS = 10**9
DAY = 86_400 * NANOSECONDS
_EPOCH = date(1970, 1, 1).toordinal()
_NUMBER = re.compile(r"\s*[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?\s*")
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "infinity": "Infinity"}
_DAY = "(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(:(?P<second>[0-9]{2})([.](?P<fraction>[0-9]{1,9}))?)?"
_ZONE = "(?P<zone>Z|z|[+-][0-9]{2}(:?[0-9]{2})?)"
_MOMENT = re.compile(rf"{_DAY}([ Tt]{_TIME} ?{_ZONE}?)?")
_CLOCK = re.compile(_TIME)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time.

    Attributes:
        nanoseconds: since 1970-01-01T00:00, in UTC or, without a zone, by the clock on the wall.
        zoned: whether it has a time zone.
    """

    nanoseconds: int
    zoned: bool


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day, in nanoseconds since midnight."""

    nanoseconds: int


#: What a constant may be; numbers that are not finite are Decimals too.
Value = None | bool | Decimal | str | Moment | Clock


@dataclass(frozen=True, slots=True)
class Constant:
    """A value with the way it was written, for messages and for columns of text."""

    value: Value
    written: str

    def __str__(self) -> str:
        return f"{self.written[:60]!r}" if isinstance(self.value, str) else self.written[:60]


def number(text: str) -> Constant:
    """Read a number as SQL writes it.

    Raises:
        BadSpec: its exponent is out of all bounds.
    """
    try:
        return Constant(Decimal(text), text)
    except DecimalException:
        raise BadSpec(f"{text[:40]} is not a number that can be compared") from None


def number_in(text: str) -> Decimal | None:
    """Return the number that a text holds, NaN and infinities too; None where it holds none."""
    plain = text.strip().lower()
    if plain.lstrip("+-") in _NOT_FINITE and len(plain) - len(plain.lstrip("+-")) < 2:
        sign = "-" if plain.startswith("-") and plain != "-nan" else ""
        return Decimal(sign + _NOT_FINITE[plain.lstrip("+-")])
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(plain)
    except DecimalException:
        return None


def moment_in(text: str) -> Moment | None:
    """Return the date or timestamp that a text holds in ISO 8601; None where it holds none.

    >>> moment_in("1970-01-01T01:00:00+01:00")
    Moment(nanoseconds=0, zoned=True)
    """
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        return None
    try:
        days = date(int(found["year"]), int(found["month"]), int(found["day"])).toordinal() - _EPOCH
        clock = _clock(found) if found["hour"] else 0
        return Moment(days * DAY + clock - _offset(found["zone"]), found["zone"] is not None)
    except ValueError:
        return None


def clock_in(text: str) -> Clock | None:
    """Return the time of day that a text holds as HH:MM or HH:MM:SS; None where it holds none."""
    found = _CLOCK.fullmatch(text.strip())
    try:
        return Clock(_clock(found)) if found is not None else None
    except ValueError:
        return None


def _clock(found: "re.Match[str]") -> int:
    clock = time(int(found["hour"]), int(found["minute"]), int(found["second"] or 0))
    fraction = int((found["fraction"] or "").ljust(9, "0"))
    return ((clock.hour * 60 + clock.minute) * 60 + clock.second) * NANOSECONDS + fraction


def _offset(zone: str | None) -> int:
    if zone is None or zone in "Zz":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].strip(":") or 0)
    if hours > 15 or minutes > 59:
        raise ValueError(zone)
    return (-1 if zone[0] == "-" else 1) * (hours * 60 + minutes) * 60 * NANOSECONDS


def constant(given: Any) -> Constant:
    """Read a parameter: None, a bool, a number, a string, a date, a datetime or a time, of Python or NumPy.

    Raises:
        BadSpec: it is something else.
    """
    value = _plain(given)
    if value is None or isinstance(value, bool):
        return Constant(value, "NULL" if value is None else str(value).lower())
    if isinstance(value, int | float | Decimal):
        return _number(value)
    return Constant(value, value) if isinstance(value, str) else _temporal(value)


def _number(value: int | float | Decimal) -> Constant:
    if isinstance(value, int) and abs(value) >= _HUGE:  # Python is slow to write it, and no column can hold it
        return Constant(Decimal("Infinity").copy_sign(Decimal(1 if value > 0 else -1)), "a number of 1,000 digits")
    if isinstance(value, float):
        return Constant(Decimal(repr(value)), repr(value))
    return Constant(Decimal("NaN") if isinstance(value, Decimal) and value.is_nan() else Decimal(value), str(value))


_HUGE = 10**1000


def _plain(given: Any) -> Any:
    """Turn NumPy's scalars into Python's."""
    if type(given).__module__ != "numpy":
        return given
    if type(given).__name__ == "datetime64":
        return given.astype("datetime64[us]").item()
    return given.item() if hasattr(given, "item") and getattr(given, "ndim", 0) == 0 else given


def _temporal(value: Any) -> Constant:
    if isinstance(value, datetime):
        zoned = value.utcoffset() is not None
        plain = value.astimezone(UTC).replace(tzinfo=None) if zoned else value.replace(tzinfo=None)
        passed = (plain - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        extra = int(getattr(value, "nanosecond", 0))  # of pandas
        return Constant(Moment(passed * 1000 + extra, zoned), value.isoformat())
    if isinstance(value, date):
        return Constant(Moment((value.toordinal() - _EPOCH) * DAY, False), value.isoformat())
    if isinstance(value, time) and value.tzinfo is None:
        seconds = (value.hour * 60 + value.minute) * 60 + value.second
        return Constant(Clock(seconds * NANOSECONDS + value.microsecond * 1000), value.isoformat())
    raise BadSpec(
        f"a parameter is {str(value)[:40]!r}, a {type(value).__name__}: it must be None, a bool, a number, a string, a"
        " date, a datetime or a time; several in a list, for IN"
    )
