"""JSON lines: one object per line, nested objects flattened one level, ``{"a": {"b": 1}}`` to ``a_b``."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quiver.engine.source import column
from quiver.engine.source.delimited import Report, undecodable

if TYPE_CHECKING:
    import pyarrow as pa

_LINES = 8192  # parsed at a time


def flatten(row: Mapping[str, Any]) -> dict[str, Any]:
    """Lift the members of nested objects one level up; a name that exists already is kept as it is."""
    if dict not in map(type, row.values()):
        return dict(row)
    flat = {name: value for name, value in row.items() if not isinstance(value, dict)}
    for name, value in row.items():
        if isinstance(value, dict):
            for inner, member in value.items():
                flat.setdefault(f"{name}_{inner}", member)
    return flat


def observe(kinds: column.Inference, rows: Sequence[Mapping[str, Any]]) -> None:
    """Take a batch of flat rows into the inference of types."""
    names = dict.fromkeys(name for row in rows for name in row)
    for name in names:
        kinds.see_values(name, [row.get(name) for row in rows])


def to_batch(rows: Sequence[Mapping[str, Any]], schema: "pa.Schema") -> "pa.RecordBatch":
    """Build the columns of a schema from flat rows."""
    import pyarrow as pa

    arrays = [column.from_values([row.get(f.name) for row in rows], f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def scan(path: str) -> tuple["pa.Schema", int, tuple[str, ...]]:
    """Learn the types of all columns over the whole file, its number of well-formed rows, and notes."""
    kinds = column.Inference()
    count = 0
    nested = False
    for rows in _parsed(path, lambda *_: None):
        count += len(rows)
        nested = nested or any(dict in map(type, row.values()) for row in rows)
        observe(kinds, [flatten(row) for row in rows] if nested else rows)
    notes = ("nested objects are flattened one level, joined by _; deeper ones are kept as JSON text",)
    return kinds.schema(), count, notes if nested else ()


def read(path: str, schema: "pa.Schema", report: Report) -> Iterator["pa.RecordBatch"]:
    """Yield the named columns with the given types; lines that hold no object are reported."""
    for rows in _parsed(path, report):
        yield to_batch([flatten(row) for row in rows], schema)


def _parsed(path: str, report: Report) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        try:
            for row in _objects(file, os.path.basename(path), report):
                rows.append(row)
                if len(rows) == _LINES:
                    yield rows
                    rows = []
        except UnicodeDecodeError as error:
            raise undecodable(path) from error
    if rows:
        yield rows


def _objects(lines: Iterable[str], name: str, report: Report) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            report(f"{name}#line{number}", f"line {number} is not JSON: {error.msg} at column {error.colno}")
            continue
        if isinstance(row, dict):
            yield row
        else:
            report(f"{name}#line{number}", f"line {number} holds a {type(row).__name__}, not an object")
