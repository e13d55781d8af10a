"""Data of a benchmark in a folder, so that every process maps the same files.

* ``base.npy``, ``queries.npy`` and the rows of true neighbours: of the data set, of unit length under cosine.
* Two columns of numbers for filters: ``scattered``, a random order of the rows, and ``near``, the order of the rows by
  distance to one random row. The filter ``scattered < 100`` thus passes a hundred random rows, and ``near < 100`` a
  hundred neighbouring rows, which are far from most queries.
* ``beyond.npy``: synthetic queries of another distribution. Each is a mixture of two random rows, a little noise, and
    an
  offset in one common direction, as long as the distance of rows from their mean. Such a gap lies between texts and
  pictures in the space of one encoder (Liang et al. 2022, Mind the Gap, arXiv:2203.02053).

Shapes: n rows, q queries, dim their dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quiver import files
from quiver.benchmarks.datasets._truth import nearest
from quiver.benchmarks.datasets.ann import Neighbours
from quiver.benchmarks.peers import Allowed
from quiver.types import Floats, Metric, Rows

FILTERS = ("scattered", "near")
SELECTIVITIES = (1.0, 0.1, 0.01, 0.001, 0.0001)
_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class Bed:
    """The files of one data set, or of its first rows.

    Attributes:
        folder: the folder of the files.
        name: name of the data set.
        rows: number of rows that are searched; the others are for additions.
        metric: distance metric.
        seed: random seed.
    """

    folder: Path
    name: str
    rows: int
    metric: Metric
    seed: int

    @property
    def base(self) -> Floats:
        """(n, dim) all vectors of the data set."""
        return self._map("base")

    @property
    def queries(self) -> Floats:
        """(q, dim)."""
        return self._map("queries")

    @property
    def beyond(self) -> Floats:
        """(q, dim) queries of another distribution."""
        return self._map("beyond")

    def _map(self, name: str) -> NDArray[np.float32]:
        mapped: NDArray[np.float32] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return mapped

    @property
    def columns(self) -> dict[str, Rows]:
        """(rows,) numbers by column, for the rows that are searched."""
        return {name: self._order(name) for name in FILTERS}

    def _order(self, name: str) -> Rows:
        make = self._scattered if name == "scattered" else self._near
        return self._kept(f"{name}-{self.rows}", make)

    def _scattered(self) -> Rows:
        return np.random.default_rng([self.seed, 1]).permutation(self.rows)

    def _near(self) -> Rows:
        base, metric = self.base[: self.rows], self.metric
        anchor = np.asarray(base[np.random.default_rng([self.seed, 2]).integers(self.rows)])
        scores = np.empty(self.rows, np.float32)
        for at in range(0, self.rows, _ROWS):
            part = base[at : at + _ROWS]
            scores[at : at + _ROWS] = ((part - anchor) ** 2).sum(axis=1) if metric == "l2" else -(part @ anchor)
        order = np.empty(self.rows, np.int64)
        order[np.argsort(scores, kind="stable")] = np.arange(self.rows)
        return order

    def allowed(self, column: str, selectivity: float) -> Allowed:
        """Return a filter that passes a share of the rows, at least one."""
        below = max(1, round(selectivity * self.rows))
        return Allowed(column, below, np.flatnonzero(self._order(column) < below))

    def truth(self, queries: str, count: int, k: int, *, allowed: Allowed | None = None) -> Neighbours:
        """Return the first queries with their true neighbours among the rows that pass.

        Args:
            queries: ``queries`` or ``beyond``.
            count: number of queries.
            k: number of neighbours of each.
            allowed: a filter.
        """
        asked = np.asarray(self._map(queries)[:count])
        base = self.base[: self.rows]
        passing = None if allowed is None else allowed.rows
        by = "" if allowed is None else f"-{allowed.column}-{allowed.below}"
        name = f"truth-{self.rows}-{queries}-{len(asked)}-{k}{by}"
        found = self._kept(name, lambda: nearest(base, asked, self.metric, k, rows=passing))
        return self.known(asked, found)

    def known(self, queries: Floats, rows: Rows) -> Neighbours:
        """Return queries and their neighbours in the whole base, as judgements for recall."""
        return Neighbours(self.name, "0", self.base, queries, rows, self.metric, "")

    def _kept(self, name: str, make: Callable[[], Rows]) -> Rows:
        path = self.folder / f"{name}.npy"
        files.once(path, lambda part: _save(part, make()))
        found: Rows = np.load(path)
        return found


def lay(task: Neighbours, folder: Path, *, seed: int, rows: int | None = None) -> Bed:
    """Write the missing files of a data set.

    Args:
        task: the data set.
        folder: its own folder.
        seed: random seed.
        rows: number of rows of the base to search; None for all.
    """
    unit = task.metric == "cosine"
    files.once(folder / "base.npy", lambda part: _copy(part, task, unit=unit))
    files.once(folder / "queries.npy", lambda part: _save(part, _shaped(np.asarray(task.queries), unit=unit)))
    bed = Bed(folder, task.name, len(task.base) if rows is None else rows, task.metric, seed)
    files.once(folder / "beyond.npy", lambda part: _save(part, _beyond(bed, unit=unit)))
    return bed


def _copy(path: Path, task: Neighbours, *, unit: bool) -> None:
    base = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=task.base.shape)
    for at in range(0, len(base), _ROWS):
        base[at : at + _ROWS] = _shaped(np.asarray(task.base[at : at + _ROWS]), unit=unit)
    base.flush()


def _shaped(data: NDArray[np.generic], *, unit: bool) -> Floats:
    made = np.ascontiguousarray(data, np.float32)
    if not unit:
        return made
    lengths = np.linalg.norm(made, axis=1, keepdims=True)
    return np.asarray(made / np.where(lengths > 0, lengths, 1), np.float32)


def _beyond(bed: Bed, *, unit: bool) -> Floats:
    rng = np.random.default_rng([bed.seed, 3])
    base, count = bed.base, len(bed.queries)
    first, second = (np.asarray(base[np.sort(rng.choice(len(base), count))]) for _ in range(2))
    some = np.asarray(base[np.sort(rng.choice(len(base), min(len(base), 4096), replace=False))])
    length = float(np.linalg.norm(some - some.mean(axis=0), axis=1).mean())
    step = rng.standard_normal(base.shape[1])
    noise = rng.standard_normal((count, base.shape[1])) / np.sqrt(base.shape[1])
    mixed = 0.5 * (first + rng.permutation(second)) + length * (step / np.linalg.norm(step) + 0.3 * noise)
    return _shaped(mixed, unit=unit)


def _save(path: Path, array: NDArray[np.generic]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
