"""Vectors from memory: an array, an id for each row, and metadata as columns, rows or a data frame."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from quiver.engine.core.metadata import check_names, convert
from quiver.engine.core.metadata import plain as plain_type
from quiver.engine.core.vector_check import as_float32
from quiver.engine.source import column
from quiver.engine.source.jsonl import flatten
from quiver.engine.source.memory import as_column
from quiver.engine.source.place import Place
from quiver.engine.source.record import Problem, assemble
from quiver.engine.source.value import is_utf8, plain
from quiver.errors import BadData, BadSpec
from quiver.types import MEDIA, Floats

#: No columns of media.
NO_MEDIA: Mapping[str, str] = {}
#: What columns of media hold: files, and text.
_TAKES = ("paths or URIs of files: save them as files first", "text")
#: Accepted forms of metadata, for the error message.
_FORMS = "a mapping of columns, a list of dicts, or a data frame (pyarrow, pandas, polars)"


@dataclass(frozen=True, slots=True)
class GivenVectors:
    """Vectors in memory as a source; its batches end with the column ``vector``, as those of ``VectorSource`` do.

    Attributes:
        ids: n strings, unique.
        vectors: (n, dim) float32.
        meta: n rows of metadata.
        media: references of the items, by key of MEDIA.
    """

    ids: pa.Array
    vectors: Floats
    meta: pa.Table
    media: Mapping[str, pa.Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, vectors: Any, ids: Sequence[str] | None, meta: Any = None, *, media: Mapping[str, str] = NO_MEDIA
    ) -> "GivenVectors":
        """Check ids, vectors and metadata against each other.

        Args:
            vectors: (n, dim) numbers: a NumPy array, a CPU tensor, or lists.
            ids: an id for each vector; None to use the column ``id`` of the metadata.
            meta: metadata of each vector: a mapping of columns, a list of dicts, or a data frame.
            media: columns of the metadata that hold media, by key of MEDIA; a column named like a key holds it too.

        Raises:
            BadSpec: ids are missing or not unique, or the numbers of ids, rows of metadata and vectors differ.
            BadData: the vectors are not numbers, or metadata values of one column do not share a type.
        """
        data = _matrix(vectors)
        table = _columns(meta, len(data))
        if ids is None and "id" in table.schema.names:
            ids = table["id"].cast(pa.string()).to_pylist()
            table = table.drop_columns("id")
        if ids is None:
            raise BadSpec(
                "vectors given as an array need ids, one for each row: ids=[str(n) for n in range(n)], or a column id"
                " in meta"
            )
        names = _ids(ids)
        if len(names) != len(data):
            raise BadSpec(f"there are {len(names):,} ids for {len(data):,} vectors: give one for each row")
        if table.num_rows != len(data):
            raise BadSpec(f"there are {table.num_rows:,} rows of metadata for {len(data):,} vectors: give one for each")
        table, files = _media(table, media)
        return cls(pa.array(names, pa.string()), data, _storable(table), files)

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
            media = {key: values.slice(start, size) for key, values in self.media.items()}
            records = assemble(ids, media, meta=meta, schema=self.schema)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(data.reshape(-1)), self.dim)
            schema = records.schema.append(pa.field("vector", lists.type))
            yield pa.RecordBatch.from_arrays([*records.columns, lists], schema=schema)


def _matrix(vectors: Any) -> Floats:
    try:
        data = np.ascontiguousarray(as_float32(vectors))  # numbers out of range become problems
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


def _media(table: pa.Table, named: Mapping[str, str]) -> tuple[pa.Table, dict[str, pa.Array]]:
    """Take the columns of media out of the metadata; relative paths start from the working directory."""
    names = table.schema.names
    found = {key: column.known(name, names, path="meta") for key, name in named.items()}
    found |= {key: key for key in MEDIA if key in names and key not in found}
    here = Place(os.getcwd(), "")
    media = {}
    for key, name in found.items():
        if plain_type(table[name].type) not in (pa.string(), pa.null()):
            raise BadData(f"column {name} has the type {table[name].type}: {key} takes {_TAKES[key == 'text']}")
        values = column.filled(convert(table[name], pa.string()).combine_chunks())
        media[key] = values if key == "text" else here.resolve(values)
    return table.drop_columns(list(set(found.values()))) if found else table, media


def _storable(table: pa.Table) -> pa.Table:
    """Return metadata as columns of storable types."""
    check_names(table.schema.names)
    columns = {name: _typed(name, table[name]) for name in table.schema.names}
    fields = [
        each if each.type == columns[each.name].type else pa.field(each.name, columns[each.name].type)
        for each in table.schema
    ]
    return pa.table(columns, schema=pa.schema(fields)) if columns else table.select([])


def _table(given: Mapping[str, Any]) -> pa.Table:
    """Make a table of Python values; numbers that no type of numbers holds become text."""
    columns = {name: as_column(name, values, "metadata column") for name, values in given.items()}
    return pa.table(columns, schema=pa.schema([_field(name, made, given[name]) for name, made in columns.items()]))


def _field(name: str, made: pa.Array, values: Any) -> pa.Field:
    if pa.types.is_string(made.type) and any(isinstance(each, int | float) for each in values):
        kinds = column.Inference()
        kinds.see_values(name, [plain(each) for each in values], dates=False)
        inferred = kinds.schema().field(0)
        if inferred.type == made.type:
            return inferred
    return pa.field(name, made.type)


def _columns(meta: Any, rows: int) -> pa.Table:
    if meta is None:
        return pa.table({"": pa.nulls(rows)}).select([])
    try:
        if isinstance(meta, Mapping):
            check_names([name for name in meta if not isinstance(name, str)])
            return _table(dict(meta)) if meta else _columns(None, rows)
        if isinstance(meta, list | tuple):
            flat = [flatten(row) for row in meta]
            names = dict.fromkeys(name for row in flat for name in row)
            check_names([name for name in names if not isinstance(name, str)])
            given = {name: [row.get(name) for row in flat] for name in names}
            return _table(given) if given else _columns(None, len(meta))
        if hasattr(meta, "__arrow_c_stream__"):
            return pa.table(meta)
        if hasattr(meta, "to_dict"):
            return pa.Table.from_pandas(meta, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, AttributeError, ValueError) as error:
        raise BadData(f"metadata cannot be read: {error}; give {_FORMS}") from error
    raise BadSpec(f"metadata must be {_FORMS}, not {type(meta).__name__}")


def _typed(name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = plain_type(values.type)
    if kind is None and not (pa.types.is_nested(values.type) and not pa.types.is_map(values.type)):
        raise BadData(f"metadata column {name!r} has type {values.type}: give text, numbers, dates, or lists of these")
    return convert(values, pa.string() if kind is None else kind)
