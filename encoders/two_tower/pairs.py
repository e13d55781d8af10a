"""Pairs of questions and answers as arrays, so that millions of them are no Python objects.

Shapes: n rows (questions with their answers), t things, b rows of a batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from quiver.encoders._contrast import in_table
from quiver.errors import BadData
from quiver.types import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Things:
    """Distinct references, numbered in the order in which they came.

    Attributes:
        refs: by key.
        kind: (t,) int8, the place of each thing's key in ``refs``.
        row: (t,) int64, its place among the references of its key.
    """

    refs: Mapping[str, Sequence[Any]]
    kind: NDArray[np.int8]
    row: Rows

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys, in the order of ``kind``."""
        return tuple(self.refs)

    def key(self, thing: int) -> str:
        """Return the key of a thing."""
        return self.keys[self.kind[thing]]


class Ragged(Sequence[Rows]):
    """Several numbers for each row; rows of the same numbers may share them.

    Args:
        start: (n,) int64, where the numbers of each row begin.
        stop: (n,) int64, where they end.
        flat: all numbers.
    """

    def __init__(self, start: Rows, stop: Rows, flat: Rows) -> None:
        self.start, self.stop, self.flat = start, stop, flat

    @classmethod
    def of(cls, rows: Sequence[Rows]) -> "Ragged":
        """Join the numbers of all rows."""
        ends = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return cls(ends[:-1], ends[1:], np.concatenate([*rows, np.empty(0, np.int64)]).astype(np.int64))

    @property
    def counts(self) -> Rows:
        """(n,) numbers of each row."""
        return self.stop - self.start

    @overload
    def __getitem__(self, row: int) -> Rows: ...

    @overload
    def __getitem__(self, row: slice) -> "Ragged": ...

    def __getitem__(self, row: int | slice) -> "Rows | Ragged":
        if isinstance(row, slice):
            return Ragged(self.start[row], self.stop[row], self.flat)
        return self.flat[self.start[row] : self.stop[row]]

    def __len__(self) -> int:
        return len(self.start)

    def __iter__(self) -> Iterator[Rows]:
        return (self[row] for row in range(len(self)))

    def take(self, rows: Rows) -> "Ragged":
        """Return some rows."""
        return Ragged(self.start[rows], self.stop[rows], self.flat)

    def draw(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Draw one number of each of some rows, (b,): the same as ``rng.choice`` of one row after the other."""
        return self.flat[self.start[rows] + rng.integers(0, self.stop[rows] - self.start[rows])]

    def where(self, kept: NDArray[np.bool_]) -> "Ragged":
        """Leave out the numbers where ``kept`` (as long as ``flat``) is False."""
        before = np.concatenate([[0], kept.cumsum()]).astype(np.int64)
        return Ragged(before[self.start], before[self.stop], self.flat[kept])

    def spread(self) -> tuple[Rows, Rows]:
        """Return the row of each number, and the numbers, row after row."""
        counts = self.counts
        inner = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        return np.repeat(np.arange(len(self)), counts), self.flat[np.repeat(self.start, counts) + inner]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Questions with their answers.

    Attributes:
        things: everything that is asked with or searched.
        ask: (n,) int64, the thing that asks.
        answers: of each row the things that are right, sorted.
        searched: things that compete, sorted.
        known: (t, t) bool, row a and column b where b is no wrong answer to a.
        asked: how many rows are questions of the task; the others are items' own.
    """

    things: Things
    ask: Rows
    answers: Ragged
    searched: Rows
    known: sparse.csr_array
    asked: int

    def __len__(self) -> int:
        return len(self.ask)

    def describe(self) -> str:
        """Say how much there is."""
        counts = ", ".join(f"{len(refs):,} {key}" for key, refs in self.things.refs.items())
        return f"{self.asked:,} questions and {len(self) - self.asked:,} pairs of what an item holds: {counts}"

    def related(self, ask: Rows, answer: Rows) -> Tensor:
        """Return (b, b) bool: where column j is no wrong answer to row i."""
        found = torch.zeros(len(ask), len(answer), dtype=torch.bool)
        found[tuple(torch.from_numpy(each) for each in self.places(ask, answer))] = True
        return found

    def places(self, ask: Rows, answer: Rows) -> tuple[Rows, Rows]:
        """Return the places (row, column) where a column is no wrong answer to a row, without the matrix."""
        return in_table(self.known, ask, answer)

    def without(self, lost: Mapping[str, Rows]) -> "Pairs":
        """Leave out rows without a readable question or answer.

        Args:
            lost: by key the references that cannot be read, as places among those of their key.

        Raises:
            BadData: no row is left.
        """
        good = np.ones(len(self.things), bool)
        for number, key in enumerate(self.things.keys):
            if len(gone := lost.get(key, ())):
                good &= ~((self.things.kind == number) & np.isin(self.things.row, gone))
        answers = self.answers.where(good[self.answers.flat])
        keep = np.flatnonzero(good[self.ask] & (answers.counts > 0))
        if not len(keep):
            raise BadData("two_tower: no question is left that can be read, with an answer that can")
        asked = int((keep < self.asked).sum())
        searched = self.searched[good[self.searched]]
        return Pairs(self.things, self.ask[keep], answers.take(keep), searched, self.known, asked)


def matrix(ask: Rows, answers: Ragged, size: int) -> sparse.csr_array:
    """Return (size, size) bool: askers with their answers, and each thing with itself."""
    _, first = np.unique(np.stack([ask, answers.start, answers.stop]), axis=1, return_index=True)
    row, column = answers.take(first).spread()
    own = np.arange(size)
    rows, columns = np.concatenate([ask[first][row], own]), np.concatenate([column, own])
    found = sparse.csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(size, size))
    found.sort_indices()
    return found
