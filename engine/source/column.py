"""Columns of tables: infer the type of a whole column, and its name.

The kind of a column is inferred from every value of the file: int (int64), long (int64 beyond 2**53), float
(float64), bool, date (date32), stamp and zoned (timestamp in microseconds, naive or UTC), list (of strings), ints and
floats (lists of numbers), string. Whole numbers beyond 64 bits (huge), fractions beside long whole numbers (precise)
and other incompatible kinds (mixed) make a string column, in which every value stays as it was written. A column
without any value has the null type, and can get any type later.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from quiver.engine.core import metadata
from quiver.engine.core.metadata import EXACT
from quiver.errors import BadData
from quiver.wording import nearest

if TYPE_CHECKING:
    import pyarrow as pa

_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = "[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?"
#: Syntax of each kind. A number with a leading zero is a label, not a number.
_WRITTEN = {
    "int": "-?(0|[1-9][0-9]{0,18})",
    "float": "-?((0|[1-9][0-9]*)([.][0-9]*)?|[.][0-9]+)([eE][-+]?[0-9]+)?|[nN]a[nN]",
    "bool": "true|false|True|False|TRUE|FALSE",
    "date": _DAY,
    "stamp": f"{_DAY}({_TIME})?",
    "zoned": _DAY + _TIME + "(Z|[-+][0-9]{2}:?[0-9]{2})",
}
_WHOLE = "^-?(0|[1-9][0-9]*)$"
#: Kinds of values that are stored as text, and are none.
_HELD = {
    "huge": "whole numbers beyond 64 bits",
    "precise": "fractions beside whole numbers above 2**53",
    "mixed": "values of several types",
}
#: Characters that no metadata column has in its name.
_REFUSED = re.compile('[.`"\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]')
_LONG = "^-?[0-9]{16,}$"  # float64 may change its last digits
_DATES = ("date", "stamp", "zoned")
_WIDER = {
    frozenset(("int", "float")): "float",
    frozenset(("int", "long")): "long",
    **{frozenset((kind, "huge")): "huge" for kind in ("int", "long")},
    **{frozenset(("float", kind)): "precise" for kind in ("long", "huge")},
    **{frozenset((kind, "precise")): "precise" for kind in ("int", "long", "huge", "float")},
    frozenset(("date", "stamp")): "stamp",
    frozenset(("ints", "floats")): "floats",
    # An empty list has no type of its own.
    frozenset(("list", "empty")): "list",
    frozenset(("ints", "empty")): "ints",
    frozenset(("floats", "empty")): "floats",
}


def datatype(kind: str | None) -> "pa.DataType":
    """Return the Arrow type of a kind; a column without any value has the null type."""
    import pyarrow as pa

    makers: dict[str | None, Callable[[], pa.DataType]] = {
        None: pa.null,
        "int": pa.int64,
        "long": pa.int64,
        "float": pa.float64,
        "bool": pa.bool_,
        "date": pa.date32,
        "stamp": lambda: pa.timestamp("us"),
        "zoned": lambda: pa.timestamp("us", "UTC"),
        "list": lambda: pa.list_(pa.string()),
        "empty": lambda: pa.list_(pa.string()),
        "ints": lambda: pa.list_(pa.int64()),
        "floats": lambda: pa.list_(pa.float64()),
    }
    return makers.get(kind, pa.string)()


class Inference:
    """The kinds of a table's columns, inferred batch by batch, in order of first appearance."""

    def __init__(self) -> None:
        self._kinds: dict[str, str | None] = {}

    def see_text(self, name: str, values: "pa.Array") -> None:
        """Add strings of a text file; an empty string is a missing value."""
        import pyarrow.compute as pc

        known = self._kinds.setdefault(name, None)
        if known != "string":
            filled = values.filter(pc.fill_null(pc.not_equal(values, ""), False))
            self._learn(name, _kind_of_text(filled, tuple(_WRITTEN)))

    def see_values(self, name: str, values: Sequence[Any], *, dates: bool = True) -> None:
        """Add JSON values, None for a missing value; with ``dates``, strings may be dates."""
        import pyarrow as pa

        known = self._kinds.setdefault(name, None)
        if known == "string":
            return
        found = set(map(type, values))
        if str in found:
            texts = [value for value in values if isinstance(value, str) and value]
            self._learn(name, _kind_of_text(pa.array(texts, pa.string()), _DATES if dates else ()))
        if found - {str, type(None)}:
            others = [value for value in values if value is not None and not isinstance(value, str)]
            for kind in set(map(_kind_of_value, others)):
                self._learn(name, kind)

    def schema(self) -> "pa.Schema":
        """Return the columns seen so far."""
        import pyarrow as pa

        return pa.schema(
            [
                metadata.as_text(name, _HELD[kind]) if kind in _HELD else pa.field(name, datatype(kind))
                for name, kind in self._kinds.items()
            ]
        )

    def _learn(self, name: str, kind: str | None) -> None:
        known = self._kinds[name]
        if kind is not None and kind != known:
            other = "string" if "string" in (known, kind) else "mixed"
            self._kinds[name] = kind if known is None else _WIDER.get(frozenset((known, kind)), other)


