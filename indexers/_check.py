"""Checks of the arrays given to an index, with the same error messages for every index."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from quiver.errors import BadCollection, BadData, BadSpec, SpaceMismatch
from quiver.types import Floats, Rows, Space, Vectors

#: Longer vectors overflow float32 when squared.
LONGEST = 1e18
FORMAT = 1
_ROWS = 1 << 14  # checked at a time, so that checking never doubles the memory in use


def asked(queries: Floats, space: Space, k: int) -> Floats:
    """Return queries as (q, dim) float32, C-contiguous and writable; a copy only where they are not yet so.

    Raises:
        SpaceMismatch: they are not (q, dim).
        BadData: one of them contains NaN or infinity, or is longer than LONGEST under dot or l2.
        BadSpec: k is not positive.
    """
    if queries.ndim != 2 or queries.shape[1] != space.dim:
        raise SpaceMismatch(f"{space} takes (q, {space.dim}) queries, not {queries.shape}")
    if k < 1:
        raise BadSpec(f"k must be at least 1, not {k}")
    queries = np.require(queries, np.float32, ("C", "W"))
    finite = np.isfinite(queries)
    if not finite.all():
        raise BadData(f"query {np.argmin(finite.all(axis=1))} contains NaN or infinity")
    if space.metric != "cosine" and np.abs(queries).max(initial=0) > LONGEST / space.dim:  # rare: then check exactly
        long = euclidean(queries) > LONGEST
        if long.any():
            raise BadData(f"query {np.argmax(long)} is longer than {LONGEST:.0e}, beyond what {space.metric} can score")
    return queries


def allowed(allow: Rows) -> Rows:
    """Return allow unchanged if it is valid.

    Raises:
        BadData: it is not a one-dimensional, ascending, unique array of integers.
    """
    if allow.ndim != 1 or (len(allow) and allow.dtype.kind not in "iu"):
        raise BadData(f"allow must be (m,) int64 row numbers, not {allow.shape} {allow.dtype}")
    if (allow[1:] <= allow[:-1]).any():
        raise BadData("allow must be sorted and unique: give numpy.unique(rows)")
    return allow.astype(np.int64, copy=False)


def lengths(vectors: Vectors) -> Floats:
    """Measure each vector, reading all of them once.

    Returns:
        (n,) float32 Euclidean lengths.

    Raises:
        BadData: a row contains NaN or infinity, or is longer than LONGEST.
    """
    measured = euclidean(vectors.data)
    good = measured <= LONGEST  # NaN is not
    if not good.all():
        row = vectors.rows[np.argmin(good)]
        raise BadData(f"{vectors.space}: row {row} contains NaN or infinity, or is longer than {LONGEST:.0e}")
    return measured


def euclidean(data: Floats) -> Floats:
    """Return the (n,) float32 length of each row of (n, dim) float32: summed in float64, so nothing overflows."""
    measured = np.empty(len(data), np.float32)
    for start in range(0, len(data), _ROWS):
        part = data[start : start + _ROWS]
        with np.errstate(over="ignore"):  # beyond float32: infinite
            measured[start : start + _ROWS] = np.sqrt(np.einsum("nd,nd->n", part, part, dtype=np.float64))
    return measured


def unit(vectors: Floats) -> Floats:
    """Return rows of unit length, and zero rows as they are; vectors itself if they are so already."""
    measured = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    if (np.abs(measured - 1) < 1e-6).all():  # the rounding error of float32
        return vectors
    return np.divide(vectors, np.where(measured > 0, measured, 1)[:, None], dtype=np.float64).astype(np.float32)


def header(space: Space, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a saved index, which ``agree`` checks."""
    return {"format": FORMAT, "space": asdict(space), **details}


def agree(held: Mapping[str, Any], space: Space, path: Path) -> None:
    """Check that a saved index can be read and holds vectors of this space.

    Raises:
        BadCollection: it was written by a newer Quiver.
        SpaceMismatch: it holds another space.
    """
    if held.get("format") != FORMAT:
        raise BadCollection(f"{path} has format {held.get('format')}, this Quiver reads {FORMAT}: update or rebuild")
    if held.get("space") != asdict(space):
        raise SpaceMismatch(f"{path} has vectors of {held.get('space')}, not of {asdict(space)}: rebuild it")
