"""The systems that Quiver is compared with, one module each.

A module has ``PACKAGES``, distributions of which at least one must be installed; ``variants(shape)``, which returns the
indexes to build for such vectors, each with the search parameters to try; ``build(given, variant)``, which writes an
index into a folder; and ``open(folder, variant, shape)``, which returns a ``System`` that searches it. Indexes are
built and searched in different processes, so that their memory is measured separately.

Shapes: n rows, q queries, k places, dim the dimension.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from quiver import registry
from quiver.types import Floats, Metric, Rows

KIND = "benchmarks.peers"
Knobs = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """Shape of the data, and number of threads.

    Attributes:
        rows: number of vectors.
        dim: dimension.
        metric: distance metric; under ``cosine`` vectors and queries have unit length already.
        threads: threads for building, for a batch, and for a single query if that is faster.
    """

    rows: int
    dim: int
    metric: Metric
    threads: int


@dataclass(frozen=True, slots=True)
class Variant:
    """One index of a peer.

    Attributes:
        name: name in tables.
        options: build options.
        knobs: search parameters to try, cheapest first.
        exact: whether the search is exact.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    knobs: tuple[Knobs, ...] = ({},)
    exact: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Inputs of an index build.

    Attributes:
        folder: empty folder for the index alone.
        vectors: (n, dim) float32, memory-mapped; row numbers are positions.
        columns: (n,) int64 metadata by name, for filters.
        shape: shape of the vectors.
    """

    folder: Path
    vectors: Floats
    columns: Mapping[str, Rows]
    shape: Shape


@dataclass(frozen=True, slots=True, eq=False)
class Allowed:
    """A filter: rows whose value in a column is below a bound.

    Attributes:
        column: the column.
        below: the bound.
        rows: the rows that pass, sorted, for systems that filter by row number.
    """

    column: str
    below: int
    rows: Rows


class System(Protocol):
    """An opened index."""

    def tune(self, knobs: Knobs) -> None:
        """Set the search parameters."""
        ...

    def search(self, queries: Floats, k: int) -> Rows:
        """Return (q, k) row numbers, best first, padded with -1."""
        ...


class Filtering(Protocol):
    """A system with filtered search."""

    def narrowed(self, queries: Floats, k: int, allowed: Allowed) -> Rows:
        """Search among the rows that pass."""
        ...


class Changing(Protocol):
    """A system with additions and deletions."""

    def add(self, rows: Rows, vectors: Floats) -> None:
        """Add vectors under unused row numbers."""
        ...

    def delete(self, rows: Rows) -> None:
        """Remove rows."""
        ...


def names() -> list[str]:
    """List the peers, Quiver's own entries first."""
    return sorted(registry.names(KIND), key=lambda name: (not name.startswith("quiver"), name))


def peer(name: str) -> ModuleType:
    """Return the module of a peer."""
    return registry.module(KIND, name)


def installed(name: str) -> str | None:
    """Return name and version of the package that a peer needs, or None if it is not installed."""
    for package in peer(name).PACKAGES:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return None


def padded(found: Any, k: int) -> Rows:
    """Pad lists of row numbers to (q, k) with -1.

    >>> padded([[3, 1], []], 3).tolist()
    [[3, 1, -1], [-1, -1, -1]]
    """
    rows = np.full((len(found), k), -1, np.int64)
    for line, each in zip(rows, found, strict=True):
        line[: len(each)] = each[:k]
    return rows


def powers(first: int, last: int) -> tuple[int, ...]:
    """Return ``first`` times powers of two, up to ``last``.

    >>> powers(4, 20)
    (4, 8, 16)
    """
    return tuple(first << n for n in range(64) if first << n <= last)


def lists(rows: int) -> int:
    """Return the number of inverted lists for some rows: the power of two next to 4 sqrt(rows), after FAISS's wiki.

    >>> lists(100_000), lists(1_000_000)
    (1024, 4096)
    """
    return int(2 ** round(np.log2(max(4.0, 4 * np.sqrt(rows)))))