def _kind_of_text(values: "pa.Array", among: Sequence[str]) -> str | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(values):
        return None
    for kind in among:
        if pc.all(pc.match_substring_regex(values, f"^({_WRITTEN[kind]})$")).as_py():
            if kind == "float" and pc.all(pc.match_substring_regex(values, _WHOLE)).as_py():
                return "huge"
            try:
                values.cast(datatype(kind))
            except pa.ArrowInvalid:  # 31 February, or an integer of more than 64 bits
                return "huge" if kind == "int" else "string"
            return _exactly(values, kind)
    return "string"


def _exactly(values: "pa.Array", kind: str) -> str:
    """Separate integers that float64 represents exactly from larger ones."""
    import pyarrow.compute as pc

    if kind not in ("int", "float"):
        return kind
    digits = values.filter(pc.match_substring_regex(values, _LONG)).to_pylist()
    if not any(abs(int(each)) > EXACT for each in digits):
        return kind
    return "long" if kind == "int" else "precise"


def _kind_of_value(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        small = "int" if -EXACT <= value <= EXACT else "long"
        return small if -(2**63) <= value < 2**63 else "huge"
    if isinstance(value, float):
        return "float"
    if isinstance(value, date):
        return "date" if not isinstance(value, datetime) else "stamp" if value.tzinfo is None else "zoned"
    return _kind_of_list(value) if isinstance(value, list) else "string"


def _kind_of_list(value: list[Any]) -> str:
    kinds = {str if isinstance(each, str) else type(each) for each in value}
    if not kinds:
        return "empty"
    if kinds == {str}:
        return "list"
    if kinds == {int} and all(-(2**63) <= each < 2**63 for each in value):
        return "ints"
    if kinds == {float} or (kinds == {int, float} and all(abs(each) <= EXACT for each in value if type(each) is int)):
        return "floats"
    return "string"


def from_text(values: "pa.Array", kind: "pa.DataType") -> "pa.Array":
    """Cast strings; an empty one is null unless the column holds strings."""
    import pyarrow as pa

    if pa.types.is_null(kind):
        return pa.nulls(len(values))
    if pa.types.is_string(kind):
        return values
    texts = filled(values)
    return pa.nulls(len(texts), kind) if texts.null_count == len(texts) else texts.cast(kind)


def from_values(values: Sequence[Any], kind: "pa.DataType") -> "pa.Array":
    """Build a column from JSON values; in a string column other values become their JSON text."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        plain = set(map(type, values)) <= {str, type(None)}
        return pa.array(values if plain else [_as_text(value) for value in values], kind)
    filled = [None if value == "" else value for value in values]
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        written = [str(value) if isinstance(value, date) else value for value in filled]
        return pa.array(written, pa.string()).cast(kind)
    return pa.array(filled, kind)


def filled(values: "pa.Array") -> "pa.Array":
    """Return strings with the empty ones as nulls."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    plain = isinstance(value, int | date) and not isinstance(value, bool)
    return str(value) if plain else json.dumps(value, ensure_ascii=False, default=str)


def numbered(names: Iterable[str]) -> list[str]:
    """Give every column a unique name: ``column_2`` for an unnamed second column, ``a_2`` for a second ``a``.

    Names are compared without case, because conditions do not distinguish ``Price`` from ``price``.
    """
    taken: set[str] = set()
    result = []
    for position, name in enumerate(names, 1):
        stem = fresh = name or f"column_{position}"
        count = 1
        while fresh.lower() in taken:
            count += 1
            fresh = f"{stem}_{count}"
        taken.add(fresh.lower())
        result.append(fresh)
    return result


def rename(names: Sequence[str], stored: Iterable[str] = ()) -> dict[str, str]:
    """Map the columns of a table to metadata columns. A column keeps its name if metadata can have it.

    That is the rule for every source: tables, rows, Items and ``update_meta``. A name that metadata cannot have gets
    ``_`` for the characters that are not allowed, and ``meta_`` before it if it is taken.

    Args:
        names: the columns of the table.
        stored: the metadata columns of the collection. Earlier versions wrote ``base colour`` as ``base_colour``: a
            collection that has such a column, and none of the name itself, goes on with it.

    >>> rename(["base colour", "id", "Brand.Name", "größe", " price"])
    {'base colour': 'base colour', 'id': 'meta_id', 'Brand.Name': 'Brand_Name', 'größe': 'größe', ' price': 'price'}
    >>> rename(["base colour", "size"], ["base_colour"])
    {'base colour': 'base_colour', 'size': 'size'}
    """
    known = set(stored)
    return dict(zip(names, numbered(_allowed(name, known) for name in names), strict=True))


def _allowed(name: str, stored: set[str]) -> str:
    """Return the metadata column for a column of a table; empty if nothing of its name is allowed."""
    bare = name.strip()
    if bare not in stored and (former := _former(bare)) in stored:
        return former
    if metadata.fault(bare) is None:
        return bare
    plain = _REFUSED.sub("_", bare)[: metadata.LONGEST_NAME - 20]
    if not plain.strip("_"):
        return ""
    return plain if metadata.fault(plain) is None else f"meta_{plain}"


def _former(name: str) -> str:
    """Return the column that earlier versions made of a name: letters, digits and _ alone."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)[: metadata.LONGEST_NAME - 20]
    taken = plain.lower() == "uri" or plain.startswith("_") or metadata.fault(plain) is not None
    return f"meta_{plain}" if taken and plain.strip("_") else plain


def renaming_notes(names: dict[str, str]) -> tuple[str, ...]:
    """Return a note for each renamed column."""
    return tuple(f"column {old!r} is stored as {new}" for old, new in names.items() if old != new)


def known(column: str, names: Sequence[str], *, path: str) -> str:
    """Return the column, or raise if the file has no such column."""
    if column not in names:
        near = nearest(column, names)
        hint = f": did you mean {near!r}? Its" if near else "; its"
        raise BadData(f"{path} has no column {column!r}{hint} columns are {', '.join(names)}")
    return column


def union(schemas: Sequence["pa.Schema"]) -> "pa.Schema":
    """Return all columns of several tables; a column of several types gets a common type."""
    import pyarrow as pa

    fields: dict[str, pa.Field] = {}
    for field in (field for schema in schemas for field in schema):
        known = fields.setdefault(field.name, field)
        kind = metadata.common(known.type, field.type)
        if kind != known.type:
            fields[field.name] = field if kind == field.type else pa.field(field.name, kind)
    return pa.schema(list(fields.values()))
