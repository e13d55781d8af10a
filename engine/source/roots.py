"""Roots: the folders, tars and tables of a collection's items, and the prefixes of the items' ids.

An id is the prefix of a root and the path below it: ``photos/red0.png``. The prefix is the short name of the root while
that name is free. Another root of the same name gets as much of its parents as tells it apart (``card2/DCIM/``), so
that two sources never replace each other's items. Files that are added one by one, before their folder is, have no
prefix: their ids are their names (``red0.png``), and those of the rest of the folder later on. A root is known by its
real path: relative paths, links and ``..`` make no new one, and a file is named by the innermost root that holds it,
whichever way it is added. A root that has moved is recognised by its content and keeps its prefix.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from quiver.media import locate, times

#: Paths below a root and the media there.
Sample = Iterable[tuple[str, Mapping[str, str]]]
#: Given ids and media, returns the stored ones by position, and whether their content is the same.
Evidence = Callable[[Sequence[tuple[str, Mapping[str, str]]]], Mapping[int, bool]]

#: Number of items whose ids are looked up to recognise a moved root.
_SAMPLED = 500


class NamedRoot(NamedTuple):
    """A root and the prefix of its ids: the real path of a folder or file, and a text such as ``photos/``."""

    path: str
    prefix: str


class Used(NamedTuple):
    """A source that an add reads.

    Attributes:
        path: its real path.
        prefix: prefix of its ids.
        kind: ``folder`` with all below it, ``files`` for single files of a folder, ``tar``, or ``table``.
        before: the real path it was moved from; empty if it was not moved.
    """

    path: str
    prefix: str
    kind: str
    before: str = ""


def real(path: str) -> str:
    """Return the path without links, ``.`` and ``..``, with slashes."""
    return os.path.realpath(path).replace(os.sep, "/")


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return real(folder)


def real_file(path: str) -> str:
    """Return the path of a file with the links in its folder resolved; a link that is a file keeps its name."""
    folder, name = os.path.split(path)
    return f"{_real_folder(folder).rstrip('/')}/{name}"


def same_place(one: str, other: str) -> bool:
    """Whether two references mean the same file or the same part of it, with all links resolved."""
    (path, *rest), (path2, *rest2) = locate(one), locate(other)
    return rest == rest2 and times(one)[1:] == times(other)[1:] and real_file(path) == real_file(path2)


@dataclass(slots=True)
class Roots:
    """The roots of a collection, and the new roots of an add.

    Attributes:
        stored: the roots that the collection has.
        aliases: id by real path, for items of an older Quiver, which stored no roots.
        evidence: compares samples with stored items; None for a new collection.
        columns: the metadata columns of the collection.
        used: the sources that this add reads.
        notes: notes for the user.
    """

    stored: Sequence[NamedRoot] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    evidence: Evidence | None = None
    columns: tuple[str, ...] = ()
    used: list[Used] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _all: dict[str, str] = field(default_factory=dict)
    _moves: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _real_folder.cache_clear()
        self._all = dict(self.stored)

    @property
    def all(self) -> list[NamedRoot]:
        """The stored roots and the new ones; a moved root only with its new path."""
        return [NamedRoot(path, prefix) for path, prefix in self._all.items()]

    def name(self, path: str, kind: str, *, sample: Callable[[], Sample] | None = None) -> str:
        """Return the prefix of the ids below a root, and remember the root.

        Args:
            path: its absolute path.
            kind: kind of root, see ``Used``.
            sample: items below the path, to recognise a moved root; None if there is nothing to compare.
        """
        where = real(path)
        prefix = self.covering(where)
        if prefix is None:
            prefix = self._moved(where, sample)
        if prefix is None:
            prefix = self._fresh(os.path.abspath(path).replace(os.sep, "/"), where, alone=kind == "files")
            self._all[where] = prefix
        self.used.append(Used(where, prefix, kind, self._moves.get(where, "")))
        return prefix

    def covering(self, where: str) -> str | None:
        """Return the prefix of a real path that is a root or lies below one, else None."""
        path = where
        while True:
            if path in self._all:
                below = where[len(path) :].strip("/")
                return self._all[path] + (f"{below}/" if below else "")
            above = os.path.dirname(path)
            if above == path:
                return None
            path = above

    def exact(self, where: str) -> str | None:
        """Return the prefix of a real path that is itself a root."""
        return self._all.get(where)

    def alias(self, path: str) -> str | None:
        """Return the id of a file in a collection of an older Quiver, which stored no roots."""
        return self.aliases.get(real_file(path)) if self.aliases else None

    def has_below(self, where: str) -> bool:
        """Whether another root lies below a real path."""
        return any(path.startswith(where.rstrip("/") + "/") for path in self._all)

    def id_of(self, path: str) -> str | None:
        """Return the id of a file by its absolute path; None if it lies below no root."""
        where = real_file(path)
        if where in self.aliases:
            return self.aliases[where]
        folder, name = os.path.split(where)
        prefix = self.covering(folder)
        return None if prefix is None else prefix + name

    def _moved(self, where: str, sample: Callable[[], Sample] | None) -> str | None:
        """Take over the prefix of a root that is gone from its path and whose content is at the new path."""
        gone = [(path, prefix) for path, prefix in self._all.items() if not os.path.lexists(path)]
        if not gone or sample is None or self.evidence is None:
            return None
        some = list(islice(sample(), _SAMPLED))
        if not some:
            return None
        for path, prefix in gone:
            found = self.evidence([(prefix + below, media) for below, media in some])
            if found and 2 * sum(found.values()) >= len(found):
                del self._all[path]
                self._all[where] = prefix
                self._moves[where] = path
                self.notes.append(f"{path} has moved to {where}: its items keep their ids, {prefix}...")
                return prefix
        return None

    def inner(self, ids: str, name: str, where: str) -> str:
        """Return the prefix of a folder in a folder, whose own prefix is ``ids``.

        Below a root without a prefix it may be that of another root: then this folder becomes a root of its own.
        """
        prefix = f"{ids}{name}/"
        if ids or self._holder(prefix, where) is None:
            return prefix
        self._all[where] = prefix = self._fresh(where, where)
        return prefix

    def _fresh(self, path: str, where: str, *, alone: bool = False) -> str:
        """Return the shortest end of a path that is no prefix of another root; may be empty for files alone."""
        steps = [step for step in path.split("/") if step]
        if not steps or (alone and "" not in self._all.values()):
            return ""
        prefixes = [f"{'/'.join(steps[-count:])}/" for count in range(1, len(steps) + 1)]
        holders = [self._holder(prefix, where) for prefix in prefixes]
        if holders[0] is None:
            return prefixes[0]
        prefix = next((each for each, holder in zip(prefixes, holders, strict=True) if holder is None), f"{path}/")
        self.notes.append(f"{prefixes[0]}... are items from {holders[0]}: items from {path} get the ids {prefix}...")
        return prefix

    def _holder(self, prefix: str, where: str) -> str | None:
        """Return another root whose ids could be the same as those with this prefix."""
        for path, other in self._all.items():
            if not other:
                inside = f"{path.rstrip('/')}/{prefix.rstrip('/')}"
                if where != inside and os.path.isdir(inside):
                    return path
                continue
            if other.startswith(prefix):
                # Harmless where it is the same place: /x/photos as photos/ below /x/photos/.. and the like.
                if path == f"{where.rstrip('/')}/{other[len(prefix) :].strip('/')}".rstrip("/"):
                    continue
                return path
            if prefix.startswith(other) and other.endswith("/"):
                return path
        return None
