"""Near-duplicates among vectors, by the leader algorithm: an item belongs to the first leader that it resembles enough.

Every member of a group reaches the threshold with the leader of its group, so that groups do not chain from item to
item. Vectors are compared by cosine similarity in blocks; time is at most n^2 / 2 comparisons, memory is that of the
vectors and of one block. A vector of zeros resembles nothing.

Shapes: n items, dim the dimension of a space.
"""

import numpy as np
from numpy.typing import NDArray

from quiver.types import Floats, Rows

#: Items that are compared together, and leaders that they are compared with at a time.
_BLOCK, _TILE = 512, 4096
#: Rounding of float32: equal vectors have a cosine similarity of at least 1 - ROUNDING.
ROUNDING = 1e-6


def unit(data: Floats) -> Floats:
    """Return vectors (n, dim) scaled to length 1; zeros stay zeros."""
    norms = np.linalg.norm(data, axis=1, keepdims=True)
    return np.asarray(data / np.where(norms > 0, norms, 1), np.float32)


def leaders(data: Floats, threshold: float, *, most: int | None = None) -> tuple[Rows, Floats]:
    """Return the leader of each item, and its cosine similarity to it; a leader leads itself.

    Args:
        data: (n, dim) float32 of length 1, the preferred items first.
        threshold: least cosine similarity to a leader.
        most: largest number of leaders; items that resemble none of these have the leader -1. None for no limit.

    Returns:
        (n,) int64 and (n,) float32. Among several leaders, the most similar one counts.
    """
    least = np.float32(threshold - ROUNDING)
    limit = len(data) if most is None else most
    leader = np.full(len(data), -1, np.int64)
    nearness = np.zeros(len(data), np.float32)
    kept = np.empty_like(data[: min(limit, len(data))])
    names = np.empty(len(kept), np.int64)
    count = 0
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        best, near = _nearest(block, kept[:count])
        led = near >= least
        leader[start : start + len(block)][led] = names[best[led]]
        nearness[start : start + len(block)][led] = near[led]
        free = np.flatnonzero(~led)
        own, close = _among(block[free], least, limit - count)
        there = start + free
        known = own >= 0
        leader[there[known]], nearness[there[known]] = there[own[known]], close[known]
        fresh = there[own == np.arange(len(own))]
        _prefer(data, start + np.flatnonzero(led), fresh, leader, nearness)
        kept[count : count + len(fresh)], names[count : count + len(fresh)] = data[fresh], fresh
        count += len(fresh)
    return leader, nearness


def _prefer(data: Floats, led: Rows, fresh: Rows, leader: Rows, nearness: Floats) -> None:
    """Give items of a block that follow earlier leaders to its own new leaders before them, where these are nearer."""
    if not len(led) or not len(fresh):
        return
    scores = np.where(fresh < led[:, None], data[led] @ data[fresh].T, -np.inf)
    top = scores.max(axis=1)
    closer = np.flatnonzero(top > nearness[led])
    leader[led[closer]], nearness[led[closer]] = fresh[scores[closer].argmax(axis=1)], top[closer]


def _nearest(block: Floats, kept: Floats) -> tuple[Rows, Floats]:
    """Return the most similar of the kept vectors for each of a block, and the similarity."""
    best, near = np.zeros(len(block), np.int64), np.full(len(block), -np.inf, np.float32)
    for start in range(0, len(kept), _TILE):
        scores = block @ kept[start : start + _TILE].T
        top = scores.max(axis=1)
        better = np.flatnonzero(top > near)
        best[better], near[better] = start + scores[better].argmax(axis=1), top[better]
    return best, near


def _among(block: Floats, least: np.float32, most: int) -> tuple[Rows, Floats]:
    """Find leaders within a block: (b,) the leader of each, -1 beyond the limit, and the similarity."""
    leader, nearness = np.full(len(block), -1, np.int64), np.zeros(len(block), np.float32)
    scores = block @ block.T
    near: NDArray[np.bool_] = np.triu(scores >= least, 1)  # an item is compared with the leaders before it
    linked: NDArray[np.bool_] = np.any(near, axis=1)
    for n in range(len(block)):
        if leader[n] >= 0:
            continue
        if most <= 0:
            break
        leader[n], nearness[n], most = n, 1.0, most - 1
        if linked[n]:
            closer = near[n] & (scores[n] > nearness)
            leader[closer], nearness[closer] = n, scores[n, closer]
    return leader, nearness
