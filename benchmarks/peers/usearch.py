"""usearch: HNSW with 16 links in bfloat16, its default here, and exact search. Its Python API has no filters."""

from pathlib import Path
from typing import Any

import numpy as np

from quiver.benchmarks.peers import Given, Knobs, Shape, Variant, powers
from quiver.types import Floats, Rows

PACKAGES = ("usearch",)
_METRIC = {"l2": "l2sq", "cosine": "cos", "dot": "ip"}


def variants(shape: Shape) -> tuple[Variant, ...]:
    """Return a graph in bfloat16, the library's default, and exact search over the vectors."""
    tried = tuple({"ef": ef} for ef in powers(16, 512))
    return (
        Variant("exact", {"dtype": "f32"}, exact=True),
        Variant("HNSW16 bf16", {"dtype": "bf16"}, tried),
    )


def build(given: Given, variant: Variant) -> None:
    """Add vectors and write the file."""
    if variant.exact:
        np.save(given.folder / "vectors.npy", given.vectors)
        return
    index = _index(given.shape, variant)
    for at in range(0, given.shape.rows, 1 << 16):
        part = np.ascontiguousarray(given.vectors[at : at + (1 << 16)])
        index.add(np.arange(at, at + len(part)), part, threads=given.shape.threads)
    index.save(str(given.folder / "index.usearch"))


def open(folder: Path, variant: Variant, shape: Shape) -> "Usearch | Scan":
    """Load the file into memory."""
    if variant.exact:
        return Scan(np.load(folder / "vectors.npy"), shape)
    index = _index(shape, variant)
    index.load(str(folder / "index.usearch"))
    return Usearch(index, shape.threads)


def _index(shape: Shape, variant: Variant) -> Any:
    from usearch.index import Index

    return Index(ndim=shape.dim, metric=_METRIC[shape.metric], dtype=variant.options["dtype"], connectivity=16)


class Usearch:
    """A usearch graph."""

    def __init__(self, index: Any, threads: int) -> None:
        self.index = index
        self.threads = threads

    def tune(self, knobs: Knobs) -> None:
        """Set the search expansion."""
        self.index.expansion_search = knobs["ef"]

    def search(self, queries: Floats, k: int) -> Rows:
        """Search; unfilled places have a key that is not a row."""
        found = self.index.search(queries, k, threads=self.threads)
        keys = np.atleast_2d(np.asarray(found.keys)).astype(np.int64)
        counts = np.atleast_1d(np.asarray(found.counts if len(queries) > 1 else len(found)))
        keys = keys if len(keys) == len(queries) else keys.reshape(len(queries), -1)
        out = np.full((len(queries), k), -1, np.int64)
        for line, each, count in zip(out, keys, counts, strict=True):
            line[:count] = each[:count]
        return out

    def add(self, rows: Rows, vectors: Floats) -> None:
        """Add vectors."""
        self.index.add(rows, vectors, threads=self.threads)

    def delete(self, rows: Rows) -> None:
        """Remove vectors."""
        self.index.remove(rows)


class Scan:
    """Exact search by ``usearch.index.search(exact=True)``."""

    def __init__(self, vectors: Floats, shape: Shape) -> None:
        from usearch.compiled import MetricKind

        self.vectors = vectors
        self.threads = shape.threads
        self.metric = {"l2": MetricKind.L2sq, "cosine": MetricKind.Cos, "dot": MetricKind.IP}[shape.metric]

    def tune(self, knobs: Knobs) -> None:
        """Ignore parameters: there are none."""

    def search(self, queries: Floats, k: int) -> Rows:
        """Search."""
        from usearch.index import search

        found = search(self.vectors, queries, k, metric=self.metric, exact=True, threads=self.threads)
        return np.asarray(found.keys, np.int64).reshape(len(queries), k)
