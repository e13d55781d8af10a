"""From model outputs to vectors of a space: unit rows, and frames averaged into clips."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from quiver.errors import BadMedia
from quiver.types import Floats


def unit(x: ArrayLike) -> Floats:
    """Scale rows to length 1.

    A row of zeros has no direction; it becomes (1, ..., 1) / sqrt(dim), so that what a model has nothing to
    say about still is a legal vector, the same one each time.

    Args:
        x: (n, dim), any real type; left as it is.

    Returns:
        (n, dim) float32, C-contiguous.

    Raises:
        BadMedia: a row is not finite; the message gives its place in the batch.
    """
    rows = np.array(x, dtype=np.float32, order="C")
    # The largest value goes first: squares of large float32 overflow, squares of tiny ones vanish.
    peak = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    if not np.isfinite(peak).all():
        bad = np.flatnonzero(~np.isfinite(peak[:, 0])).tolist()
        raise BadMedia(f"the encoder gave a vector that is not finite for place {bad} of its batch")
    rows[peak[:, 0] == 0] = 1
    rows /= np.where(peak == 0, np.float32(1), peak)
    rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))[:, None].astype(np.float32)
    return rows


def mean(x: ArrayLike, counts: Sequence[int]) -> Floats:
    """Average runs of consecutive rows, such as the frames of clips that were embedded in one batch.

    Args:
        x: (sum(counts), dim).
        counts: how many rows each of the n means takes, all positive.

    Returns:
        (n, dim) float32; scaling it is the caller's business.
    """
    rows = np.asarray(x, dtype=np.float32)
    if not len(counts):
        return np.empty((0, rows.shape[1]), np.float32)
    starts = np.cumsum([0, *counts[:-1]])
    sums = np.add.reduceat(rows, starts, axis=0, dtype=np.float64)
    return (sums / np.asarray(counts)[:, None]).astype(np.float32)
