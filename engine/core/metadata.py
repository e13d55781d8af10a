"""Metadata columns: allowed names, and a common type for old and new values.

The types are whole numbers (int64), fractions (float64), booleans, dates, times with or without a zone (microseconds),
text, and lists of text or numbers. A column's type can change later: a column without values takes any type, numbers
widen, a date becomes a time, and other mixtures become text.
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from quiver.engine.core.column import Column
from quiver.errors import BadData
from quiver.types import MEDIA

#: Columns of every collection; a metadata column may not have one of these names.
RESERVED = ("id", *MEDIA, "sha256", "words")
#: Prefix of temporary columns, which exist while the type of a column changes.
TEMPORARY = "__quiver_"
#: Longest name, in characters; a longer one is probably a value in the header.
LONGEST_NAME = 200
#: Largest whole number up to which all are exact in float64.
EXACT = 2**53
#: Names of columns added by Lance and full-text search, in lower case.
_TAKEN = ("_score", "_distance", "_relevance_score", "_fragid", "vector")
#: Key in the description of a source's column: what its values are, if they are stored as text but are none.
_HELD = b"quiver.held"
_KINDS: tuple[tuple[Any, str], ...] = (
    (pt.is_boolean, "true or false"),
    (pt.is_integer, "whole numbers"),
    (pt.is_floating, "fractions"),
    (pt.is_date, "dates"),
    (lambda kind: pt.is_timestamp(kind) and kind.tz is not None, "times with a zone"),
    (pt.is_timestamp, "times"),
    (pt.is_string, "text"),
    (pt.is_null, "nothing"),
)


def describe(kind: pa.DataType) -> str:
    """Describe a column type in plain words.

    >>> describe(pa.int64()), describe(pa.timestamp("us", "UTC"))
    ('whole numbers', 'times with a zone')
    """
    if pt.is_list(kind):
        return f"lists of {describe(kind.value_type)}"
    return next((words for test, words in _KINDS if test(kind)), str(kind))


def as_text(name: str, held: str) -> pa.Field:
    """Return a text column for values that are no text but fit no other type; ``held`` describes them."""
    return pa.field(name, pa.string(), metadata={_HELD: held})


def described(field: pa.Field) -> str:
    """Describe the values of a column of a source in plain words.

    >>> described(pa.field("n", pa.int64())), described(as_text("n", "whole numbers beyond 64 bits"))
    ('whole numbers', 'whole numbers beyond 64 bits')
    """
    held = (field.metadata or {}).get(_HELD)
    return describe(field.type) if held is None else held.decode()


def is_exact_text(field: pa.Field) -> bool:
    """Whether a text column of a source has values that are no text."""
    return _HELD in (field.metadata or {})


def names_of(schema: pa.Schema) -> tuple[str, ...]:
    """Return the names of the metadata columns of a collection."""
    fields = (field for field in schema if field.name not in RESERVED and not field.name.startswith(TEMPORARY))
    return tuple(field.name for field in fields if Column.of(field) is None)


def fault(name: Any) -> str | None:
    """Return why a metadata column cannot have a name, or None if it can.

    >>> fault("price"), fault("_rowid")
    (None, 'names that begin with _row are kept for the storage')
    """
    if not isinstance(name, str):
        return f"a name is text, not {type(name).__name__}"
    lower = name.lower()
    tests = (
        (not name.strip(), "a name needs at least one visible character"),
        (len(name) > LONGEST_NAME, f"a name has at most {LONGEST_NAME} characters"),
        (any(c in name for c in '.`"'), 'a name has no dot, no backtick and no "'),
        (any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name), "a name has no control characters"),
        (lower in RESERVED, "every item has a column of that name already"),
        (lower.startswith("_row"), "names that begin with _row are kept for the storage"),
        (lower.startswith(TEMPORARY), f"names that begin with {TEMPORARY} are kept for the storage"),
        (lower.startswith("vec_"), "names that begin with vec_ are kept for vectors"),
        (lower in _TAKEN, "search results use that name"),
    )
    return next((reason for wrong, reason in tests if wrong), None)


def check_names(names: Iterable[Any], *, stored: Sequence[str] = ()) -> None:
    """Check the names of new metadata columns, also against the stored ones.

    Raises:
        BadData: a name is not allowed, comes twice, or differs from another only in case.
    """
    known = {name.lower(): name for name in stored}
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadData(f"metadata column {_short(name)} comes twice: rename one of them")
        if name not in stored and (reason := fault(name)):
            raise BadData(f"metadata cannot be called {_short(name)}: {reason}; rename it")
        seen.add(name)
        other = known.setdefault(name.lower(), name)
        if other != name and name not in stored:
            raise BadData(
                f"metadata columns {_short(other)} and {_short(name)} differ only in upper and lower case:"
                " rename one of them"
            )


def _short(name: Any) -> str:
    text = repr(name)
    return text if len(text) <= 60 else f"{text[:57]}..."


def plain(kind: pa.DataType) -> pa.DataType | None:
    """Return the metadata type for the values of an Arrow type, or None if there is none.

    Unsigned 64-bit integers become text, since half of them do not fit int64, and so do times of day.
    """
    if pt.is_dictionary(kind):
        return plain(kind.value_type)
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        inner = plain(kind.value_type)
        return pa.list_(inner) if inner in (pa.string(), pa.int64(), pa.float64()) else None
    if pt.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    tests = (
        (pt.is_null, pa.null()),
        (pt.is_uint64, pa.string()),
        (pt.is_integer, pa.int64()),
        (pt.is_floating, pa.float64()),
        (pt.is_decimal, pa.float64()),
        (pt.is_boolean, pa.bool_()),
        (pt.is_date, pa.date32()),
        (lambda k: pt.is_string(k) or pt.is_large_string(k) or pt.is_string_view(k) or pt.is_time(k), pa.string()),
    )
    return next((found for test, found in tests if test(kind)), None)


def common(here: pa.DataType, new: pa.DataType) -> pa.DataType:
    """Return the common type of two types.

    >>> common(pa.int64(), pa.float64()), common(pa.date32(), pa.string()), common(pa.null(), pa.bool_())
    (DataType(double), DataType(string), DataType(bool))
    """
    if here == new or pt.is_null(new):
        return here
    if pt.is_null(here):
        return new
    if _both(pt.is_list, here, new):
        return pa.list_(common(here.value_type, new.value_type))
    unsigned = pt.is_uint64(here) or pt.is_uint64(new)
    families: tuple[tuple[Any, pa.DataType], ...] = (
        (lambda kind: pt.is_integer(kind) and not unsigned, pa.int64()),
        (lambda kind: pt.is_integer(kind) or pt.is_floating(kind), pa.float64()),
        (pt.is_date, pa.date32()),
        (lambda kind: pt.is_date(kind) or (pt.is_timestamp(kind) and kind.tz is None), pa.timestamp("us")),
        (lambda kind: pt.is_timestamp(kind) and kind.tz is not None, pa.timestamp("us", "UTC")),
    )
    return next((wide for family, wide in families if _both(family, here, new)), pa.string())


def _both(test: Any, here: pa.DataType, new: pa.DataType) -> bool:
    return bool(test(here) and test(new))


def convert(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Convert the values of a column to another type; lists and records become JSON text.

    Raises:
        ArrowInvalid: a value does not fit, such as a whole number above 2**53 among fractions.
    """
    if values.type == kind:
        return values
    if pt.is_null(values.type) or pt.is_null(kind):
        return pa.chunked_array([pa.nulls(len(values), kind)])
    if pt.is_string(kind) and (pt.is_nested(values.type) or pt.is_time(values.type)):
        texts = [None if value is None else _text(value) for value in values.to_pylist()]
        return pa.chunked_array([pa.array(texts, kind)])
    if pt.is_string(kind) and pt.is_timestamp(values.type):
        return _times(values)
    # Fractions of a second beyond microseconds are cut: the only lossy cast.
    return pc.cast(values, kind, safe=not pt.is_timestamp(kind))


def as_stored(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert rows to the types of a collection, since another writer may have widened a column meanwhile."""
    for place, name in enumerate(rows.schema.names):
        kind = schema.field(name).type
        if rows.schema.field(place).type != kind:
            rows = rows.set_column(place, schema.field(name), convert(rows[name], kind))
    return rows


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)


def _times(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Format times without a zero fraction of a second."""
    texts = values.cast(pa.timestamp("us", values.type.tz and "UTC"), safe=False).cast(pa.string())
    return pc.replace_substring_regex(texts, r"[.]0+(Z?)$", r"\1")
