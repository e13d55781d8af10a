"""Relocation: the files of items have moved to another folder; their references and the stored roots follow."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc

from quiver.engine.core.sql import Sql, either
from quiver.engine.core.sql import text as literal
from quiver.engine.ingest.stored_roots import roots_of
from quiver.engine.source.roots import real
from quiver.engine.storage.dataset import Table
from quiver.errors import BadData, BadMedia, BadSpec, QuiverError
from quiver.media import locate
from quiver.types import MEDIA

#: Media that are references to files.
_FILES = tuple(name for name in MEDIA if name != "text")
_ROWS = 8192
#: Number of files that are looked up at the new place.
_PROBED = 100


@dataclass(frozen=True, slots=True)
class Relocated:
    """What a relocation changed.

    Attributes:
        items: number of items with new references.
        missing: number of the files looked up at the new place that do not exist, and how many were looked up.
        looked: number of files that were looked up.
    """

    items: int
    missing: int = 0
    looked: int = 0


def relocate(table: Table, old: str, new: str, *, check: bool) -> Relocated:
    """Replace a folder, or the start of URIs, in the references of all items: see ``Collection.relocate``.

    Raises:
        BadSpec: no item refers to a file below ``old``, or items from ``new`` are stored already.
        BadData: none of the files is at the new place.
    """
    here, there = _start(old), _start(new)
    if here == there:
        raise BadSpec(f"{old} and {new} are the same place")
    count = table.count(either(*(_below(name, here) for name in _FILES)))
    if not count:
        raise BadSpec(f"no item refers to a file below {here}{_known(table)}")
    looked, missing = _look(table, here, there) if check and "://" not in there else (0, 0)
    if looked and missing == looked:
        raise BadData(
            f"none of the first {looked} files is below {there}: check the folder, or say that it is not here"
        )
    _move_root(table, here, there)

    def change(dataset: lance.LanceDataset) -> None:
        for name in _FILES:
            for rows in _moved(table, name, here, there):
                table.merge(rows, insert=False)

    table.commit(change)
    return Relocated(count, missing, looked)


def _start(place: str) -> str:
    """Return a folder or the start of URIs with a slash at its end."""
    if not isinstance(place, str | os.PathLike) or not str(place).strip():
        raise BadSpec(f"relocate takes two folders, or the starts of two URIs, not {place!r}")
    text = str(place)
    full = text if "://" in text else os.path.abspath(os.path.expanduser(text)).replace(os.sep, "/")
    return full.rstrip("/") + "/"


def _below(name: str, here: str) -> Sql:
    return Sql(f"starts_with({name}, {literal(here)})")


def _moved(table: Table, name: str, here: str, there: str) -> Iterator[pa.Table]:
    """Yield ids and new references of one medium, block by block.

    All references are read before the first block is written, since writing changes the table.
    """
    found = table.table(["id", name], _below(name, here))
    for start in range(0, found.num_rows, _ROWS):
        block = found.slice(start, _ROWS)
        tails = pc.utf8_slice_codeunits(block[name], len(here))
        yield block.set_column(1, name, pc.binary_join_element_wise(there, tails, ""))


def _look(table: Table, here: str, there: str) -> tuple[int, int]:
    """Return how many of some files were looked up at the new place, and how many of them are missing."""
    paths: set[str] = set()
    for name in _FILES:
        where = _below(name, here)
        found = table.table([name], where, limit=_PROBED)[name].to_pylist()
        paths.update(there + reference[len(here) :] for reference in found)
    chosen = sorted(paths)[:_PROBED]
    return len(chosen), sum(not _exists(path) for path in chosen)


def _exists(reference: str) -> bool:
    try:
        return os.path.exists(locate(reference)[0])
    except BadMedia:
        return False


def _move_root(table: Table, here: str, there: str) -> None:
    """Give the stored roots in the old folder their new paths; their prefixes, and so the ids, stay.

    Raises:
        BadSpec: the new folder is a root already, with other ids.
        QuiverError: another writer changed the roots meanwhile.
    """
    if "://" in here or "://" in there:
        return
    roots = roots_of(table)
    moved: dict[str, str] = {}
    for path, prefix in roots.stored:
        target = path
        for old in dict.fromkeys((here, real(here).rstrip("/") + "/")):
            if f"{path}/".startswith(old):
                target = real((there + f"{path}/"[len(old) :]).rstrip("/"))
                break
        if moved.get(target, prefix) != prefix:
            raise BadSpec(f"items from {target} are stored already, with ids {moved[target]}...: delete one of the two")
        moved[target] = prefix
    if not table.record_roots(list(moved.items()), before=roots.stored, loose=bool(roots.aliases)):
        raise QuiverError("another process changed the collection meanwhile: run the same command again")


def _known(table: Table) -> str:
    stored: Any = table.roots[0]
    places: Mapping[str, str] = dict(stored or [])
    return f"; items were added from {', '.join(list(places)[:5])}" if places else ""
