"""Rankings as arrays, best first.

Shapes: q queries, n items, depth places.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadData
from quiver.types import Rows

Reals = NDArray[np.floating[Any]]

#: Cells of a ranking per block, so that memory does not grow with the number of queries.
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """Rows per query, any number of them: those of query i are ``rows[starts[i]:starts[i + 1]]``.

    Attributes:
        starts: (q + 1,) int64.
        rows: (n,) int64.
    """

    starts: Rows
    rows: Rows

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> "Ragged":
        """Join one list of rows per query."""
        starts = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(each) for each in lists], out=starts[1:])
        return cls(starts, np.array([row for each in lists for row in each], np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def owner(self) -> Rows:
        """(n,) the query that each row belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Hits of each query, best first, padded with row -1 and score -inf.

    Attributes:
        rows: (q, depth) int64 numbers of items, each at most once per query. A row of -1 only is a missing answer.
        scores: (q, depth) float32 or float64, larger is better, never rising along a row. An item of score -inf does
            not compete and counts as not listed.

    Raises:
        BadData: shapes or dtypes of the arrays do not match. (Values are checked when they are measured.)
    """

    rows: Rows
    scores: Reals

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.shape != self.scores.shape or not self.rows.shape[1]:
            raise BadData(f"a ranking is two (q, depth) arrays, depth >= 1: not {self.rows.shape}, {self.scores.shape}")
        if self.rows.dtype != np.int64 or self.scores.dtype.kind != "f":
            raise BadData(f"a ranking is int64 rows and float scores, not {self.rows.dtype} and {self.scores.dtype}")

    @classmethod
    def listed(cls, rows: Rows) -> "Ranking":
        """Create a ranking from an order without ties, for stages whose scores are not comparable.

        Args:
            rows: (q, depth) int64, best first, padded with -1.
        """
        places = np.broadcast_to(np.arange(rows.shape[1], dtype=np.float32), rows.shape)
        return cls(rows, np.where(rows < 0, np.float32(-np.inf), -places))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def depth(self) -> int:
        """Places per query."""
        return int(self.rows.shape[1])


def rank(scores: Reals, *, depth: int | None = None) -> Ranking:
    """Sort a whole matrix of scores; of equal scores the lower row comes first.

    Args:
        scores: (q, n) float, larger is better; -inf for an item that does not compete for a query.
        depth: number of places to keep; default: all.

    Raises:
        BadData: a score is NaN.
    """
    if len(wrong := np.flatnonzero(np.isnan(scores).any(axis=1))):
        raise BadData(f"query number {wrong[0]} has a NaN score; {len(wrong)} of {len(scores)} queries have one")
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :depth].astype(np.int64, copy=False)
    best = np.take_along_axis(scores, rows, axis=1)
    return Ranking(np.where(best == -np.inf, -1, rows), best)


def order(candidates: Ragged, scores: Reals) -> Ranking:
    """Rank the candidates of each query among themselves, for subset and sampled protocols.

    CIRR's Recall_subset is Success@k of this: ranked from the candidates' own scores, not picked out of a top 50.

    Args:
        candidates: who competes, per query.
        scores: (n,) the score of each candidate, in the order of ``candidates.rows``.

    Returns:
        As deep as the longest list; of equal scores the candidate named first comes first.

    Raises:
        BadData: a score is NaN.
    """
    owner = candidates.owner
    width = max(int(np.diff(candidates.starts).max(initial=0)), 1)
    place = np.arange(len(owner)) - candidates.starts[owner]
    table = np.full((len(candidates), width), -np.inf, scores.dtype)
    rows = np.full(table.shape, -1, np.int64)
    table[owner, place], rows[owner, place] = scores, candidates.rows
    ranking = rank(table)
    return Ranking(np.where(ranking.rows < 0, -1, np.take_along_axis(rows, ranking.rows, axis=1)), ranking.scores)


def drop(ranking: Ranking, excluded: Ragged) -> Ranking:
    """Remove the excluded items of each query; the others move up.

    Search deeper by the length of the longest list in ``excluded``.
    """
    rows, scores = ranking.rows.copy(), ranking.scores.copy()
    rest = excluded.owner
    for start, stop in blocks(ranking):
        inside = slice(*excluded.starts[[start, stop]])
        gone = _among(rows[start:stop], excluded.rows[inside], rest[inside] - start)
        kept = np.argsort(gone, axis=1, kind="stable")
        rows[start:stop] = np.take_along_axis(np.where(gone, -1, rows[start:stop]), kept, axis=1)
        scores[start:stop] = np.take_along_axis(np.where(gone, -np.inf, scores[start:stop]), kept, axis=1)
    return Ranking(rows, scores)


def blocks(ranking: Ranking) -> Iterator[tuple[int, int]]:
    """Split the queries into blocks of about BLOCK cells."""
    step = max(BLOCK // ranking.depth, 1)
    for start in range(0, len(ranking), step):
        yield start, min(start + step, len(ranking))


def _among(rows: Rows, wanted: Rows, owner: Rows) -> NDArray[np.bool_]:
    stride = max(int(rows.max(initial=0)), int(wanted.max(initial=0))) + 1
    keys = np.arange(len(rows))[:, None] * stride + rows
    return np.isin(keys, owner * stride + wanted)
