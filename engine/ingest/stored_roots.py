"""The stored roots of a collection, and evidence about their items."""

from collections.abc import Mapping, Sequence
from typing import Any

from quiver.engine.core.sql import Sql, among
from quiver.engine.ingest.decode import content_hash
from quiver.engine.source.roots import NamedRoot, Roots, real, real_file
from quiver.engine.storage.dataset import Table
from quiver.errors import QuiverError
from quiver.media import locate, moment, times
from quiver.types import MEDIA

#: Number of items whose content is compared to recognise a moved root.
_COMPARED = 16


def roots_of(table: Table | None) -> Roots:
    """Return the roots of a collection; for a collection of an older Quiver they are derived from its items."""
    if table is None:
        return Roots()
    stored, loose = table.roots
    if stored is None:
        stored, aliases = _derived(table)
    else:
        aliases = _loose(table) if loose else {}
    named = [NamedRoot(*each) for each in stored]
    return Roots(named, aliases, evidence=lambda sample: _compare(table, sample), columns=tuple(table.meta))


def keep(table: Table, roots: Roots) -> bool:
    """Store the roots, before the first of their items is committed.

    Returns:
        Whether they are stored: False if another writer took the prefix of a new root, so that it needs another one.
    """
    stored, _ = table.roots
    if stored is not None and set(stored) == set(roots.all):
        return True
    return table.record_roots(roots.all, before=roots.stored, loose=bool(roots.aliases))


def _compare(table: Table, sample: Sequence[tuple[str, Mapping[str, str]]]) -> Mapping[int, bool]:
    """Return which items of a sample are stored, by position, and whether their content is the same.

    A film that is stored as windows is compared by one of them.
    """
    ids = [id for id, _ in sample]
    stored = _windows(table, ids)
    for row in table.read(["id", "sha256", "text"], where=among("id", ids)).to_pylist():
        stored[row["id"]] = row
    here = [n for n, id in enumerate(ids) if id in stored and stored[id]["sha256"] is not None]
    chosen = here[:: max(1, len(here) // _COMPARED)][:_COMPARED]
    return {n: _same(sample[n][1], stored[ids[n]]) for n in chosen}


def _windows(table: Table, films: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return a stored window of each film."""
    if not {"film", "start", "end"} <= set(table.meta):
        return {}
    names = ["film", "sha256", "text", "audio", "video"]
    return {row["film"]: row for row in table.read(names, where=among("film", films)).to_pylist()}


def _same(media: Mapping[str, str], stored: Mapping[str, Any]) -> bool:
    text = {} if stored["text"] is None else {"text": stored["text"]}  # a caption may come from another source
    window = stored.get("video") or stored.get("audio")
    if window is not None:  # by its name a sound in a video container is a video
        reference = next((media[name] for name in ("video", "audio") if name in media), None)
        if reference is None:
            return False
        media = {"video": moment(times(reference)[0], *times(window)[1:])}
    try:
        return content_hash({**text, **media}) == stored["sha256"] or content_hash(media) == stored["sha256"]
    except (QuiverError, OSError):
        return False


def _derived(table: Table) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Derive roots from ids that end like the paths of their files, and ids of files that were added one by one."""
    roots: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for id, reference in _references(table):
        path = locate(reference)[0]
        is_member = "?offset=" in reference
        head = _tar(id, path) if is_member else id
        if not path.endswith(f"/{head}"):
            continue
        name, slash, below = head.partition("/")
        if slash or is_member:
            roots.setdefault(real(path.removesuffix(slash + below)), f"{name}/")
        else:
            aliases[real_file(path)] = id
    return list(roots.items()), aliases


def _tar(id: str, path: str) -> str:
    """Return the part of a sample's id that names its tar."""
    name = path.rsplit("/", 1)[-1]
    at = id.find(f"{name}/")
    return id if at < 0 else id[: at + len(name)]


def _loose(table: Table) -> dict[str, str]:
    pairs = ((id, locate(reference)[0]) for id, reference in _references(table, where=Sql("id NOT LIKE '%/%'")))
    return {real_file(path): id for id, path in pairs if path.endswith(f"/{id}")}


def _references(table: Table, where: Sql | None = None) -> Any:
    for batch in table.batches(["id", *MEDIA[1:]], where=where, size=8192):
        for row in batch.to_pylist():
            id = row.pop("id")
            reference = next((value for value in row.values() if value is not None), None)
            if reference is not None and "://" not in reference:
                yield id, reference
