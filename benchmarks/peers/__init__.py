"""What Quiver is measured beside, one file each; a name is a module, as everywhere.

A module offers ``PACKAGES``, the distributions of which one has to be installed, ``variants(shape)``, what is worth
building for such vectors, each with the search parameters to try, ``build(given, variant)``, which writes an index into
a folder, and ``open(folder, variant, shape)``, which returns a ``System`` that answers from there. Builders and
searchers are other processes, so that the memory of one is never counted for the other.

Shapes: n rows, q queries, k places, dim the width.
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
    """What is to be searched, and with how many threads.

    Attributes:
        rows: how many vectors.
        dim: their width.
        metric: how they are compared; under ``cosine`` they and the queries have unit length already.
        threads: of building, of a batch, and of a single query where that is faster.
    """

    rows: int
    dim: int
    metric: Metric
    threads: int


@dataclass(frozen=True, slots=True)
class Variant:
    """One index of a peer.

    Attributes:
        name: what it is called in tables.
        options: how it is built.
        knobs: parameters of searching to try, least work first.
        exact: whether it compares everything.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    knobs: tuple[Knobs, ...] = ({},)
    exact: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What an index is built of.

    Attributes:
        folder: where it is to be written; empty, and the index's own.
        vectors: (n, dim) float32, mapped from disk; row numbers are positions.
        columns: (n,) int64 metadata by name, for filters.
        shape: of the vectors.
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
        rows: the rows that pass, sorted, for what is filtered by row numbers.
    """

    column: str
    below: int
    rows: Rows


class System(Protocol):
    """An index that answers."""

    def tune(self, knobs: Knobs) -> None:
        """Search with these parameters from now on."""
        ...

    def search(self, queries: Floats, k: int) -> Rows:
        """Return (q, k) row numbers, best first, -1 where there is none."""
        ...


class Filtering(Protocol):
    """A system that can filter."""

    def narrowed(self, queries: Floats, k: int, allowed: Allowed) -> Rows:
        """Search among the rows that pass."""
        ...


class Changing(Protocol):
    """A system that can change."""

    def add(self, rows: Rows, vectors: Floats) -> None:
        """Add vectors under row numbers that are not in use."""
        ...

    def delete(self, rows: Rows) -> None:
        """Remove rows."""
        ...


def names() -> list[str]:
    """List the peers there are, Quiver's own entries first."""
    return sorted(registry.names(KIND), key=lambda name: (not name.startswith("quiver"), name))


def peer(name: str) -> ModuleType:
    """Return the module of a peer."""
    return registry.module(KIND, name)


def installed(name: str) -> str | None:
    """Return name and version of the package a peer needs, or None where it is not installed."""
    for package in peer(name).PACKAGES:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return None


def padded(found: Any, k: int) -> Rows:
    """Make (q, k) of lists of row numbers that may be shorter.

    >>> padded([[3, 1], []], 3).tolist()
    [[3, 1, -1], [-1, -1, -1]]
    """
    rows = np.full((len(found), k), -1, np.int64)
    for line, each in zip(rows, found, strict=True):
        line[: len(each)] = each[:k]
    return rows


def powers(first: int, last: int) -> tuple[int, ...]:
    """Return first, twice that and so on, up to last.

    >>> powers(4, 20)
    (4, 8, 16)
    """
    return tuple(first << n for n in range(64) if first << n <= last)


def lists(rows: int) -> int:
    """Return how many inverted lists suit so many rows: the power of two next to 4 sqrt(rows), as FAISS's wiki has it.

    >>> lists(100_000), lists(1_000_000)
    (1024, 4096)
    """
    return int(2 ** round(np.log2(max(4.0, 4 * np.sqrt(rows)))))
