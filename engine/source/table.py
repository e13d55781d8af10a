"""A table on disk, whatever its format: columns with types that hold for the whole file, read in blocks."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from quiver.engine.source import column, delimited, jsonl, parquet
from quiver.engine.source.delimited import Report
from quiver.errors import BadData

if TYPE_CHECKING:
    import pyarrow as pa

_READERS: dict[str, ModuleType] = {
    ".csv": delimited,
    ".tsv": delimited,
    ".tab": delimited,
    ".jsonl": jsonl,
    ".ndjson": jsonl,
    ".parquet": parquet,
    ".pq": parquet,
}
SUFFIXES = tuple(_READERS)


def is_table(path: str) -> bool:
    """Tell by its name whether a file is a table."""
    return os.path.splitext(path)[1].lower() in _READERS


@dataclass(frozen=True, slots=True)
class Table:
    """One CSV, TSV, JSONL or Parquet file, or several of the same columns, one after the other.

    Attributes:
        paths: where they are.
        schema: the columns under their own names, typed over all rows.
        counts: how many well-formed rows each has.
        notes: what a user should be told.
    """

    paths: tuple[str, ...]
    schema: "pa.Schema"
    counts: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> int:
        """How many well-formed rows there are."""
        return sum(self.counts)

    @property
    def path(self) -> str:
        """The first file, which stands for all in messages."""
        return self.paths[0]

    def read(self, schema: "pa.Schema", report: Report) -> Iterator["pa.RecordBatch"]:
        """Yield the columns of ``schema``, which may ask for strings where the table has another type."""
        for path in self.paths:
            yield from _reader(path).read(path, schema, report)

    def texts(self, *names: str) -> Iterator["pa.RecordBatch"]:
        """Yield columns as strings, as they are written in the file."""
        import pyarrow as pa

        yield from self.read(pa.schema([(name, pa.string()) for name in names]), lambda *_: None)


def _reader(path: str) -> ModuleType:
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in _READERS:
        raise BadData(f"{path}: a table is one of {', '.join(SUFFIXES)}")
    if not os.path.isfile(path):
        raise BadData(f"there is no file {path}")
    return _READERS[suffix]


def open_table(*paths: str) -> Table:
    """Read tables once from end to end and learn their columns.

    Raises:
        BadData: one is missing, empty, of another format or not UTF-8, or their columns differ.
    """
    scans = [_reader(path).scan(path) for path in paths]
    first = scans[0][0]
    for path, (schema, _, _) in zip(paths, scans, strict=True):
        if set(schema.names) != set(first.names):
            odd = sorted(set(schema.names) ^ set(first.names))
            raise BadData(f"{path} and {paths[0]} differ in columns: {', '.join(odd)}")
    counts = tuple(count for _, count, _ in scans)
    if not any(counts):
        raise BadData(f"{paths[0]} has no rows")
    notes = dict.fromkeys(f"{os.path.basename(paths[0])}: {note}" for _, _, found in scans for note in found)
    return Table(paths, column.union([schema for schema, _, _ in scans]), counts, tuple(notes))
