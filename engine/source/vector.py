"""Ready-made vectors as a source: the rows of npy, npz or Parquet files, with the table that describes them.

Folders are read as clip-retrieval writes them (``img_emb/*.npy``, ``text_emb/*.npy``, ``metadata/*.parquet``,
https://github.com/rom1504/clip-retrieval) and as Hugging Face data sets are (Parquet with a column of lists).
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from glob import escape, glob
from typing import TYPE_CHECKING, Any

import numpy as np

from quiver.engine.source.array import Array, open_array
from quiver.engine.source.manifest import to_records, turn_away
from quiver.engine.source.record import FileSource, Gate, assemble, columns, rebatch
from quiver.engine.source.role import Choice, Roles, assign
from quiver.engine.source.table import Table, open_table
from quiver.errors import BadData

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

#: The folders of vectors that clip-retrieval writes, and what was embedded.
_EMBEDDED = {"img_emb": "image", "text_emb": "text"}
_SUFFIXES = (".npy", ".npz", ".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class VectorSource(FileSource):
    """Vectors with their metadata.

    Its batches have one more column at the end, ``vector``: fixed-size lists of ``dim`` float32.

    Attributes:
        arrays: the files of vectors, in order.
        table: their metadata by row, or None.
        roles: the roles of the columns of the table, or None.
        dim: dimension of the vectors.
        schema: the metadata columns.
        notes: notes for the user.
    """

    arrays: tuple[Array, ...]
    table: Table | None
    roles: Roles | None
    dim: int
    schema: "pa.Schema"
    notes: tuple[str, ...]

    @property
    def total(self) -> int | None:
        """The number of vectors."""
        return sum(array.rows for array in self.arrays)

    def _records(self, size: int) -> Iterator["pa.RecordBatch"]:
        import pyarrow as pa

        path = self.arrays[0].path
        gate = Gate(self._problems, self._twice)
        whole = pa.schema([*columns(self.schema), ("vector", pa.list_(pa.float32(), self.dim))])
        for vectors, described in zip(rebatch(self._vectors(), size), self._described(size), strict=True):
            data = vectors.column("vector").flatten().to_numpy().reshape(-1, self.dim)
            records, bad = self._named(described, vectors.column("id"))
            bad.update((int(row), _fault(data[row])) for row in np.flatnonzero(~np.isfinite(data).all(1)))
            records = pa.RecordBatch.from_arrays([*records.columns, vectors.column("vector")], schema=whole)
            yield gate.admit(turn_away(records, bad, problems=self._problems, uri=path), uri=path)

    def _vectors(self) -> Iterator["pa.RecordBatch"]:
        """Yield (fallback id, vector): the file's stem and the row in it."""
        import pyarrow as pa

        for array in self.arrays:
            stem = _stem(array.path)
            row = 0
            for block in array.read():
                ids = pa.array([f"{stem}#{row + at}" for at in range(len(block))])
                yield pa.RecordBatch.from_arrays([ids, _lists(block)], names=["id", "vector"])
                row += len(block)

    def _described(self, size: int) -> Iterator["pa.RecordBatch | int"]:
        """Yield the rows of the table in step with the vectors, or how many there are without a table."""
        if self.table and self.roles:
            yield from rebatch(self.table.read(self.roles.reading(self.table.schema), _refuse), size)
            return
        left = self.total or 0
        while left > 0:
            yield min(left, size)
            left -= size

    def _named(self, described: "pa.RecordBatch | int", ids: "pa.Array") -> tuple["pa.RecordBatch", dict[int, str]]:
        if self.roles is None or isinstance(described, int):
            return assemble(ids, {}, meta=(), schema=self.schema), {}
        return to_records(described, self.roles, schema=self.schema, fallback=ids, required=False)


def _refuse(where: str, reason: str) -> None:
    raise BadData(f"{where}: {reason}; rows must match the vectors one to one")


def _lists(block: "NDArray[Any]") -> "pa.Array":
    import pyarrow as pa

    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, and are reported
        data = np.ascontiguousarray(block, np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(data.reshape(-1)), block.shape[1])


def _fault(vector: "NDArray[Any]") -> str:
    if np.isnan(vector).all():
        return f"it has no vector of {len(vector)} numbers"
    return f"{int((~np.isfinite(vector)).sum())} of its {len(vector)} numbers are missing or not finite"


