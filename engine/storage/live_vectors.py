"""Vectors in memory by row number: a base snapshot minus deleted rows, plus rows added since."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from quiver.indexers._rows import RowMap
from quiver.types import Floats, Rows, Vectors


@dataclass(frozen=True, eq=False)
class Live:
    """The live vectors of a column; ``Live.of`` makes one.

    Attributes:
        base: vectors of the snapshot.
        places: position of each of its rows.
        dead: its deleted or rewritten rows, sorted.
        late: vectors added since; a rewritten row is dead in the base and present here.
    """

    base: Vectors
    places: RowMap
    dead: Rows
    late: Vectors | None = None

    @classmethod
    def of(cls, vectors: Vectors) -> "Live":
        """Wrap vectors without changes."""
        return cls(vectors, RowMap.of(vectors.rows), np.empty(0, np.int64))

    def renew(self, dead: Rows, late: Vectors | None) -> "Live":
        """Return the same base with other changes."""
        return replace(self, dead=dead, late=late)

    @cached_property
    def rows(self) -> Rows:
        """Every live row number, sorted."""
        alive = np.setdiff1d(self.places.ascending, self.dead, assume_unique=True)
        return alive if self.late is None else np.union1d(alive, self.late.rows)

    @cached_property
    def _later(self) -> RowMap | None:
        return None if self.late is None else RowMap.of(self.late.rows)

    def take(self, rows: Rows) -> Vectors:
        """Return the live ones among some rows, ascending, and their vectors; a view if they are contiguous.

        Args:
            rows: sorted and unique.
        """
        alive = np.setdiff1d(rows, self.dead, assume_unique=True) if len(self.dead) else rows
        found = _pick(self.base, self.places.locate(alive))
        if self.late is None or self._later is None:
            return found
        later = _pick(self.late, self._later.locate(rows))
        if not len(later) or not len(found):
            return later if len(later) else found
        order = np.argsort(np.concatenate([found.rows, later.rows]))
        both = np.concatenate([found.rows, later.rows])[order], np.concatenate([found.data, later.data])[order]
        return Vectors(self.base.space, *both)


def _pick(vectors: Vectors, places: Rows) -> Vectors:
    """Return the vectors at some positions; a view if the positions are contiguous."""
    if len(places) and (np.diff(places) == 1).all():
        part = slice(int(places[0]), int(places[-1]) + 1)
        return Vectors(vectors.space, vectors.rows[part], vectors.data[part])
    data: Floats = vectors.data[places]
    return Vectors(vectors.space, vectors.rows[places], data)
