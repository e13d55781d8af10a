"""Arrays of vectors on disk: npy, npz and Parquet files, read a block of rows at a time.

Shapes: n rows of a file, dim the width of the vectors.
"""

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from quiver.engine.source.parquet import open_file
from quiver.errors import BadData

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_ROWS = 16384  # read at a time


@dataclass(frozen=True, slots=True)
class Array:
    """One file of vectors.

    Attributes:
        path: the file.
        member: the array of an npz, or the column of a Parquet file; empty for an npy.
        rows: n.
        dim: dimension of its vectors.
    """

    path: str
    member: str
    rows: int
    dim: int

    def read(self) -> "Iterator[NDArray[Any]]":
        """Yield (m, dim) blocks; a Parquet row of another length becomes a row of NaN. An npy is memory-mapped."""
        suffix = _suffix(self.path)
        if suffix == ".parquet":
            yield from self._columns()
            return
        if suffix == ".npy":
            data = np.load(self.path, mmap_mode="r", allow_pickle=False)
        else:
            with np.load(self.path, allow_pickle=False) as archive:
                data = archive[self.member]
        yield from (data[start : start + _ROWS] for start in range(0, self.rows, _ROWS))

    def _columns(self) -> "Iterator[NDArray[Any]]":
        with open_file(self.path) as file:
            for batch in file.iter_batches(_ROWS, columns=[self.member]):
                yield to_matrix(batch.column(0), self.dim)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower().replace(".pq", ".parquet")


def to_matrix(values: "pa.Array", dim: int) -> "NDArray[Any]":
    """Return (m, dim) float32 of a list column; a null or a list of another length becomes a row of NaN."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = pc.fill_null(pc.equal(pc.list_value_length(values), dim), False).to_numpy(zero_copy_only=False)
    data = np.full((len(values), dim), np.nan, np.float32)
    flat = values.filter(pa.array(whole)).flatten()
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, and are reported
        data[whole] = flat.to_numpy(zero_copy_only=False).reshape(-1, dim)
    return data


def open_array(path: str, member: str | None) -> Array:
    """Read the shape of the vectors in a file, without the vectors.

    Raises:
        BadData: it is not a file of vectors, or it contains several arrays and none is named.
    """
    readers = {".npy": _open_npy, ".npz": _open_npz, ".parquet": _open_parquet}
    if _suffix(path) not in readers:
        raise BadData(f"{path}: vectors must be in a .npy, .npz or .parquet file")
    if not os.path.isfile(path):
        raise BadData(f"there is no file {path}")
    return readers[_suffix(path)](path, member)


def _open_npy(path: str, member: str | None) -> Array:
    try:
        with open(path, "rb") as file:
            shape, kind = _header(file)
            whole = file.tell() + int(np.prod(shape)) * kind.itemsize
        if os.path.getsize(path) < whole:
            raise BadData(f"{path} is truncated: it has {os.path.getsize(path)} of {whole} bytes")
    except ValueError as error:
        raise BadData(f"{path} is not a complete npy file: {error}") from error
    _check(path, shape, kind)
    return Array(path, "", *shape)


def _open_npz(path: str, member: str | None) -> Array:
    try:
        with zipfile.ZipFile(path) as archive:
            headers = {}
            for name in archive.namelist():
                with archive.open(name) as file:
                    headers[name.removesuffix(".npy")] = _header(file)
    except (ValueError, zipfile.BadZipFile) as error:
        raise BadData(f"{path} is not a complete npz file: {error}") from error
    names = [member] if member else [name for name, header in headers.items() if _is_matrix(*header)]
    listed = ", ".join(f"{name} {shape} {kind}" for name, (shape, kind) in headers.items())
    if len(names) != 1 or names[0] not in headers:
        raise BadData(f"{path}: name the array of vectors with --column (column=); it contains {listed}")
    shape, kind = headers[names[0]]
    _check(f"{path} {names[0]}", shape, kind)
    return Array(path, names[0], *shape)


def _header(file: Any) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    return shape, kind


def _is_matrix(shape: tuple[int, ...], kind: "np.dtype[Any]") -> bool:
    return len(shape) == 2 and kind.kind in "fiu"


def _check(name: str, shape: tuple[int, ...], kind: "np.dtype[Any]") -> None:
    if not _is_matrix(shape, kind) or not shape[1]:
        raise BadData(f"{name} must be (n, dim) numbers, not {shape} of {kind}")


def _open_parquet(path: str, member: str | None) -> Array:
    with open_file(path) as file:
        schema = file.schema_arrow
        names = [member] if member else [f.name for f in schema if _is_vector(f.type)]
        if len(names) != 1 or names[0] not in schema.names or not _is_vector(schema.field(names[0]).type):
            found = ", ".join(f"{f.name} {f.type}" for f in schema)
            raise BadData(f"{path}: name the column of vectors with --column (column=); it contains {found}")
        return Array(path, names[0], file.metadata.num_rows, _dim(path, file, names[0]))


def _is_vector(kind: "pa.DataType") -> bool:
    import pyarrow.types as pt

    lists = pt.is_fixed_size_list(kind) or pt.is_list(kind) or pt.is_large_list(kind)
    return lists and pt.is_floating(kind.value_type)


def _dim(path: str, file: Any, name: str) -> int:
    """Return the dimension of a column: from its type if fixed, else from its first vector."""
    import pyarrow.types as pt

    kind = file.schema_arrow.field(name).type
    if pt.is_fixed_size_list(kind):
        return int(kind.list_size)
    for batch in file.iter_batches(_ROWS, columns=[name]):
        for length in batch.column(0).value_lengths().to_pylist():
            if length:
                return int(length)
    raise BadData(f"{path}: column {name} contains no vectors")
