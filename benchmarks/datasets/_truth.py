"""True neighbours by exhaustive search with numpy alone: the reference for every index, including Quiver's.

Candidates are found in float32, more of them than are wanted, and ranked in float64.

Shapes: n rows, q queries, k neighbours, dim the width.
"""

import numpy as np
from numpy.typing import NDArray

from quiver.types import Floats, Metric, Rows

_ROWS = 1 << 14  # compared at a time
_SPARE = 16  # candidates more than are wanted: float32 may order near ones wrongly


def nearest(base: Floats, queries: Floats, metric: Metric, k: int, *, rows: Rows | None = None) -> Rows:
    """Return (q, k) row numbers of the base, nearest first; of equally near rows the lower number comes first.

    Args:
        base: (n, dim), mapped from disk or not.
        queries: (q, dim).
        metric: how they are compared.
        k: how many; fewer are returned where fewer may be found.
        rows: the rows that may be found; None for all.
    """
    base = base if rows is None else base[rows]
    k = min(k, len(base))
    wide = min(k + _SPARE, len(base))
    asked = _prepared(queries, metric)
    scores = np.full((len(asked), 0), 0, np.float32)
    found = np.empty((len(asked), 0), np.int64)
    for at in range(0, len(base), _ROWS):
        part = _prepared(base[at : at + _ROWS], metric)
        here = asked @ part.T
        if metric == "l2":
            here -= 0.5 * np.einsum("nd,nd->n", part, part)
        some = _best(here, min(wide, len(part)))
        scores = np.hstack([scores, np.take_along_axis(here, some, axis=1)])
        found = np.hstack([found, some + at])
        kept = _best(scores, min(wide, scores.shape[1]))
        scores, found = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(found, kept, axis=1)
    out = np.stack([_ranked(base, query, each, metric)[:k] for query, each in zip(queries, found, strict=True)])
    return out if rows is None else np.asarray(rows[out], np.int64)


def _prepared(data: Floats, metric: Metric) -> Floats:
    data = np.asarray(data, np.float32)
    if metric == "cosine":
        lengths = np.linalg.norm(data, axis=1, keepdims=True)
        data = np.asarray(data / np.where(lengths > 0, lengths, 1), np.float32)
    return data


def _best(scores: Floats, k: int) -> NDArray[np.intp]:
    return np.argpartition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]


def _ranked(base: Floats, query: Floats, rows: Rows, metric: Metric) -> Rows:
    near, asked = np.asarray(base[rows], np.float64), np.asarray(query, np.float64)
    if metric == "l2":
        far = ((near - asked) ** 2).sum(axis=1)
    else:
        lengths = np.linalg.norm(near, axis=1) if metric == "cosine" else np.ones(len(near))
        far = -(near @ asked) / np.where(lengths > 0, lengths, 1)
    return rows[np.lexsort((rows, far))]
