"""CSV and TSV files, read as strings in blocks, so that no type is inferred from the first block alone."""

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
    """The first line of a delimited file.

    Attributes:
        names: unique column names.
        written: column names as written.
        lines: number of lines of the header.
        delimiter: character between two values.
    """

    names: tuple[str, ...]
    written: tuple[str, ...]
    lines: int
    delimiter: str

    def notes(self) -> list[str]:
        """Return a note for each column that was renamed because its name was missing or repeated."""
        pairs = enumerate(zip(self.written, self.names, strict=True), 1)
        return [f"column {n}, {old!r}, is renamed to {new}" for n, (old, new) in pairs if old != new]


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
    written = tuple(name.strip() for name in names)
    return Header(tuple(column.numbered(written)), written, lines, delimiter)


def _delimiter(line: str) -> str:
    return next((mark for mark in ",;\t|" if mark in line), ",")


def scan(path: str) -> tuple["pa.Schema", int, tuple[str, ...]]:
    """Infer the types of all columns from the whole file; return them with the number of well-formed rows and notes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    head = header(path)
    kinds = column.Inference()
    rows = 0
    last = None
    runs_on = False
    texts = pa.schema([(name, pa.string()) for name in head.names])
    for name in head.names:
        kinds.see_text(name, pa.array([], pa.string()))
    for last in _blocks(path, head, list(head.names), lambda *_: None):
        rows += len(last)
        runs_on = runs_on or any(pc.any(pc.match_substring(values, "\n")).as_py() for values in last.columns)
        for name, values in zip(texts.names, last.columns, strict=True):
            kinds.see_text(name, values)
    if last is not None and _runs_on(last):
        _check_quotes(path, head, at_end=True)
    elif runs_on:
        _check_quotes(path, head, at_end=False)
    usual = head.delimiter == ("\t" if path.lower().endswith((".tsv", ".tab")) else ",")
    notes = [] if usual else [f"columns are separated by {head.delimiter!r}"]
    return kinds.schema(), rows, (*notes, *head.notes())


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
    """Yield the named columns as strings, without the spaces around values."""
    import pyarrow as pa
    import pyarrow.compute as pac
    import pyarrow.csv as pc

    name, lines = os.path.basename(path), _Lines(path, head)

    def skip(row: pc.InvalidRow) -> str:
        found = f"{row.actual_columns} values where the header has {row.expected_columns}"
        line = lines.of(row.number)
        report(f"{name}#line{line}", f"line {line} has {found}")
        return "skip"

    try:
        for batch in pc.open_csv(
            path,
            # With threads the line numbers of ragged rows would be lost, and splitting into strings is fast.
            pc.ReadOptions(
                use_threads=False, block_size=_BLOCK_BYTES, skip_rows=head.lines, column_names=list(head.names)
            ),
            pc.ParseOptions(delimiter=head.delimiter, newlines_in_values=True, invalid_row_handler=skip),
            pc.ConvertOptions(
                include_columns=names, column_types={each: pa.string() for each in names}, strings_can_be_null=False
            ),
        ):
            trimmed = [pac.utf8_trim_whitespace(values) for values in batch.columns]
            yield pa.RecordBatch.from_arrays(trimmed, schema=batch.schema)
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise undecodable(path) if "UTF8" in str(error) else BadData(f"{path}: {error}") from error


class _Lines:
    """First line of each row; rows with quoted line ends have several lines, so row and line numbers differ."""

    def __init__(self, path: str, head: Header) -> None:
        self._path = path
        self._head = head
        self._starts: Iterator[int] | None = None
        self._row = head.lines

    def of(self, row: int) -> int:
        """Return the line of a row; call it with ascending row numbers, counted as by pyarrow."""
        if self._starts is None:
            self._starts = self._begin()
        line = row
        try:
            while self._row < row:
                line = next(self._starts)
                self._row += 1
        except (StopIteration, csv.Error, UnicodeDecodeError):
            return row
        return line

    def _begin(self) -> Iterator[int]:
        with open(self._path, encoding="utf-8-sig", newline="") as file:
            for _ in range(self._head.lines):
                next(file, None)
            before = self._head.lines
            rows = csv.reader(file, delimiter=self._head.delimiter)
            for values in rows:
                if values:
                    yield before + 1
                before = self._head.lines + rows.line_num


def _runs_on(batch: "pa.RecordBatch") -> bool:
    """Whether the last value of a batch contains a line end."""
    return bool(len(batch)) and "\n" in batch.columns[-1][-1].as_py()


def _check_quotes(path: str, head: Header, *, at_end: bool) -> None:
    """Check that quotes are closed: parsers silently take the rows after an open quote as one value.

    Args:
        path: a table with line ends in some values.
        head: its header.
        at_end: whether the last value has one.

    Raises:
        BadData: a quote is never closed, or text follows a closing quote.
    """
    if at_end:
        with open(path, "rb") as file:
            marks = sum(block.count(b'"') for block in iter(lambda: file.read(_BLOCK_BYTES), b""))
        if marks % 2:
            raise BadData(f"{path}: a quote is never closed; the last row spans several lines")
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=head.delimiter, strict=True)
        try:
            for _ in rows:
                pass
        except csv.Error as error:
            if "field limit" in str(error):  # a value of over 128 kB, which is not checked here
                return
            raise BadData(
                f"{path}: line {rows.line_num}: {error}: a quote is not closed where its value ends, or not doubled"
            ) from error


def undecodable(path: str) -> BadData:
    """Return the error that names the first invalid UTF-8 bytes of a file."""
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
