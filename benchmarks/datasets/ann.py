"""Vectors with their true nearest neighbours, in the formats they are passed around in.

* fvecs, bvecs, ivecs (corpus-texmex.irisa.fr): rows of one little-endian int32, the width, and that many float32, uint8
  or int32; such as SIFT1M: ``ann base=sift_base.fvecs queries=sift_query.fvecs truth=sift_groundtruth.ivecs``.
* HDF5 as ann-benchmarks writes it, with ``train``, ``test``, ``neighbors`` and the attribute ``distance``:
  ``ann base=glove-100-angular.hdf5``.
* npy, and npz with arrays named as in NAMES, in one file or in several.

Nothing is copied that can be mapped: npy, the vecs formats, contiguous HDF5 datasets and stored npz members stay on
disk until they are used; only what is compressed or chunked is read into memory.

Protocol: recall@k of a query is the share of k places filled by a row that is no further away than the k-th of the true
neighbours, so that whichever of two equally near rows is found counts (Aumueller, Bernhardsson and Faithfull 2018,
ANN-Benchmarks, arXiv:1807.05614, section 2.1).

Shapes: n rows of the base, q queries, dim their width, t true neighbours of each query.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.datasets import _array
from quiver.errors import BadData, BadSpec
from quiver.indexers import exact
from quiver.types import Metric, Space, Vectors

Numbers = NDArray[Any]
Distances = NDArray[np.float64]

#: What the arrays are called, by what they are for; the first is how ann-benchmarks calls them.
NAMES = {
    "base": ("train", "base"),
    "queries": ("test", "queries"),
    "rows": ("neighbors", "neighbours", "rows"),
}
#: Metric by the attribute ``distance`` of ann-benchmarks.
METRIC: dict[str, Metric] = {"euclidean": "l2", "angular": "cosine", "dot": "dot", "ip": "dot"}
_GATHER = 1 << 22  # numbers gathered from the base at a time
_MIB, _GIB = 1 << 20, 1 << 30
_SLACK = 1e-6  # share of a distance within which two are equal: what float32 arithmetic leaves in doubt


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """A base, queries, and the nearest rows of the base to each query.

    Attributes:
        name: what people call it.
        revision: hexadecimal hash of the files it was read from.
        base: (n, dim) numbers, mapped from disk where the format allows.
        queries: (q, dim) numbers.
        rows: (q, t) row numbers of the base, nearest first.
        metric: what near means; under ``cosine`` base and queries need not have unit length.
        source: where the data comes from, and its licence.
        notes: known faults, and what was derived.
    """

    name: str
    revision: str
    base: Numbers
    queries: Numbers
    rows: NDArray[np.integer[Any]]
    metric: Metric
    source: str
    notes: tuple[str, ...] = ()

    def first(self, queries: int) -> "Neighbours":
        """Return the same task with the first queries only."""
        return replace(self, queries=self.queries[:queries], rows=self.rows[:queries])

    def recall(self, found: NDArray[np.integer[Any]], *, k: int) -> Distances:
        """Return (q,) shares of k true neighbours found, equally near rows counting alike.

        Args:
            found: (q, m) row numbers, best first, -1 where there is none; a row that stands twice counts once, and
                where m is below k the rest is missed.
            k: how many of them are looked at.

        Raises:
            BadData: found has another number of queries, or a row that is not in the base.
            BadSpec: fewer than k true neighbours are known.
        """
        if not 1 <= k <= self.rows.shape[1]:
            raise BadSpec(
                f"{self.name}: k must be from 1 to {self.rows.shape[1]}, the number of known neighbours, not {k}"
            )
        if found.ndim != 2 or len(found) != len(self.queries):
            raise BadData(f"{self.name}: found must be ({len(self.queries)}, m) row numbers, not {found.shape}")
        kept = found[:, :k]
        if kept.size and not -1 <= kept.min() <= kept.max() < len(self.base):
            raise BadData(f"{self.name}: found names a row outside 0 to {len(self.base) - 1} (and -1 for none)")
        bound = self.distances(self.rows[:, :k]).max(axis=1, keepdims=True)
        near = self.distances(np.maximum(kept, 0)) <= bound + _SLACK * np.abs(bound) + 1e-9
        return (near & (kept >= 0) & _first_times(kept)).sum(axis=1) / k

    def distances(self, rows: NDArray[np.integer[Any]]) -> Distances:
        """Return (q, m) distances of each query to its (q, m) rows: l2 length, 1 - cosine, or minus the dot product.

        In float64, the smaller the nearer; rows are gathered a few queries at a time.
        """
        out = np.empty(rows.shape, np.float64)
        step = max(1, _GATHER // max(1, rows.shape[1] * self.base.shape[1]))
        for at in range(0, len(rows), step):
            near = np.asarray(self.base[rows[at : at + step]], np.float64)
            out[at : at + step] = _distances(np.asarray(self.queries[at : at + step], np.float64), near, self.metric)
        return out


def neighbours(
    *,
    base: Path,
    queries: Path | None = None,
    truth: Path | None = None,
    metric: Literal["auto", "cosine", "dot", "l2"] = "auto",
    depth: int = 100,
) -> Neighbours:
    """Read vectors from files.

    Args:
        base: .fvecs, .bvecs, .ivecs, .npy, .npz or .hdf5.
        queries: by default in the file of the base.
        truth: row numbers of the true neighbours, by default in the file of the queries; where that has none, they
            are found by comparing everything.
        metric: ``auto`` is what an HDF5 file says of itself, else ``l2``.
        depth: how many true neighbours to find where none are given.

    Raises:
        BadData: a file is missing, cut off or of another format, or the arrays do not belong together.
        MissingExtra: h5py is not installed.
    """
    vectors = _named(base, "base")
    asked = _named(queries, "queries") if queries else _beside(base, "queries")
    if asked is None:
        raise BadData(
            f"{base} has no queries: name their file with queries=..., or call the array {NAMES['queries'][0]}"
        )
    files = [path for path in dict.fromkeys((base, queries, truth)) if path]
    found = Neighbours(
        name=base.stem,
        revision=fingerprint(files),
        base=vectors,
        queries=asked,
        rows=np.empty((len(asked), 0), np.int64),
        metric=_metric(base) if metric == "auto" else metric,
        source=", ".join(str(path) for path in files),
    )
    rows = _named(truth, "rows") if truth else _beside(queries or base, "rows")
    return checked(compared(found, depth=depth) if rows is None else replace(found, rows=rows))


def compared(task: Neighbours, *, depth: int) -> Neighbours:
    """Return a task with its true neighbours found by comparing every query with every row, in float64.

    Among equally near rows the lower number comes first. A base that is not float32 is copied as float32 for this.
    """
    space = Space("truth", task.base.shape[1], task.metric, "0")
    rows = np.arange(len(task.base), dtype=np.int64)
    index = exact.build(Vectors(space, rows, np.ascontiguousarray(task.base, np.float32)))
    _, nearest = index.search(np.ascontiguousarray(task.queries, np.float32), min(depth, len(rows)))
    return replace(task, rows=nearest, notes=(*task.notes, "true neighbours found here by exact search"))


def checked(task: Neighbours) -> Neighbours:
    """See that arrays belong together, the truth under its metric included, as far as some of the queries show.

    Raises:
        BadData: they do not.
    """
    arrays = {"base": task.base, "queries": task.queries, "true neighbours": task.rows}
    for role, array in arrays.items():
        if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
            raise BadData(f"{task.name}: {role} must be a table of numbers, not {array.shape} {array.dtype}")
    if task.base.shape[1] != task.queries.shape[1]:
        raise BadData(f"{task.name}: the base is {task.base.shape[1]} wide and the queries {task.queries.shape[1]}")
    if len(task.rows) != len(task.queries):
        raise BadData(f"{task.name}: true neighbours of {len(task.rows)} queries, but {len(task.queries)} queries")
    if task.rows.dtype.kind == "f" or not 0 <= task.rows.min() <= task.rows.max() < len(task.base):
        raise BadData(f"{task.name}: true neighbours must be row numbers from 0 to {len(task.base) - 1}")
    some = np.unique(np.linspace(0, len(task.queries) - 1, 16).astype(np.int64))
    probe = replace(task, queries=task.queries[some], rows=task.rows[some])
    far = probe.distances(probe.rows)
    if not (np.diff(far) >= -1e-4 * np.abs(far[:, 1:]) - 1e-6).all():
        raise BadData(
            f"{task.name}: its true neighbours are not nearest first under {task.metric}: "
            "they belong to another base, or metric= is another one"
        )
    return task


def fingerprint(files: Sequence[Path]) -> str:
    """Return a hash of files: of their names, sizes, and the first and last mebibyte of every gibibyte."""
    whole = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        whole.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, _GIB):
                for at in (start, max(start, min(size, start + _GIB) - _MIB)):
                    file.seek(at)
                    whole.update(file.read(_MIB))
    return whole.hexdigest()


def _named(path: Path, role: str) -> Numbers:
    """Return the array that a file was named for."""
    array = _array.read(path, NAMES[role])
    if array is None:
        raise BadData(f"{path} has no array called {' or '.join(NAMES[role])}")
    return array


def _beside(path: Path, role: str) -> Numbers | None:
    """Return another array of a file that holds several, if it is there."""
    return None if path.suffix.lower() in _array.SINGLE else _array.read(path, NAMES[role])


def _metric(path: Path) -> Metric:
    said = _array.attribute(path, "distance")
    if said is not None and said not in METRIC:
        raise BadData(f"{path}: its distance is {said}; {', '.join(METRIC)} can be measured")
    return METRIC[said or "euclidean"]


def _first_times(rows: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Return (q, k) bool: whether a number occurs for the first time in its row."""
    order = np.argsort(rows, axis=1, kind="stable")
    along = np.take_along_axis(rows, order, axis=1)
    fresh = np.ones(rows.shape, np.bool_)
    np.put_along_axis(fresh, order[:, 1:], along[:, 1:] != along[:, :-1], axis=1)
    return fresh


def _distances(queries: Distances, near: Distances, metric: Metric) -> Distances:
    """Return (q, m) distances of (q, dim) queries to their (q, m, dim) rows."""
    if metric == "l2":
        gap = near - queries[:, None]
        return np.sqrt(np.einsum("qmd,qmd->qm", gap, gap))
    dots = np.einsum("qd,qmd->qm", queries, near)
    if metric == "dot":
        return -dots
    lengths = np.linalg.norm(near, axis=2) * np.linalg.norm(queries, axis=1, keepdims=True)
    return 1 - dots / np.where(lengths > 0, lengths, 1)
