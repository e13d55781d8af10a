"""CSV and TSV: read as strings, in blocks, so that no type is guessed from the first block alone."""

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiver.engine.source import column
from quiver.errors import BadData

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES = 8 << 20  # a row must fit one block
Report = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a delimited file, the lines they take up, and what stands between them."""

    names: tuple[str, ...]
    lines: int
    delimiter: str


def header(path: str) -> Header:
    """Read the column names of a file.

    Raises:
        BadData: the file is empty or not UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            delimiter = "\t" if path.lower().endswith((".tsv", ".tab")) else _delimiter(file.readline())
            file.seek(0)
            rows = csv.reader(file, delimiter=delimiter)
            names = next((row for row in rows if row), None)
            lines = rows.line_num
    except UnicodeDecodeError as error:
        raise undecodable(path) from error
    except csv.Error as error:
        raise BadData(f"{path}: cannot read the column names: {error}") from error
    if names is None:
        raise BadData(f"{path} is empty: a table starts with a line of column names")
    return Header(tuple(column.numbered(name.strip() for name in names)), lines, delimiter)


def _delimiter(line: str) -> str:
    return next((mark for mark in ",;\t|" if mark in line), ",")


def scan(path: str) -> tuple["pa.Schema", int, tuple[str, ...]]:
    """Learn the types of all columns over the whole file, its number of well-formed rows, and notes."""
    import pyarrow as pa

    head = header(path)
    kinds = column.Inference()
    rows = 0
    last = None
    texts = pa.schema([(name, pa.string()) for name in head.names])
    for name in head.names:
        kinds.see_text(name, pa.array([], pa.string()))
    for last in _blocks(path, head, list(head.names), lambda *_: None):
        rows += len(last)
        for name, values in zip(texts.names, last.columns, strict=True):
            kinds.see_text(name, values)
    if last is not None:
        _check_quotes(path, last)
    usual = head.delimiter == ("\t" if path.lower().endswith((".tsv", ".tab")) else ",")
    return kinds.schema(), rows, () if usual else (f"columns are separated by {head.delimiter!r}",)


def read(path: str, schema: "pa.Schema", report: Report) -> Iterator["pa.RecordBatch"]:
    """Yield the named columns with the given types; ragged rows are reported as (where, reason)."""
    import pyarrow as pa

    for batch in _blocks(path, header(path), schema.names, report):
        try:
            arrays = [column.from_text(batch.column(f.name), f.type) for f in schema]
        except pa.ArrowInvalid as error:
            raise BadData(f"{path} changed while it was being read: {error}") from error
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _blocks(path: str, head: Header, names: list[str], report: Report) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa
    import pyarrow.csv as pc

    name = os.path.basename(path)

    def skip(row: pc.InvalidRow) -> str:
        found = f"{row.actual_columns} values where the header has {row.expected_columns}"
        report(f"{name}#line{row.number}", f"row {row.number} has {found}")
        return "skip"

    try:
        yield from pc.open_csv(
            path,
            # Threads would lose the numbers of ragged rows, and typed strings are quick to cut.
            pc.ReadOptions(
                use_threads=False, block_size=_BLOCK_BYTES, skip_rows=head.lines, column_names=list(head.names)
            ),
            pc.ParseOptions(delimiter=head.delimiter, newlines_in_values=True, invalid_row_handler=skip),
            pc.ConvertOptions(
                include_columns=names, column_types={each: pa.string() for each in names}, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise undecodable(path) if "UTF8" in str(error) else BadData(f"{path}: {error}") from error


def _check_quotes(path: str, last: "pa.RecordBatch") -> None:
    """An opening quote that is never closed swallows every row after it, and no parser minds."""
    if not len(last) or "\n" not in last.columns[-1][-1].as_py():
        return
    with open(path, "rb") as file:
        marks = sum(block.count(b'"') for block in iter(lambda: file.read(_BLOCK_BYTES), b""))
    if marks % 2:
        raise BadData(f"{path}: a quote is opened and never closed; the last row read runs over several lines")


def undecodable(path: str) -> BadData:
    """Return the error that names the first bytes of a file which are not UTF-8."""
    offset = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                byte = offset + error.start
                value = line[error.start]
                return BadData(
                    f"{path}: line {number}, byte {byte} (0x{value:02x}) is not UTF-8: save the file as UTF-8"
                )
            offset += len(line)
    return BadData(f"{path} is not UTF-8: save the file as UTF-8")
