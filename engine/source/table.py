"""A table on disk in any format: columns with types valid for the whole file, read in blocks."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from quiver.engine.source import column, delimited, jsonl, parquet
from quiver.engine.source.delimited import Report
from quiver.errors import BadData, NothingThere

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
    """Whether a file name is that of a table."""
    return os.path.splitext(path)[1].lower() in _READERS


@dataclass(frozen=True, slots=True)
class Table:
    """One CSV, TSV, JSONL or Parquet file, or several files with the same columns in sequence.

    Attributes:
        paths: paths of the files.
        schema: the columns under their original names, with types inferred from all rows.
        counts: number of well-formed rows per file.
        notes: notes for the user.
    """

    paths: tuple[str, ...]
    schema: "pa.Schema"
    counts: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Number of well-formed rows."""
        return sum(self.counts)

    @property
    def base(self) -> str:
        """Where relative paths start, in words."""
        return "the manifest's folder"

    @property
    def path(self) -> str:
        """The first file, used in messages."""
        return self.paths[0]

    def read(self, schema: "pa.Schema", report: Report) -> Iterator["pa.RecordBatch"]:
        """Yield the columns of ``schema``; it may name the string type for a column of another type."""
        for path in self.paths:
            yield from _reader(path).read(path, schema, report)

    def texts(self, *names: str) -> Iterator["pa.RecordBatch"]:
        """Yield columns as strings, as they are written in the file."""
        import pyarrow as pa

        yield from self.read(pa.schema([(name, pa.string()) for name in names]), lambda *_: None)


def _reader(path: str) -> ModuleType:
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in _READERS:
        raise BadData(f"{path}: a table must be one of {', '.join(SUFFIXES)}")
    if not os.path.isfile(path):
        raise BadData(f"there is no file {path}")
    return _READERS[suffix]


def open_table(*paths: str) -> Table:
    """Read tables once completely and infer their columns.

    Raises:
        BadData: a table is missing, empty, of another format or not UTF-8, or their columns differ.
    """
    scans = [_reader(path).scan(path) for path in paths]
    first = scans[0][0]
    for path, (schema, _, _) in zip(paths, scans, strict=True):
        if set(schema.names) != set(first.names):
            odd = sorted(set(schema.names) ^ set(first.names))
            raise BadData(f"{path} and {paths[0]} differ in columns: {', '.join(odd)}")
    counts = tuple(count for _, count, _ in scans)
    if not any(counts):
        raise NothingThere(f"{paths[0]} has no rows")
    notes = dict.fromkeys(f"{os.path.basename(paths[0])}: {note}" for _, _, found in scans for note in found)
    return Table(paths, column.union([schema for schema, _, _ in scans]), counts, tuple(notes))
