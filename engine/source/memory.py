"""Rows in memory as tables: lists of dicts, mappings of columns, Arrow tables, data frames, and streams of these.

A data frame is recognised by its protocol (``__arrow_c_stream__``, ``__arrow_c_array__``, ``__dataframe__``),
so that neither pandas nor polars needs to be installed. A stream is read block by block.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from quiver.engine.core.metadata import check_names
from quiver.engine.source import column
from quiver.engine.source.delimited import Report
from quiver.engine.source.jsonl import flatten
from quiver.engine.source.parquet import convert, plain_type, typed
from quiver.engine.source.record import Problem
from quiver.engine.source.value import plain
from quiver.errors import BadData, BadSpec
from quiver.types import Item

#: Rows of a stream that are added at once.
ROWS = 16384
#: Accepted forms of rows, for the error message.
FORMS = "dicts, a mapping of columns, an Arrow table, a pandas or polars frame, or an iterator of these"
#: Column that pandas makes of an index without a name.
_INDEX = "__index_level_"


@dataclass(frozen=True, slots=True)
class MemoryTable:
    """A block of rows in memory, read like a table on disk.

    Attributes:
        table: the columns as given; records are flattened one level.
        schema: the columns that can be metadata, with their types.
        first: number of rows before this block.
        notes: notes for the user.
        problems: rows that cannot be stored.
    """

    table: pa.Table
    schema: pa.Schema
    first: int = 0
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    paths: tuple[str, ...] = field(default=("rows",), init=False)
    base: str = field(default="the working directory", init=False)

    @classmethod
    def of(cls, table: pa.Table, first: int = 0, problems: Sequence[Problem] = ()) -> "MemoryTable":
        """Take the columns of an Arrow table; those without a metadata type are left out, with a note.

        Raises:
            BadData: two columns have the same name.
        """
        flat = table.flatten()
        names = [name for name in flat.schema.names if not name.startswith(_INDEX)]
        if twice := [name for place, name in enumerate(names) if name in names[:place]]:
            raise BadData(f"two columns of the rows are named {twice[0]!r}: rename one of them")
        types = {name: plain_type(flat.schema.field(name).type) for name in names}
        notes = tuple(
            f"column {name} is left out: metadata cannot have the type {flat.schema.field(name).type}"
            for name, kind in types.items()
            if kind is None
        )
        kept = typed(flat.select(names).schema)
        return cls(flat, kept, first, notes, tuple(problems))

    @property
    def path(self) -> str:
        """Their name in messages."""
        return self.paths[0]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.table.num_rows)

    def read(self, schema: pa.Schema, report: Report) -> Iterator[pa.RecordBatch]:
        """Yield the columns of ``schema``; it may name the string type for a column of another type."""
        for batch in self.table.select(schema.names).to_batches(ROWS) or [pa.RecordBatch.from_pylist([], schema)]:
            yield convert(batch, schema)

    def texts(self, *names: str) -> Iterator[pa.RecordBatch]:
        """Yield columns as strings."""
        yield from self.read(pa.schema([(name, pa.string()) for name in names]), lambda *_: None)


def is_rows(given: Any) -> bool:
    """Whether a value is a table, a data frame, a mapping, a list of rows, or a stream."""
    if _is_frame(given) or isinstance(given, Mapping):
        return True
    if isinstance(given, list | tuple):
        return all(isinstance(each, Mapping | Item) or _is_frame(each) for each in given) and bool(given)
    return isinstance(given, Iterable) and not _is_array(given)


def blocks(given: Any) -> Iterator[MemoryTable | list[Any]]:
    """Yield the blocks of rows, each as a table; values that are no rows, such as Items, as lists.

    Raises:
        BadData: a value of a row cannot be stored; the message names row and column.
        BadSpec: it is no form of rows.
    """
    first = 0
    for block in _blocks(given, 0):
        if isinstance(block, pa.Table):
            made = MemoryTable.of(block, first)
        elif isinstance(block[0], Mapping):
            made = _of_dicts(block, first)
        else:
            yield block
            first += len(block)
            continue
        first += made.rows + len(made.problems)
        yield made


def _blocks(given: Any, depth: int) -> Iterator[Any]:
    """Yield Arrow tables, and lists of at most ROWS values of one kind."""
    if _is_frame(given):
        yield from _tables(given)
    elif isinstance(given, Mapping):
        yield _of_columns(given) if _is_columns(given) else [given]
    elif _is_array(given) or not isinstance(given, Iterable) or depth > 1:
        raise BadSpec(f"rows are {FORMS}, not {_kind(given)}")
    else:
        yield from _members(iter(given), depth)


def _members(values: Iterator[Any], depth: int) -> Iterator[Any]:
    """Yield the blocks of an iterable: rows one by one, or frames, lists and columns."""
    waiting: list[Any] = []
    for value in values:
        nested = _is_frame(value) or isinstance(value, list | tuple) or _is_batch(value)
        full = len(waiting) == ROWS or (waiting and isinstance(value, Mapping) != isinstance(waiting[0], Mapping))
        if waiting and (nested or full):
            yield waiting
            waiting = []
        if nested:
            yield from _blocks(value, depth + 1)
        else:
            waiting.append(value)
    if waiting:
        yield waiting


def _tables(given: Any) -> Iterator[pa.Table]:
    """Yield the blocks of a frame: a table whole, since it is in memory, and a stream in blocks."""
    try:
        if isinstance(given, pa.Table | pa.RecordBatch):
            yield pa.table(given) if isinstance(given, pa.Table) else pa.Table.from_batches([given])
        elif hasattr(given, "__arrow_c_stream__"):
            yield from _streamed(pa.RecordBatchReader.from_stream(given))
        elif hasattr(given, "__arrow_c_array__"):
            yield pa.Table.from_batches([pa.record_batch(given)])
        elif hasattr(given, "to_reader"):
            yield from _streamed(given.to_reader())
        elif hasattr(given, "to_dict"):
            yield pa.Table.from_pandas(given)
        else:
            yield pa.interchange.from_dataframe(given)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, ValueError) as error:
        raise BadData(f"the rows cannot be read as a table: {error}") from error


def _streamed(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in reader:
        waiting.append(batch)
        count += len(batch)
        if count >= ROWS:
            yield pa.Table.from_batches(waiting, reader.schema)
            waiting, count = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting, reader.schema)


def _of_columns(columns: Mapping[Any, Any]) -> pa.Table:
    check_text(columns)
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {count:,}" for name, count in lengths.items())
        raise BadData(f"the columns have different lengths: {told}")
    return pa.table({name: as_column(name, values) for name, values in columns.items()})


def as_column(name: str, values: Any, what: str = "column") -> pa.Array | pa.ChunkedArray:
    """Make a column; fast if its values share a type.

    Raises:
        BadData: a value has no form that can be stored; the message names its row.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype.kind in "fiu":
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return _one_by_one(name, values, what)


