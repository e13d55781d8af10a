"""Maximal marginal relevance: an order of candidates that are relevant, and unlike those before them.

Carbonell and Goldstein 1998, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
Summaries".
"""

import numpy as np

from quiver.engine.core.ranking import Scores
from quiver.types import Floats, Rows


def relevance(scores: Scores) -> Scores:
    """Scale finite scores (n,) to 0 to 1; equal scores are all 1.

    >>> relevance(np.array([0.5, 0.4, 0.3])).round(3).tolist()
    [1.0, 0.5, 0.0]
    """
    low, high = scores.min(initial=np.inf), scores.max(initial=-np.inf)
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


def mmr(scores: Scores, data: Floats, k: int, diversity: float) -> Rows:
    """Return the places of k candidates in the order of maximal marginal relevance.

    The next candidate has the largest ``(1 - diversity) relevance - diversity s``; s is its largest cosine similarity
    to the chosen ones, 0 for the first. Ties go to the better score.

    Args:
        scores: (n,) finite, best first.
        data: (n, dim) vectors of length 1, or zeros for a candidate without a vector.
        k: number to choose.
        diversity: from 0 (the given order) to 1.
    """
    gain = (1 - diversity) * relevance(np.asarray(scores, np.float64))
    closest = np.zeros(len(scores))
    chosen: list[int] = []
    for _ in range(min(k, len(scores))):
        value = gain - diversity * closest
        value[chosen] = -np.inf
        best = int(value.argmax())
        near = data @ data[best]
        closest = np.maximum(closest, near) if chosen else near.astype(np.float64)
        chosen.append(best)
    return np.array(chosen, np.int64)
