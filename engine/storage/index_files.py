"""Index files beside a collection: a cache, rebuilt if an index does not match its column."""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from quiver import registry, trust
from quiver.engine.core.column import Column, Derived
from quiver.errors import BadCollection
from quiver.files import cache_home, sha256, write_json, writing
from quiver.protocols import Index

_LOG = logging.getLogger("quiver")
#: Name of an index folder before the note stored the name.
_OLD = "index"
#: Pattern of an index folder's name today; it lies beside its note.
_FOLDER = re.compile("index(-[0-9a-f]{12})?")


class _Note(msgspec.Struct):
    """The required parts of a note."""

    files: dict[int, str]
    options: dict[str, str]
    vectors: int
    counts: dict[int, int] = {}
    folder: str = _OLD
    trained: int = 0
    dead: int = 0


class Cache:
    """The folder of a collection's index files."""

    def __init__(self, uri: str) -> None:
        remote = hashlib.sha256(uri.encode()).hexdigest()[:16]
        self.root = cache_home() / remote if "://" in uri else Path(uri) / "cache"

    def path(self, column: Column | Derived, kind: str) -> Path:
        """Return the folder of one index."""
        return self.root / column.name / kind

    def promise(self, column: Column | Derived, kind: str) -> Path:
        """Return the file with the recall target of an index; publishing another index removes it."""
        return self.path(column, kind) / "promise.json"

    def queries(self, column: Column | Derived, kind: str) -> Path:
        """Return the file of the queries given for measuring an index."""
        return self.path(column, kind) / "queries.npy"

    def kinds(self, column: Column | Derived) -> dict[str, dict[str, Any]]:
        """Return the built indexes of a column: the note of each by its kind.

        A folder is used only if its name is a kind of Quiver's own, or one that this user has named.
        """
        found = {path.parent.name: path for path in self.root.glob(f"{column.name}/*/built.json")}
        notes = {kind: _note(path, column.name) for kind, path in found.items() if _known(kind)}
        return {kind: note for kind, note in notes.items() if note is not None}

    def stamp(self, column: Column | Derived, kind: str) -> str | None:
        """Identity of the published index file (inode and mtime); None if there is none."""
        try:
            state = os.stat(f"{self.root}/{column.name}/{kind}/built.json")
        except OSError:
            return None
        return f"{state.st_ino} {state.st_mtime_ns}"

    def marks(self) -> tuple[tuple[str, int, int], ...]:
        """Return the identity of every index, recall target and learned figure: a change of one changes the result."""
        found = []
        for pattern in ("*/*/built.json", "*/*/promise.json", "measured/*.json"):
            for path in sorted(self.root.glob(pattern)):
                with suppress(OSError):  # it was replaced just now
                    state = path.stat()
                    found.append((str(path.relative_to(self.root)), state.st_ino, state.st_mtime_ns))
        return tuple(found)

    @contextmanager
    def lock(self, column: Column | Derived, kind: str, name: str, *, wait: bool) -> Iterator[bool]:
        """Lock an index; yield whether the lock is held: False if another process holds it and we do not wait.

        The system releases the lock when its process ends in any way.
        """
        from filelock import FileLock, Timeout

        path = self.path(column, kind) / name
        lock = FileLock(path)
        try:
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire(blocking=wait)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def save(
        self, column: Column | Derived, kind: str, index: Index, note: Mapping[str, Any], *, instead: str | None = None
    ) -> bool:
        """Write an index beside the serving one; its note is written last and publishes it.

        Args:
            column: the indexed column.
            kind: kind of index.
            index: the index.
            note: its sources: versions, fragments, options.
            instead: expected stamp of the published index; if it has changed, nothing is published
                (compare-and-swap). Without it, the recall target of the earlier index is removed.

        Returns:
            Whether it was published.
        """
        folder = self.path(column, kind)
        with self.lock(column, kind, "save.lock", wait=True):
            self._sweep(column, kind)
            name = f"index-{uuid4().hex[:12]}"
            index.save(folder / name)
            if instead is None or instead == self.stamp(column, kind):
                if instead is None:
                    self.promise(column, kind).unlink(missing_ok=True)
                write_json(folder / "built.json", _sealed({**note, "folder": name, "column": column.name}, folder))
            self._sweep(column, kind)
            return (folder / name).exists()

    def _sweep(self, column: Column | Derived, kind: str) -> None:
        """Remove all files not named by the note: replaced indexes, and remains of killed processes."""
        served = self.kinds(column).get(kind, {}).get("folder", _OLD)
        for path in self.path(column, kind).iterdir():
            draft = path.name.startswith(".built.")  # of the note, which is written under the same lock
            if (draft or path.name.lstrip(".").startswith("index")) and path.name != served:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def open(self, column: Column | Derived, kind: str) -> tuple[Index, dict[int, str]] | None:
        """Open an index and the fragment files it was built from; None if there is no usable one."""
        module = registry.module("indexers", kind)
        while True:
            stamp, note = self.stamp(column, kind), self.kinds(column).get(kind)
            if note is None:
                return None
            try:
                index: Index = module.open(self.path(column, kind) / note.get("folder", _OLD), column.space)
            except BadCollection:
                if stamp == self.stamp(column, kind):
                    return None
                continue  # another one was published meanwhile
            return index, {int(number): files for number, files in note["files"].items()}


def _sealed(note: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Add the checksum of the index's header to a note, and then the checksum of the note.

    The header has the checksums of the other files, so that together they cover all of the index, its settings, its
    space and its column.
    """
    header = folder / note["folder"] / "header.json"
    whole = {name: value for name, value in note.items() if name != "sum"}
    whole = json.loads(json.dumps({**whole, "header": sha256(header) if header.exists() else ""}))  # all keys are text
    return {**whole, "sum": _sum(whole)}


def _sum(note: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(note, sort_keys=True).encode()).hexdigest()


def _check(path: Path, note: dict[str, Any], column: str) -> None:
    """Check that a note is complete and matches its index; older notes have no checksum.

    Raises:
        ValueError: the note is damaged, or belongs to another index.
    """
    known = msgspec.convert(note, _Note, strict=False)  # keys of JSON are text, numbers of fragments here
    if not _FOLDER.fullmatch(known.folder):
        raise ValueError(f"{known.folder!r} is no folder of an index")
    if "sum" not in note:
        return
    if _sum({name: value for name, value in note.items() if name != "sum"}) != note["sum"]:
        raise ValueError("its checksum does not match")
    if note.get("column") != column:
        raise ValueError(f"it is the index of {note.get('column')}")
    header = path.parent / known.folder / "header.json"
    if note.get("header") and header.exists() and sha256(header) != note["header"]:
        raise ValueError(f"{header} is not the file that was written")


def _note(path: Path, column: str) -> dict[str, Any] | None:
    """Read the note of an index; None if it is missing or damaged, which counts as no index."""
    try:
        note = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        _check(path, note, column)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        _doubt(path, str(error))
        return None
    return note


@cache
def _doubt(path: Path, reason: str) -> None:
    """Log once that an index is not used."""
    _LOG.warning("%s cannot be read, so its index is not used until `quiver index` rebuilds it: %s", path, reason)


def _known(kind: str) -> bool:
    return kind in registry.names("indexers") or trust.remembers("index", kind)
