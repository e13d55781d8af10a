"""Row numbers and their positions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from quiver.errors import BadData
from quiver.types import Rows

T = TypeVar("T")


class Recent(Generic[T]):
    """What was made of the last few arrays that nobody writes to: the same rows asked again need not wait again.

    The last one is always held; those before it as long as all together take no more than ``room`` bytes, each counted
    as the array and the ``nbytes`` of what was made of it.
    """

    __slots__ = ("_held", "_room")

    def __init__(self, room: int = 1 << 25) -> None:
        self._held: tuple[tuple[Rows, T], ...] = ()  # replaced as a whole: threads read it without a lock
        self._room = room

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return sum(map(_size, self._held))

    def of(self, rows: Rows, make: Callable[[Rows], T]) -> T:
        """Make something of row numbers, unless it was made of this very array before, which must be read-only."""
        if rows.flags.writeable:
            return make(rows)
        for known, made in self._held:
            if known is rows:
                return made
        made = make(rows)
        if rows.base is None:
            self._hold((rows, made))
        return made

    def _hold(self, newest: tuple[Rows, T]) -> None:
        sizes = np.cumsum([_size(newest), *map(_size, self._held)])
        self._held = (newest, *self._held[: int((sizes[1:] <= self._room).sum())])


def _size(each: tuple[Rows, object]) -> int:
    return each[0].nbytes + int(getattr(each[1], "nbytes", 0))


@dataclass(frozen=True, slots=True, eq=False)
class RowMap:
    """Unique row numbers in any order; ``RowMap.of`` makes one.

    Attributes:
        rows: (n,) int64 in the order stored.
        ascending: the same, sorted.
        order: positions of the ascending ones, or None where rows are sorted already.
    """

    rows: Rows
    ascending: Rows
    order: Rows | None

    @classmethod
    def of(cls, rows: Rows) -> "RowMap":
        """Take row numbers as they are.

        Raises:
            BadData: a row number occurs twice.
        """
        steps = np.diff(rows)
        order = None if (steps > 0).all() else np.argsort(rows, kind="stable")
        ascending = rows if order is None else rows[order]
        twice = ascending[1:][np.diff(ascending) == 0]
        if len(twice):
            raise BadData(f"row {twice[0]} occurs twice: row numbers must be unique")
        return cls(rows, ascending, order)

    def __len__(self) -> int:
        return len(self.rows)

    def locate(self, wanted: Rows) -> Rows:
        """Return the positions of the wanted rows that are held, in the order wanted."""
        places, held = self._search(wanted)
        places = places[held]
        return places if self.order is None else self.order[places]

    def among(self, allowed: Rows) -> Rows | None:
        """Return the positions of those held of the allowed rows, ascending; None if those are all.

        Args:
            allowed: (m,) row numbers, ascending and unique.
        """
        if self._dense():  # nothing has to be looked up
            first, last = np.searchsorted(allowed, [self.ascending[0], self.ascending[-1] + 1])
            if last - first == len(self):
                return None
            places = allowed[first:last] - self.ascending[0]
            return places if self.order is None else np.sort(self.order[places])
        positions = self.locate(allowed)
        return None if len(positions) == len(self) else np.sort(positions)

    def demand(self, wanted: Rows) -> Rows:
        """Return the positions of all wanted rows.

        Raises:
            BadData: a row is not in the index.
        """
        _, held = self._search(wanted)
        if not held.all():
            raise BadData(f"row {wanted[np.argmin(held)]} is not in this index")
        return self.locate(wanted)

    def _search(self, wanted: Rows) -> tuple[Rows, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        n = len(self.rows)
        if self._dense():  # subtract instead of searching
            places = wanted - self.ascending[0]
            return places, (places >= 0) & (places < n)
        places = np.searchsorted(self.ascending, wanted)
        inside = places < n
        inside[inside] = self.ascending[places[inside]] == wanted[inside]
        return places, inside

    def _dense(self) -> bool:
        """Whether row numbers are consecutive."""
        return len(self.rows) > 0 and self.ascending[-1] - self.ascending[0] == len(self.rows) - 1
