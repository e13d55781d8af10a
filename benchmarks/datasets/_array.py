"""Arrays in files: memory-mapped if the format allows it, read whole if it is compressed or chunked."""

import importlib
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadData, optional

Numbers = NDArray[Any]

#: Component types of the formats that begin every row with its width.
VECS: dict[str, np.dtype[Any]] = {".fvecs": np.dtype("<f4"), ".bvecs": np.dtype("u1"), ".ivecs": np.dtype("<i4")}
#: Files that hold one array, which has no name there.
SINGLE = (*VECS, ".npy")
HDF5 = (".hdf5", ".h5")
_PROBED = 1024  # rows whose stated width is looked at


def read(path: Path, names: Sequence[str]) -> Numbers | None:
    """Return the array of a file, or the first of these names in a file of several; None where it has none of them.

    Raises:
        BadData: there is no such file, it is cut off, or it is of another format.
        MissingExtra: h5py is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise BadData(f"{path}: arrays are read from {', '.join(READERS)} (unpack a .gz first)")
    if not path.is_file():
        raise BadData(f"there is no file {path}")
    try:
        return READERS[suffix](path, names)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise BadData(f"{path} is not a whole {suffix} file: {error}") from error


def attribute(path: Path, name: str) -> str | None:
    """Return the metadata of an HDF5 file; None if it has none, or is of another format."""
    if path.suffix.lower() not in HDF5:
        return None
    with _h5py().File(path, "r") as file:
        said = file.attrs.get(name)
    return said.decode() if isinstance(said, bytes) else said


def _vecs(path: Path, names: Sequence[str]) -> Numbers:
    kind = VECS[path.suffix.lower()]
    size = path.stat().st_size
    if size < 4:
        raise BadData(f"{path} has no vectors")
    dim = int(np.fromfile(path, "<i4", 1)[0])
    row = 4 + dim * kind.itemsize
    if dim < 1 or size % row:
        raise BadData(f"{path}: {size} bytes are not a whole number of rows of {dim} {kind}: is it truncated?")
    raw = np.memmap(path, np.uint8, "r", shape=(size // row, row))
    probed = np.unique(np.linspace(0, len(raw) - 1, _PROBED).astype(np.int64))
    widths = np.ascontiguousarray(raw[probed, :4]).view("<i4")[:, 0]
    if (odd := np.flatnonzero(widths != dim)).size:
        raise BadData(f"{path}: row {probed[odd[0]]} has dimension {widths[odd[0]]} and the first one {dim}")
    head = 4 // kind.itemsize
    return np.memmap(path, kind, "r", shape=(len(raw), head + dim))[:, head:]


def _npy(path: Path, names: Sequence[str]) -> Numbers:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _npz(path: Path, names: Sequence[str]) -> Numbers | None:
    with zipfile.ZipFile(path) as archive:
        held = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        name = next((name for name in names if name in held), None)
        if name is None:
            return None
        if held[name].compress_type == zipfile.ZIP_STORED:
            return _stored(path, held[name])
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[name]


def _stored(path: Path, member: zipfile.ZipInfo) -> Numbers:
    """Memory-map an array that an archive stores uncompressed."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))  # lengths in the local header, which ends at 30
        file.seek(name + extra, 1)
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_column, kind = header(file)
        start = file.tell()
    return np.memmap(path, kind, "r", start, shape, "F" if by_column else "C")


def _hdf5(path: Path, names: Sequence[str]) -> Numbers | None:
    with _h5py().File(path, "r") as file:
        name = next((name for name in names if name in file), None)
        if name is None:
            return None
        start = file[name].id.get_offset()  # None where it is chunked, compressed or empty
        shape, kind = file[name].shape, file[name].dtype
        if start is None:
            return file[name][()]
    return np.memmap(path, kind, "r", start, shape)


def _h5py() -> Any:
    with optional():
        return importlib.import_module("h5py")


READERS: dict[str, Callable[[Path, Sequence[str]], Numbers | None]] = {
    **dict.fromkeys(VECS, _vecs),
    ".npy": _npy,
    ".npz": _npz,
    **dict.fromkeys(HDF5, _hdf5),
}
