"""The seal of a dataset: its newest version, and the size and checksum of each of its files, beside it on a local disk.

Lance stores no checksums, and takes the newest version it finds as the newest. So a lost or changed file can silently
change answers. After each commit the seal is written, under the write lock; it is compared with the files when the
dataset is opened. If the files have less than ``WHOLE`` bytes in total, they are hashed, once per process and file;
otherwise only sizes are compared. A process that dies between a commit and its seal leaves an older seal, which does
not check a newer version. A missing or damaged seal checks nothing either.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from quiver.engine.storage import json_store
from quiver.engine.storage.lance_errors import remedy
from quiver.engine.storage.version_watch import manifest_name
from quiver.engine.storage.write_lock import local_path
from quiver.errors import BadCollection
from quiver.files import sha256

#: Bytes of files that are read when a dataset is opened; reading them takes about 50 ms.
WHOLE = 64 << 20
_SUFFIX = ".seal.json"
_LOG = logging.getLogger("quiver")


@dataclass(frozen=True)
class Sealed:
    """The sealed state of a version.

    Attributes:
        version: its number.
        files: size and SHA-256 of its manifest, and of its data and deletion files, by their path in the dataset.
    """

    version: int
    files: dict[str, tuple[int, str]]


class Seal:
    """The seal of one dataset; without a local disk there is none.

    Args:
        uri: URI of the dataset, such as ``shop/items.lance``.
    """

    def __init__(self, uri: str) -> None:
        folder = local_path(uri)
        self._folder = None if folder is None else Path(folder)
        self._path = None if self._folder is None else self._folder.with_suffix(_SUFFIX)

    def write(self, dataset: Any) -> None:
        """Seal the newest version, as shown by a dataset, while the write lock is held."""
        if self._folder is None or self._path is None:
            return
        before = json_store.read(self._path, Sealed)
        if before is not None and before.version >= int(dataset.version):
            return
        known = {} if before is None else before.files
        try:
            files = {name: known.get(name) or _described(self._folder / name) for name in _files(dataset)}
        except OSError as error:
            _LOG.warning("%s cannot be sealed: %s", self._folder, error)
            return
        json_store.keep(self._path, Sealed(int(dataset.version), files))

    def check(self, dataset: Any) -> None:
        """Check a dataset, at the newest version that can be found, against its seal.

        Raises:
            BadCollection: the newest version is lost, or a file of it is lost or damaged.
        """
        sealed = None if self._path is None else json_store.read(self._path, Sealed)
        if self._folder is None or sealed is None or sealed.version < int(dataset.version):
            return
        place = str(self._folder)
        if sealed.version > int(dataset.version):
            name = manifest_name(sealed.version)
            if (self._folder / "_versions" / name).exists():  # committed since the dataset was opened
                return
            raise BadCollection(
                f"{place} is damaged: version {sealed.version}, its newest, is lost (_versions/{name} is gone); put"
                f" that file back from a backup, or remove {place.removesuffix('.lance')}{_SUFFIX} to go on from"
                f" version {dataset.version}"
            )
        whole = sum(size for size, _ in sealed.files.values()) <= WHOLE
        for name, (size, checksum) in sealed.files.items():
            if reason := _fault(self._folder / name, size, checksum if whole else None):
                raise BadCollection(f"{place} is damaged: {name} {reason}; {remedy(place)}")


def _files(dataset: Any) -> Iterator[str]:
    """List the files of a version, as paths in the dataset."""
    yield f"_versions/{manifest_name(int(dataset.version))}"
    for fragment in dataset.get_fragments():
        for file in fragment.data_files():
            if getattr(file, "base_id", None) is None:
                yield f"data/{file.path}"
        deleted = fragment.deletion_file()
        if deleted is not None:
            yield deleted


def _described(path: Path) -> tuple[int, str]:
    return path.stat().st_size, sha256(path)


def _fault(path: Path, size: int, checksum: str | None) -> str | None:
    """Return the fault of a file; None if it is intact."""
    try:
        state = path.stat()
        if state.st_size != size:
            return f"has {state.st_size} bytes instead of {size}"
        if checksum is not None and _sum(str(path), state.st_ino, state.st_mtime_ns, size) != checksum:
            return "has changed since it was written"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return None


@lru_cache(maxsize=65_536)
def _sum(path: str, inode: int, changed: int, size: int) -> str:
    """Hash a file, once for each seen state of it."""
    return sha256(Path(path))
