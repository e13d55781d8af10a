"""Ranked lists for a batch of queries, and functions to join them. Numpy only.

Shapes: q queries, n candidates. Shorter lists of a batch are padded with row -1 and
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
        label: label of the stage that made it.
        scores: (q, n), larger is better.
        rows: (q, n) int64.
        space: space of the scores; None if they are not similarities, as after fusion.
        origin: the input behind the list; empty for several inputs.
    """

    label: str
    scores: Scores
    rows: Rows
    space: Space | None = None
    origin: str = ""

    @property
    def count(self) -> int:
        """Number of candidates of all queries."""
        return int(np.count_nonzero(self.rows >= 0))

    def cut(self, k: int, *, start: int = 0) -> "Ranked":
        """Keep the best k after an offset."""
        if not start and k >= self.rows.shape[1]:
            return self
        return replace(self, scores=self.scores[:, start:k], rows=self.rows[:, start:k])

    def of(self, lists: Sequence[tuple[Scores, Rows]]) -> "Ranked":
        """Return the same kind of list with other candidates: (scores, rows) of each query."""
        width = max((len(rows) for _, rows in lists), default=0)
        scores = np.full((len(lists), width), -np.inf, self.scores.dtype)
        rows = np.full((len(lists), width), -1, np.int64)
        for n, (theirs, names) in enumerate(lists):
            scores[n, : len(names)], rows[n, : len(names)] = theirs, names
        return replace(self, scores=scores, rows=rows)

    def without(self, rows: Sequence[Rows], k: int) -> "Ranked":
        """Drop some rows of each query, and keep the best k of the rest."""
        drop = np.stack([np.isin(ours, theirs) for ours, theirs in zip(self.rows, rows, strict=True)])
        scores = np.where(drop, -np.inf, self.scores)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        kept = np.take_along_axis(np.where(drop, -1, self.rows), order, 1)
        return replace(self, scores=np.take_along_axis(scores, order, 1), rows=kept)


class Best:
    """The k best of candidates that arrive in parts, each row once; ties go to the lower row number.

    Attributes:
        scores: (q, k) so far, padded with -inf.
        rows: (q, k) int64, padded with -1.
    """

    def __init__(self, queries: int, k: int) -> None:
        self.scores: Floats = np.full((queries, k), -np.inf, np.float32)
        self.rows: Rows = np.full((queries, k), -1, np.int64)

    def look(self, scores: Floats, rows: Rows, *, start: int = 0) -> None:
        """Add the scores (p, n) of some rows (n,), for the p queries from ``start`` on."""
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
    """Yield the non-empty lines of a mask, with the set positions."""
    for line in np.flatnonzero(mask.any(axis=1)).tolist():
        yield line, np.flatnonzero(mask[line])


def combine(scores: Scores, rows: Rows, *, how: Literal["max", "sum"]) -> tuple[Scores, Rows]:
    """Join duplicate candidates, and rank.

    Args:
        scores: (q, n).
        rows: (q, n), -1 for no candidate.
        how: reduction of the scores of one row.

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
    """Return the lists, ranks and scores of some rows of query n."""
    found: list[dict[str, Any]] = [{} for _ in rows]
    for ranked in trail:
        place = {row: i for i, row in enumerate(ranked.rows[n].tolist()) if row >= 0}
        scores = ranked.scores[n].tolist()
        for trace, row in zip(found, rows, strict=True):
            if row in place:
                trace[ranked.label] = {"rank": place[row] + 1, "score": scores[place[row]]}
    return found


def reciprocal(ranked: Ranked, c: int) -> Scores:
    """Score candidates by rank: 1 / (c + rank), with ranks from 1, and 0 for no candidate.

    Cormack, Clarke and Buettcher 2009, "Reciprocal Rank Fusion outperforms Condorcet".
    """
    ranks = np.arange(1, ranked.rows.shape[1] + 1)
    return np.where(ranked.rows >= 0, 1.0 / (c + ranks), 0.0)