def open_vectors(
    path: str,
    *,
    metadata: str | None = None,
    column: str | None = None,
    id_column: str | None = None,
    stored: tuple[str, ...] = (),
) -> VectorSource:
    """Open ready-made vectors.

    Args:
        path: an npy, npz or Parquet file, or a folder of them, or a folder that clip-retrieval wrote.
        metadata: table of metadata with one row per vector, or a folder of its parts.
            Without it, the other columns of Parquet vectors, or the folder ``metadata`` beside them.
        column: the array of an npz, the column of a Parquet file, or ``img_emb`` or ``text_emb``.
        id_column: the column of ids; None for ``id`` or ``key`` where one tells all rows apart; "none" for
            the file's stem and the row in it, ``img_emb_0#17``, rows from 0.
        stored: the metadata columns of the collection.

    Raises:
        BadData: the files do not exist or are damaged, or the numbers of vectors and metadata rows differ.
    """
    import pyarrow as pa

    where = os.path.abspath(os.path.expanduser(path))
    folder, member = _folder(where, column) if os.path.isdir(where) else (where, column)
    paths = _parts(folder, _SUFFIXES) if os.path.isdir(folder) else [folder]
    arrays = tuple(open_array(each, member) for each in paths)
    if len({array.dim for array in arrays}) > 1:
        widths = ", ".join(f"{array.dim} in {array.path}" for array in arrays[:5])
        raise BadData(f"the vectors differ in width: {widths}")
    tables = _tables(folder, arrays, metadata)
    table = open_table(*tables) if tables else None
    if table is None or not len(table.schema):
        return VectorSource(arrays, None, None, arrays[0].dim, pa.schema([]), ())
    _check_rows(arrays, table)
    roles, notes = assign(table, Choice(id_column=id_column, stored=stored), vectors=True)
    hidden = {f"column {array.member} is left out" for array in arrays if array.member}
    told = tuple(note for note in notes if not any(text in note for text in hidden))
    return VectorSource(arrays, table, roles, arrays[0].dim, roles.metadata(table.schema), told)


def vector_parts(vectors: Any, key: str | None, column: str | None) -> list[tuple[str, str | None]]:
    """Return the keys of vectors to read, and the column of each.

    Args:
        vectors: a path, or an array.
        key: the embedded medium; None for the media of a folder of clip-retrieval, else image.
        column: the column to read, or None for all columns of ``key``.
    """
    found = _embedded(os.path.abspath(os.path.expanduser(vectors))) if isinstance(vectors, str | os.PathLike) else []
    keys = {name: part for name, part in _EMBEDDED.items() if name in found}
    if column is None and keys:
        chosen: list[tuple[str, str | None]] = [(part, name) for name, part in keys.items() if key in (None, part)]
        return chosen or [(str(key), None)]
    return [(key or keys.get(str(column), "image"), column)]


def _embedded(path: str) -> list[str]:
    """Return the parts of a folder that clip-retrieval wrote; none for anything else."""
    return [name for name in _EMBEDDED if glob(os.path.join(escape(path), name, "*.np[yz]"))]


def _folder(path: str, column: str | None) -> tuple[str, str | None]:
    """Return the folder that holds the files, and the column to read in them."""
    found = _embedded(path)
    if not found:
        return path, column
    if column not in found and (column or len(found) > 1):
        raise BadData(f"{path} holds {' and '.join(found)}: name one with --column (column=)")
    return os.path.join(path, column or found[0]), None


def _stem(path: str) -> str:
    """Return the prefix of the fallback ids of a file: one row of clip-retrieval is one item, image and text."""
    folder, name = os.path.split(path)
    image = name.replace("text_emb", "img_emb")
    if os.path.basename(folder) == "text_emb" and os.path.exists(os.path.join(folder, os.pardir, "img_emb", image)):
        name = image
    return os.path.splitext(name)[0]


def _parts(folder: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return the files of a folder in numeric order, 2 before 10."""
    names = [name for name in os.listdir(folder) if name.lower().endswith(suffixes) and not name.startswith(".")]
    if not names:
        raise BadData(f"{folder} holds no file of {', '.join(suffixes)}")
    return [os.path.join(folder, name) for name in sorted(names, key=_by_number)]


def _by_number(name: str) -> list[str | int]:
    """Split a name into text and numbers; numbers are at odd positions, so they are never compared with text."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


def _tables(folder: str, arrays: tuple[Array, ...], metadata: str | None) -> list[str]:
    beside = os.path.join(os.path.dirname(folder), "metadata")
    if metadata is None and arrays[0].path.lower().endswith((".parquet", ".pq")):
        return [array.path for array in arrays]
    if metadata is None and not (os.path.basename(folder).endswith("_emb") and os.path.isdir(beside)):
        return []
    where = os.path.abspath(os.path.expanduser(metadata)) if metadata else beside
    return _parts(where, (".parquet", ".jsonl", ".csv")) if os.path.isdir(where) else [where]


def _check_rows(arrays: tuple[Array, ...], table: Table) -> None:
    """Refuse a table whose number of rows differs, because a shift by one row would mislabel all later vectors."""
    vectors = sum(array.rows for array in arrays)
    if vectors != table.rows:
        raise BadData(f"{arrays[0].path}: {vectors} vectors, but {table.rows} rows in {table.path}")
    if len(arrays) == len(table.counts):
        for array, path, rows in zip(arrays, table.paths, table.counts, strict=True):
            if rows != array.rows:
                raise BadData(f"{array.path}: {array.rows} vectors, but {rows} rows in {path}")
