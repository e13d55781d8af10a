"""The score of a query and a row: the same bits on every processor, in every batch, by every index that is exact.

A sum of floating-point numbers depends on its order, and kernels choose their own: by processor, by number of
threads, by how many queries come together. Here the order is fixed: products are formed in float64, and the second
half is added to the first until one number is left. Each step is an elementwise operation, which IEEE 754 defines to
the last bit. The result is rounded to float32. **Equal scores are ordered by row number**, lowest first.

A kernel is several times faster, and its float64 sum is off by little. So it is asked first: where everything within
its error rounds to one float32, that is the score, whatever the order; the sum in fixed order is only made for the
few rows where it does not. A kernel's sum of d products is off by (d + 8) 2^-53 of M (``_bounds``), the sum of halves,
in which each number takes part in log2(d) additions, by 23 times 2^-53; (d + 32) 2^-52 M is more than both together.

Shapes: q queries, c pairs of a query and a row, dim the width of the space.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quiver.types import Floats, Metric, Rows

if TYPE_CHECKING:
    from torch import Tensor

Doubles = NDArray[np.float64]

#: Numbers summed at a time, so that they stay in the cache.
_NUMBERS = 1 << 16
_TINY = 1e-300  # below every length, so that a product with a vector of zeros is 0


def prepared(metric: Metric, queries: Floats) -> Doubles:
    """Return queries as ``settled`` takes them: (q, dim) float64, of unit length under cosine; zero stays zero."""
    exact = queries.astype(np.float64)
    if metric == "cosine":
        length = np.sqrt(total(np.square(exact.T, order="C")))[:, None]
        exact /= length + (length == 0)
    return exact


def settled(
    metric: Metric, asked: Doubles, held: Floats, *, query: Rows | None = None, place: Rows | None = None
) -> Floats:
    """Score pairs of a query and a row.

    Args:
        metric: what larger is better means; l2 gives minus the squared distance.
        asked: (q, dim) float64, as ``prepared`` gives them; or one query, (dim,).
        held: (n, dim) float32 rows.
        query: (c,) which query each pair has; None for the one there is.
        place: (c,) which row each pair has; None for each row in turn.

    Returns:
        (c,) float32.
    """
    count = len(held) if place is None else len(place)
    step = max(1, _NUMBERS // held.shape[1])
    if count <= step:
        return _some(metric, asked if query is None else asked[query], held if place is None else held[place])
    scores = np.empty(count, np.float32)
    for at in range(0, count, step):
        part = slice(at, at + step)
        ours = asked if query is None else asked[query[part]]
        scores[part] = _some(metric, ours, held[part] if place is None else held[place[part]])
    return scores


def _some(metric: Metric, asked: Doubles, held: Floats) -> Floats:
    """Score pairs: (dim,) or (c, dim) queries and (c, dim) rows to (c,) float32."""
    rows = held.astype(np.float64)
    score, room = _kernel(metric, asked, rows)
    least: Floats = (score - room).astype(np.float32)
    most: Floats = (score + room).astype(np.float32)
    unsure = least != most
    if np.logical_or.reduce(unsure):  # as any() does, without its detours
        ours = asked[:, None] if asked.ndim == 1 else np.ascontiguousarray(asked[unsure].T)
        most[unsure] = _scores(metric, ours, np.ascontiguousarray(rows[unsure].T))
    most += np.float32(0)  # -0 + 0 is 0
    return most


def _kernel(metric: Metric, asked: Doubles, rows: Doubles) -> tuple[Doubles, Any]:
    """Score pairs in whatever order is fastest: (c,) float64, and by how much it may differ from the fixed order."""
    unit = (rows.shape[1] + 32) * 2.0**-52
    if metric == "l2":
        rows = rows - asked
        apart = np.vecdot(rows, rows)
        return -apart, unit * apart
    score = np.vecdot(rows, asked)
    lengths = np.sqrt(np.vecdot(rows, rows))
    if metric == "cosine":
        return score / np.maximum(lengths, _TINY), unit
    return score, unit * lengths * np.sqrt(np.vecdot(asked, asked))


def settled_on(metric: Metric, asked: "Tensor", held: "Tensor") -> Floats:
    """Do the same on another device: (c, dim) float64 queries and (c, dim) float32 rows to (c,) float32."""
    made: Tensor = _scores(metric, asked.T.contiguous(), held.T.contiguous().double())
    scores: Floats = made.float().cpu().numpy() + np.float32(0)  # -0 + 0 is 0
    return scores


def _scores(metric: Metric, asked: Any, held: Any) -> Any:
    """Score in the fixed order (dim, c) float64 numbers, a column each: arrays or tensors alike."""
    library = _library(held)
    if metric == "l2":
        apart = held - asked
        apart *= apart
        return -total(apart)
    if metric == "dot":
        held *= asked
        return total(held)
    count = held.shape[1]
    terms = library.empty_like(held, shape=(len(held), 2 * count)) if library is np else library.cat([held, held], 1)
    library.multiply(held, asked, out=terms[:, :count])
    library.multiply(held, held, out=terms[:, count:])
    sums = total(terms)
    dots, lengths = sums[:count], library.sqrt(sums[count:])
    return library.divide(dots, lengths + (lengths == 0))  # a product with a vector of zeros is 0


def _library(array: Any) -> Any:
    """Return numpy or torch, whose array it is."""
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


def total(terms: Any) -> Any:
    """Sum (n, c) float64 numbers over n, in a fixed order; overwrites them.

    >>> total(np.array([[1.0], [2.0], [4.0]]))
    array([7.])
    """
    count = len(terms)
    while count > 1:
        half = (count + 1) // 2
        low = terms[: count - half]
        low += terms[half:count]
        count = half
    return terms[0]
