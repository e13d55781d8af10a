"""Rank what the FAISS library finds by scores that do not depend on how it sums.

Shapes: q queries, k hits of each, w hits that the library was asked for (k and a few more), dim the width of the space.
"""

from typing import Any, NamedTuple

import numpy as np

from quiver.indexers._score import Doubles, settled
from quiver.indexers._topk import ranked, untied
from quiver.types import Floats, Metric, Rows

#: Rows asked for beyond k, as the library may order near equals in its own way; eight times more while the last of
#: them still equals the k-th, and not more than MOST_EQUAL.
SPARE, MOST_EQUAL = 8, 512
_NEAR = 2.0**-16  # parts of the largest score by which the library's scores may differ from those of ``_score``


class Found(NamedTuple):
    """What the library found: (q, w) float32 scores, best first, and (q, w) int64 places, -1 where there is none."""

    scores: Floats
    places: Rows


def trimmed(found: Found, k: int) -> Found | None:
    """Keep the k best and those that may equal the last of them; None if rows beyond what was found may, too."""
    scores, places = found
    if places.shape[1] == k or places.min() < 0:
        return found
    if not _near(scores, k, k):
        return Found(scores[:, :k], places[:, :k])
    return None if _near(scores, k, -1) else found


def _near(scores: Floats, k: int, rank: int) -> bool:
    """Tell whether the score of a rank may equal the k-th best of a query."""
    if len(scores) == 1:  # numbers of Python are quicker than arrays of one
        first, last, other = (float(scores[0, place]) for place in (0, k - 1, rank))
        return other >= last - _NEAR * max(abs(first), abs(last))
    least = scores[:, k - 1] - _NEAR * np.abs(scores[:, [0, k - 1]]).max(axis=1)
    return bool((scores[:, rank] >= least).any())


def sort(rows: Rows, scores: Floats, places: Rows, k: int) -> tuple[Floats, Rows]:
    """Rank by the library's own scores: (q, k) scores and row numbers, -inf and -1 where there are too few."""
    if places.shape[1] == k and places.min() >= 0:  # nothing is missing, and the library has sorted
        return untied(scores, rows.take(places))
    query, rank = np.nonzero(places >= 0)
    return ranked(query, scores[query, rank], rows[places[query, rank]], (len(places), k))


def settle(index: Any, metric: Metric, exact: Doubles, rows: Rows, found: Found, k: int) -> tuple[Floats, Rows]:
    """Score what was found again, by the vectors that the codes decode to, and rank it.

    Args:
        index: of the library.
        metric: how decoded vectors are scored.
        exact: (q, dim) float64 queries, as ``_score.prepared`` gives them.
        rows: (n,) row numbers by place.
        found: the k best by the library, and those that may equal the last of them; see ``trimmed``.
        k: how many.

    Returns:
        (q, k) float32 scores and int64 row numbers, -inf and -1 where there are too few.
    """
    places = found.places
    if places.min() < 0:
        query, rank = np.nonzero(places >= 0)
        place = places[query, rank]
        stored = index.reconstruct_batch(place) if len(place) else np.empty((0, exact.shape[1]), np.float32)
        return ranked(query, settled(metric, exact, stored, query=query), rows[place], (len(places), k))
    count, wide = places.shape
    stored = index.reconstruct_batch(places.ravel())
    if count == 1:
        again = settled(metric, exact[0], stored)
    else:
        again = settled(metric, exact, stored, query=np.repeat(np.arange(count), wide))
    again, names = untied(again.reshape(count, wide), rows.take(places))
    return again[:, :k], names[:, :k]
