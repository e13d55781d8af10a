"""JSON files: one object per row, nested objects flattened one level, ``{"a": {"b": 1}}`` to ``a_b``.

Usually each line is one object. One array of objects, and objects over several lines, are read too.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from quiver.engine.source import column
from quiver.engine.source.delimited import Report, undecodable
from quiver.engine.source.value import is_utf8
from quiver.errors import BadData

if TYPE_CHECKING:
    import pyarrow as pa

_LINES = 8192  # parsed at a time
_DEPTH = 200
_START = re.compile(r"[^\s,]")  # of a value; a comma between two values is accepted


def flatten(row: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested objects one level; an existing column of the same name is kept."""
    if dict not in map(type, row.values()):
        return dict(row)
    flat = {name: value for name, value in row.items() if not isinstance(value, dict)}
    for name, value in row.items():
        if isinstance(value, dict):
            for inner, member in value.items():
                flat.setdefault(f"{name}_{inner}", member)
    return flat


def observe(kinds: column.Inference, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add a batch of flat rows to the inference of types."""
    names = dict.fromkeys(name for row in rows for name in row)
    for name in names:
        kinds.see_values(name, [row.get(name) for row in rows])


def to_batch(rows: Sequence[Mapping[str, Any]], schema: "pa.Schema") -> "pa.RecordBatch":
    """Build the columns of a schema from flat rows."""
    import pyarrow as pa

    arrays = []
    for field in schema:
        try:
            arrays.append(column.from_values([row.get(field.name) for row in rows], field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise BadData(f"column {field.name} cannot be read as {field.type}: {error}") from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def scan(path: str) -> tuple["pa.Schema", int, tuple[str, ...]]:
    """Infer the types of all columns from the whole file; return them with the number of well-formed rows and notes."""
    kinds = column.Inference()
    count = 0
    nested = False
    bad: list[str] = []
    for rows in _parsed(path, lambda _, reason: bad.append(reason) if not bad else None):
        count += len(rows)
        nested = nested or any(dict in map(type, row.values()) for row in rows)
        observe(kinds, [flatten(row) for row in rows] if nested else rows)
    if bad and not count:
        raise BadData(f"{path} has no rows: {bad[0]}")
    notes = ("nested objects are flattened one level, with names joined by _; deeper ones are kept as JSON text",)
    return kinds.schema(), count, notes if nested else ()


def read(path: str, schema: "pa.Schema", report: Report) -> Iterator["pa.RecordBatch"]:
    """Yield the named columns with the given types; lines without an object are reported."""
    for rows in _parsed(path, report):
        yield to_batch([flatten(row) for row in rows], schema)


def _parsed(path: str, report: Report) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        try:
            found = _spread_out(file, path, report)
            for row in _lines(file, os.path.basename(path), report) if found is None else found:
                rows.append(row)
                if len(rows) == _LINES:
                    yield rows
                    rows = []
        except UnicodeDecodeError as error:
            raise undecodable(path) from error
    if rows:
        yield rows


def _lines(lines: Iterable[str], name: str, report: Report) -> Iterator[dict[str, Any]]:
    """Yield the object of every line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse(line)
        except BadData as error:
            report(f"{name}#line{number}", f"line {number} {error}")
        else:
            yield row


def parse(text: str) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        BadData: the text is not a JSON object, is nested too deeply, or has half a surrogate pair; the caller puts the
            subject before the message.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadData(f"is not JSON: {_told(error)}") from error
    if reason := _fault(value, text):
        raise BadData(reason)
    found: dict[str, Any] = value
    return found


def _spread_out(file: TextIO, path: str, report: Report) -> Iterator[dict[str, Any]] | None:
    """Return the objects of a file that is not JSON Lines; None, with the file rewound, if it is JSON Lines."""
    first = next((line for line in file if line.strip()), "").strip()
    file.seek(0)
    if first[:1] not in ("{", "[") or _is_row(first):
        return None
    text = file.read()
    try:
        values = list(_values(text))
    except (ValueError, RecursionError) as error:
        if first[0] == "[":
            raise BadData(f"{path} is an array, but not valid JSON: {_told(error)}") from error
        file.seek(0)
        return None
    return _members(values, text, os.path.basename(path), report)


def _is_row(line: str) -> bool:
    """Whether a first line means JSON Lines: it is an object, or a line that is invalid in itself."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return not (isinstance(value, list) and any(isinstance(each, dict) for each in value))


def _values(text: str) -> Iterator[Any]:
    """Yield one JSON value after the other."""
    decoder, place = json.JSONDecoder(), 0
    while found := _START.search(text, place):
        value, place = decoder.raw_decode(text, found.start())
        yield value


def _members(values: Iterable[Any], text: str, name: str, report: Report) -> Iterator[dict[str, Any]]:
    every = (row for value in values for row in (value if isinstance(value, list) else [value]))
    for number, row in enumerate(every, 1):
        if reason := _fault(row, text):
            report(f"{name}#row{number}", f"row {number} {reason}")
        else:
            yield row


def _fault(row: Any, written: str) -> str | None:
    """Return the reason why a value is not a row."""
    if not isinstance(row, dict):
        return f"is of type {type(row).__name__}, not an object"
    if written.count("[") + written.count("{") > _DEPTH and _is_deep(row):
        return f"is nested more than {_DEPTH} deep"
    if "\\u" in written and not is_utf8(json.dumps(row, ensure_ascii=False)):
        return "has half a surrogate pair, such as half an emoji, which is not valid text"
    return None


def _is_deep(row: Any) -> bool:
    """Whether a value is nested so deeply that writing it as text could fail."""
    level: list[Any] = [row]
    for _ in range(_DEPTH):
        parts = (each.values() if isinstance(each, dict) else each for each in level)
        level = [value for part in parts for value in part if isinstance(value, dict | list)]
    return bool(level)


def _told(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}" + (f" of line {error.lineno}" if error.lineno > 1 else "")
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]
