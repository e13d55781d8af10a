"""Ranked lists for a batch of queries, and how several become one. Numpy only.

Shapes: q queries, n candidates. Where a list is shorter than its neighbours in the batch, its tail is row -1 with
score -inf. Ties go to the lower row number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quiver.types import Floats, Rows, Space

Scores = NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Candidates of each query, best first.

    Attributes:
        label: the stage that made it.
        scores: (q, n), larger is better.
        rows: (q, n) int64.
        space: where the scores come from; None where they are no similarities, as after fusion.
        origin: the input it was found from; empty where from several.
    """

    label: str
    scores: Scores
    rows: Rows
    space: Space | None = None
    origin: str = ""

    @property
    def count(self) -> int:
        """How many candidates there are over all queries."""
        return int(np.count_nonzero(self.rows >= 0))

    def cut(self, k: int, *, start: int = 0) -> "Ranked":
        """Keep the best k, but for the first so many."""
        if not start and k >= self.rows.shape[1]:
            return self
        return replace(self, scores=self.scores[:, start:k], rows=self.rows[:, start:k])

    def without(self, rows: Sequence[Rows], k: int) -> "Ranked":
        """Drop some rows of each query, and keep the best k of the others."""
        drop = np.stack([np.isin(ours, theirs) for ours, theirs in zip(self.rows, rows, strict=True)])
        scores = np.where(drop, -np.inf, self.scores)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        kept = np.take_along_axis(np.where(drop, -1, self.rows), order, 1)
        return replace(self, scores=np.take_along_axis(scores, order, 1), rows=kept)


class Best:
    """The k best of candidates that come in parts, each row once, lower row numbers first among equals.

    Attributes:
        scores: (q, k) so far, -inf where there are too few.
        rows: (q, k) int64, -1 likewise.
    """

    def __init__(self, queries: int, k: int) -> None:
        self.scores: Floats = np.full((queries, k), -np.inf, np.float32)
        self.rows: Rows = np.full((queries, k), -1, np.int64)

    def look(self, scores: Floats, rows: Rows, *, start: int = 0) -> None:
        """Take in the scores (p, n) of some rows (n,), for the p queries from ``start`` on."""
        ours = slice(start, start + len(scores))
        k = self.scores.shape[1]
        floor = self.scores[ours, -1:]
        if len(rows) > k and (scores >= floor).sum(axis=1).max(initial=0) > k:
            floor = np.maximum(floor, np.partition(scores, -k, axis=1)[:, -k, None])
        for query, place in _lines(scores >= floor):
            every = np.concatenate([self.scores[start + query], scores[query, place]])
            names = np.concatenate([self.rows[start + query], rows[place]])
            order = np.lexsort((names, -every))[:k]
            self.scores[start + query], self.rows[start + query] = every[order], names[order]


def _lines(mask: NDArray[np.bool_]) -> Iterator[tuple[int, Rows]]:
    """Yield the lines of a mask that are not empty, with the places that are set."""
    for line in np.flatnonzero(mask.any(axis=1)).tolist():
        yield line, np.flatnonzero(mask[line])


def combine(scores: Scores, rows: Rows, *, how: Literal["max", "sum"]) -> tuple[Scores, Rows]:
    """Join candidates that are named more than once, and rank.

    Args:
        scores: (q, n).
        rows: (q, n), -1 where there is no candidate.
        how: what becomes of the scores of one row.

    Returns:
        scores and rows, (q, n), best first, each row once.

    >>> combine(np.array([[0.5, 0.2, 0.4]]), np.array([[7, 7, 3]]), how="sum")[1]
    array([[ 7,  3, -1]])
    """
    if not rows.shape[1]:
        return scores, rows
    order = np.argsort(rows, axis=1, kind="stable")
    rows = np.take_along_axis(rows, order, 1)
    scores = np.take_along_axis(scores, order, 1)
    first = np.ones(rows.shape, dtype=bool)
    first[:, 1:] = rows[:, 1:] != rows[:, :-1]
    starts = np.flatnonzero(first)
    join = np.maximum if how == "max" else np.add
    joined = np.full(rows.shape, -np.inf)
    joined[first] = join.reduceat(scores.ravel(), starts)
    valid = first & (rows >= 0)
    joined[~valid] = -np.inf
    best = np.argsort(-joined, axis=1, kind="stable")
    return np.take_along_axis(joined, best, 1), np.take_along_axis(np.where(valid, rows, -1), best, 1)


def traces(trail: Sequence[Ranked], n: int, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Say, for rows of query n, which lists they were in, and at what rank and score."""
    found: list[dict[str, Any]] = [{} for _ in rows]
    for ranked in trail:
        place = {row: i for i, row in enumerate(ranked.rows[n].tolist()) if row >= 0}
        scores = ranked.scores[n].tolist()
        for trace, row in zip(found, rows, strict=True):
            if row in place:
                trace[ranked.label] = {"rank": place[row] + 1, "score": scores[place[row]]}
    return found


def reciprocal(ranked: Ranked, c: int) -> Scores:
    """Score candidates by rank alone: 1 / (c + rank), ranks from 1, and 0 where there is none.

    Cormack, Clarke and Buettcher 2009, "Reciprocal Rank Fusion outperforms Condorcet".
    """
    ranks = np.arange(1, ranked.rows.shape[1] + 1)
    return np.where(ranked.rows >= 0, 1.0 / (c + ranks), 0.0)
