"""Files that appear whole or not at all."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from quiver.errors import BadSpec


@contextmanager
def staged(path: Path, *, mark: str | None = None) -> Iterator[Path]:
    """Yield a free name beside path; the file or folder written there takes its place when the block succeeds.

    Args:
        path: where it shall be; folders above it are made.
        mark: a name that every folder of this sort holds; None for a file. A folder at path that lacks it stays.

    Raises:
        BadSpec: there is something else at path.
    """
    if path.is_dir() and any(path.iterdir()) and not (mark and (path / mark).exists()):
        raise BadSpec(f"{path} is a folder that holds something else: choose another path, or remove it")
    if mark and path.is_file():
        raise BadSpec(f"{path} is a file: choose another path, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        yield draft
        _swap(draft, path)
    finally:
        _remove(draft)


def _swap(draft: Path, path: Path) -> None:
    if not path.is_dir():
        draft.replace(path)
        return
    aside = path.with_name(f".{path.name}.{uuid4().hex}")  # no system replaces a folder that is not empty
    path.rename(aside)
    draft.rename(path)
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
