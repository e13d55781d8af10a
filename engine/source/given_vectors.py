"""Vectors from memory: an array, an id for each row, and metadata as columns, rows or a data frame."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from quiver.engine.core.metadata import check_names, convert
from quiver.engine.core.metadata import plain as plain_type
from quiver.engine.source import column
from quiver.engine.source.jsonl import flatten
from quiver.engine.source.record import Problem, assemble
from quiver.engine.source.value import is_utf8, plain
from quiver.errors import BadData, BadSpec
from quiver.types import Floats

#: Accepted forms of metadata, for the error message.
_FORMS = "a mapping of columns, a list of dicts, or a data frame (pyarrow, pandas, polars)"


@dataclass(frozen=True, slots=True)
class GivenVectors:
    """Vectors in memory as a source; its batches end with the column ``vector``, as those of ``VectorSource`` do.

    Attributes:
        ids: n strings, unique.
        vectors: (n, dim) float32.
        meta: n rows of metadata.
    """

    ids: pa.Array
    vectors: Floats
    meta: pa.Table
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, vectors: Any, ids: Sequence[str] | None, meta: Any = None) -> "GivenVectors":
        """Check ids, vectors and metadata against each other.

        Args:
            vectors: (n, dim) numbers: a NumPy array, a CPU tensor, or lists.
            ids: an id for each vector.
            meta: metadata of each vector: a mapping of columns, a list of dicts, or a data frame.

        Raises:
            BadSpec: ids are missing or not unique, or the numbers of ids, rows of metadata and vectors differ.
            BadData: the vectors are not numbers, or metadata values of one column do not share a type.
        """
        data = _matrix(vectors)
        if ids is None:
            raise BadSpec("vectors given as an array need ids, one for each row: ids=[str(n) for n in range(n)]")
        names = _ids(ids)
        if len(names) != len(data):
            raise BadSpec(f"there are {len(names):,} ids for {len(data):,} vectors: give one for each row")
        table = _table(meta, len(data))
        if table.num_rows != len(data):
            raise BadSpec(f"there are {table.num_rows:,} rows of metadata for {len(data):,} vectors: give one for each")
        return cls(pa.array(names, pa.string()), data, table)

    @property
    def total(self) -> int:
        """Number of vectors."""
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return int(self.vectors.shape[1])

    @property
    def schema(self) -> pa.Schema:
        """The metadata columns."""
        return self.meta.schema

    def problems(self) -> list[Problem]:
        """There are none: ``take_vectors`` checks the vectors of every source, and the rest is checked in ``of``."""
        return []

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """Yield records with their vectors."""
        for start in range(0, len(self.vectors), size):
            data = self.vectors[start : start + size]
            ids = self.ids.slice(start, size)
            meta = [column.combine_chunks() for column in self.meta.slice(start, size).columns]
            records = assemble(ids, {}, meta=meta, schema=self.schema)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(data.reshape(-1)), self.dim)
            schema = records.schema.append(pa.field("vector", lists.type))
            yield pa.RecordBatch.from_arrays([*records.columns, lists], schema=schema)


def _matrix(vectors: Any) -> Floats:
    try:
        with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, and then problems
            data = np.ascontiguousarray(np.asarray(vectors), np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadData(f"vectors must be (n, dim) numbers: {error}") from error
    if data.ndim != 2 or not data.shape[1]:
        raise BadData(f"vectors must be (n, dim) numbers, not of shape {data.shape}")
    return data


def _ids(ids: Sequence[str]) -> list[str]:
    if isinstance(ids, str):
        raise BadSpec(f"ids must be a list with one id for each vector, not the text {ids!r}")
    names = list(ids)
    if odd := [each for each in names if not isinstance(each, str)]:
        raise BadSpec(f"ids must be text, not {odd[0]!r}: str(...) makes one")
    if odd := [each for each in names if not is_utf8(each)]:
        raise BadSpec(f"the id {odd[0]!r} has half a surrogate pair, which is not valid text: use other characters")
    if "" in names:
        raise BadSpec("an id is empty: give every vector an id")
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise BadSpec(f"the id {twice!r} is repeated: ids must be unique")
    return names


def _table(meta: Any, rows: int) -> pa.Table:
    """Return metadata as columns of storable types."""
    table = _columns(meta, rows)
    check_names(table.schema.names)
    columns = {name: _typed(name, table[name]) for name in table.schema.names}
    return pa.table(columns) if columns else table.select([])


def _columns(meta: Any, rows: int) -> pa.Table:
    if meta is None:
        return pa.table({"": pa.nulls(rows)}).select([])
    try:
        if isinstance(meta, Mapping):
            columns = {name: _array(name, values) for name, values in meta.items()}
            return pa.table(columns) if columns else _columns(None, rows)
        if isinstance(meta, list | tuple):
            flat = [flatten(row) for row in meta]
            names = dict.fromkeys(name for row in flat for name in row)
            columns = {name: _array(name, [row.get(name) for row in flat]) for name in names}
            return pa.table(columns) if columns else _columns(None, len(meta))
        if hasattr(meta, "__arrow_c_stream__"):
            return pa.table(meta)
        if hasattr(meta, "to_dict"):
            return pa.Table.from_pandas(meta, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, AttributeError, ValueError) as error:
        raise BadData(f"metadata cannot be read: {error}; give {_FORMS}") from error
    raise BadSpec(f"metadata must be {_FORMS}, not {type(meta).__name__}")


def _array(name: Any, values: Any) -> pa.Array | pa.ChunkedArray:
    """Make a column; fast if its values share a type."""
    check_names([name])
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        try:
            singly = [plain(value) for value in values]
        except (TypeError, ValueError) as error:
            told = f"a value of type {error}" if isinstance(error, TypeError) else f"a value that {error}"
            raise BadData(f"metadata column {name!r} has {told}") from error
        kinds = column.Inference()
        kinds.see_values("", singly, dates=False)
        return column.from_values(singly, kinds.schema().field(0).type)


def _typed(name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = plain_type(values.type)
    if kind is None and not (pa.types.is_nested(values.type) and not pa.types.is_map(values.type)):
        raise BadData(f"metadata column {name!r} has type {values.type}: give text, numbers, dates, or lists of these")
    return convert(values, pa.string() if kind is None else kind)
