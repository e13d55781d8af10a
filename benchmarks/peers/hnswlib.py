"""hnswlib: HNSW with 16 links and efConstruction 200, as in its README."""

from pathlib import Path
from typing import Any

import numpy as np

from quiver.benchmarks.peers import Allowed, Given, Knobs, Shape, Variant, powers
from quiver.types import Floats, Rows

PACKAGES = ("hnswlib",)
_SPACE = {"l2": "l2", "cosine": "cosine", "dot": "ip"}


def variants(shape: Shape) -> tuple[Variant, ...]:
    """Return one graph."""
    return (Variant("HNSW16", {"links": 16, "effort": 200}, tuple({"ef": ef} for ef in powers(16, 512))),)


def build(given: Given, variant: Variant) -> None:
    """Add vectors and write the file; places of deleted vectors can be reused."""
    index = _index(given.shape)
    links, effort = variant.options["links"], variant.options["effort"]
    index.init_index(given.shape.rows, M=links, ef_construction=effort, random_seed=0, allow_replace_deleted=True)
    index.set_num_threads(given.shape.threads)
    for at in range(0, given.shape.rows, 1 << 16):
        part = given.vectors[at : at + (1 << 16)]
        index.add_items(part, np.arange(at, at + len(part)))
    index.save_index(str(given.folder / "index.bin"))


def open(folder: Path, variant: Variant, shape: Shape) -> "Hnswlib":
    """Load the file."""
    index = _index(shape)
    index.load_index(str(folder / "index.bin"), allow_replace_deleted=True)
    index.set_num_threads(shape.threads)
    return Hnswlib(index, shape.threads)


def _index(shape: Shape) -> Any:
    import hnswlib

    return hnswlib.Index(space=_SPACE[shape.metric], dim=shape.dim)


class Hnswlib:
    """An hnswlib graph."""

    def __init__(self, index: Any, threads: int) -> None:
        self.index = index
        self.threads = threads

    def tune(self, knobs: Knobs) -> None:
        """Set ef."""
        self.index.set_ef(knobs["ef"])

    def search(self, queries: Floats, k: int) -> Rows:
        """Search."""
        return np.asarray(self.index.knn_query(queries, k=k)[0], np.int64)

    def narrowed(self, queries: Floats, k: int, allowed: Allowed) -> Rows:
        """Search with a Python predicate on the row number, the library's only filter.

        The library raises if it finds fewer than k rows, so k is at most the number of passing rows, query by query.
        """
        passing = set(allowed.rows.tolist())
        wide = min(k, len(passing))
        found = np.full((len(queries), k), -1, np.int64)
        for line, query in zip(found, queries, strict=True):
            try:
                line[:wide] = self.index.knn_query(query, k=wide, num_threads=1, filter=passing.__contains__)[0][0]
            except RuntimeError:  # fewer than k were found, and the library returns none of them
                continue
        return found

    def add(self, rows: Rows, vectors: Floats) -> None:
        """Add vectors, in the places of deleted ones if there are any."""
        free = self.index.get_current_count() + len(rows) - self.index.get_max_elements()
        if free > 0:
            self.index.resize_index(self.index.get_max_elements() + free)
        self.index.add_items(vectors, rows, replace_deleted=True)

    def delete(self, rows: Rows) -> None:
        """Mark as deleted."""
        for row in rows.tolist():
            self.index.mark_deleted(row)
