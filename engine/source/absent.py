"""Sources of a collection in which nothing is left: a folder that was emptied or removed, a table without rows.

Usually such a source is a mistake, and an error. Where a collection is compared with its files, it is the question.
"""

import os
from dataclasses import dataclass, field

from quiver.engine.source.roots import Roots, Used, real


@dataclass(slots=True)
class Absent:
    """The empty and missing sources of an add that the collection has items of.

    Attributes:
        roots: the roots of the collection.
        used: the sources in which nothing is left.
    """

    roots: Roots
    used: list[Used] = field(default_factory=list)

    def take(self, path: str, kind: str = "folder") -> bool:
        """Record a source in which nothing is left; returns whether the collection knows it.

        Args:
            path: its absolute path.
            kind: see ``Used``.
        """
        where = real(path)
        prefix = self._prefix(where)
        if prefix is None:
            return False
        self.used.append(Used(where, prefix + "#" * (kind == "table"), kind))
        return True

    def _prefix(self, where: str) -> str | None:
        """Return the prefix of the ids of a path that is a stored root, or below one."""
        stored = dict(self.roots.stored)
        below, at = "", where
        while at not in stored:
            at, name = os.path.split(at)
            if not name:
                return None
            below = f"{name}/{below}"
        return stored[at] + below.removesuffix("/")