def _one_by_one(name: str, values: Any, what: str) -> pa.Array:
    singly = []
    for number, value in enumerate(values, 1):
        try:
            singly.append(plain(value))
        except (TypeError, ValueError) as error:
            told = f"a value of type {error}" if isinstance(error, TypeError) else f"a value that {error}"
            raise BadData(f"{what} {name!r} has {told} (row {number})") from error
    kinds = column.Inference()
    kinds.see_values("", singly, dates=False)
    return column.from_values(singly, kinds.schema().field(0).type)


def _of_dicts(rows: Sequence[Mapping[str, Any]], first: int) -> MemoryTable:
    """Make a table of dicts; a row with text that UTF-8 cannot hold becomes a problem.

    Raises:
        BadData: a value has no form that can be stored, or a name is not text.
    """
    kept: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for number, row in enumerate(rows, first + 1):
        try:
            kept.append(_row(row, number))
        except ValueError as error:
            problems.append(Problem(f"rows#{number - 1}", "", str(error)))
    names = list(dict.fromkeys(name for row in kept for name in row))
    vectors = {name for name in names if any(type(row.get(name)) is np.ndarray for row in kept)}
    columns: dict[str, pa.Array] = {}
    kinds = column.Inference()
    for name in names:
        values = [row.get(name) for row in kept]
        if name in vectors:
            columns[name] = _lists(values)
        else:
            kinds.see_values(name, values, dates=False)
            columns[name] = column.from_values(values, kinds.schema().field(name).type)
    table = pa.table(columns) if columns else pa.table({"": pa.nulls(len(kept))}).select([])
    made = MemoryTable.of(table, first, problems)
    inferred = kinds.schema()
    notes = tuple(note for note in made.notes if note.split()[1] in vectors)
    return replace(made, schema=inferred, notes=notes)


def _row(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return a row with plain values; arrays of numbers stay, since they are vectors."""
    check_text(row)
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f":
            found[name] = value
            continue
        try:
            found[name] = plain(value)
        except TypeError as error:
            raise BadData(
                f"row {number}, column {name!r}: a value of type {error} cannot be stored: give text, a number, a date,"
                " true or false, the path of a file, or a list of these"
            ) from error
        except ValueError as error:
            raise ValueError(f"row {number}, column {name!r}: the value {error}") from error
        except RecursionError as error:
            raise BadData(f"row {number}, column {name!r}: the value is nested too deeply") from error
    return flatten(found)


def check_text(names: Iterable[Any]) -> None:
    """Check that the names of columns are text."""
    if odd := [name for name in names if not isinstance(name, str)]:
        check_names(odd)


def _lists(values: Sequence[Any]) -> pa.Array:
    return pa.array([None if value is None else np.asarray(value, np.float32) for value in values])


def _is_frame(given: Any) -> bool:
    offered = ("__arrow_c_stream__", "__arrow_c_array__", "__dataframe__", "to_reader")
    frame = any(hasattr(given, name) for name in offered) or (hasattr(given, "to_dict") and hasattr(given, "columns"))
    return frame and not isinstance(given, type | pa.Array | pa.ChunkedArray)


def _is_array(given: Any) -> bool:
    return (
        isinstance(given, str | bytes | bytearray | memoryview | pa.Array | pa.ChunkedArray)
        or hasattr(given, "__array_interface__")
        or (hasattr(given, "__array__") and not _is_frame(given) and not hasattr(given, "keys"))
    )


def _is_columns(given: Mapping[Any, Any]) -> bool:
    """Whether a mapping holds columns, not the values of one row."""
    return bool(given) and all(map(_is_list, given.values()))


def _is_batch(given: Any) -> bool:
    """Whether a member of a stream holds columns: its ids are a list."""
    return isinstance(given, Mapping) and _is_list(given.get("id")) and _is_columns(given)


def _is_list(values: Any) -> bool:
    return isinstance(values, list | tuple | np.ndarray | pa.Array | pa.ChunkedArray)


def _kind(given: Any) -> str:
    if hasattr(given, "shape"):
        return f"an array of shape {tuple(given.shape)}: vectors are added with vectors=array, ids=[...], space='name'"
    return f"{type(given).__name__}"
