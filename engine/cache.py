"""Index files beside a collection: caches, named by what they were made from, rebuilt when they do not match."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quiver import registry
from quiver.engine.column import Column, Derived
from quiver.errors import BadCollection
from quiver.protocols import Index


class Cache:
    """The folder of a collection's index files."""

    def __init__(self, uri: str) -> None:
        self.root = Path(uri) / "cache" if "://" not in uri else home() / hashlib.sha256(uri.encode()).hexdigest()[:16]

    def path(self, column: Column | Derived, kind: str) -> Path:
        """Return the folder of one index."""
        return self.root / column.name / kind

    def promise(self, column: Column | Derived, kind: str) -> Path:
        """Return the file that says what recall an index keeps; publishing another index removes it."""
        return self.path(column, kind) / "promise.json"

    def queries(self, column: Column | Derived, kind: str) -> Path:
        """Return the file of the queries that were given to measure an index with."""
        return self.path(column, kind) / "queries.npy"

    def kinds(self, column: Column | Derived) -> dict[str, dict[str, Any]]:
        """Return what is built for a column: the note of each index by its kind."""
        return {
            note.parent.name: json.loads(note.read_text()) for note in self.root.glob(f"{column.name}/*/built.json")
        }

    def save(self, column: Column | Derived, kind: str, index: Index, note: Mapping[str, Any]) -> Path:
        """Write an index; its note comes last and makes it valid."""
        folder = self.path(column, kind)
        folder.mkdir(parents=True, exist_ok=True)
        self.promise(column, kind).unlink(missing_ok=True)
        (folder / "built.json").unlink(missing_ok=True)
        index.save(folder / "index")
        fresh = folder / "built.json.new"
        fresh.write_text(json.dumps(note))
        os.replace(fresh, folder / "built.json")
        return folder

    def open(self, column: Column | Derived, kind: str) -> tuple[Index, dict[int, str]] | None:
        """Open an index and the fragment files it was built from; None where there is none that can be used."""
        note = self.kinds(column).get(kind)
        if note is None:
            return None
        try:
            index: Index = registry.module("indexers", kind).open(self.path(column, kind) / "index", column.space)
        except BadCollection:
            return None
        return index, {int(number): files for number, files in note["files"].items()}


def home() -> Path:
    """Return the folder for files that can be made again: QUIVER_CACHE, or ``~/.cache/quiver``."""
    return Path(os.environ.get("QUIVER_CACHE", Path.home() / ".cache" / "quiver"))
