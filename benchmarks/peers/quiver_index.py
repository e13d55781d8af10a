"""Quiver's indexes without a collection: ``quiver.indexers`` called directly, filters by row number."""

from pathlib import Path
from typing import Any

import numpy as np

from quiver import registry
from quiver.benchmarks.peers import Allowed, Given, Knobs, Shape, Variant
from quiver.benchmarks.peers import faiss as peer
from quiver.benchmarks.recall.indexes import tuned
from quiver.types import Floats, Rows, Space, Vectors

PACKAGES = ("quiver-search",)


def variants(shape: Shape) -> tuple[Variant, ...]:
    """Return exact search, and the indexes of the peer ``faiss``, built by our indexer."""
    same = [each for each in peer.variants(shape) if not each.exact]
    return (
        Variant("exact", {"kind": "exact"}, exact=True),
        *(Variant(each.name, {"kind": "faiss", **each.options}, each.knobs) for each in same),
    )


def space(shape: Shape) -> Space:
    """Return the space of a benchmark's vectors."""
    return Space("bench", shape.dim, shape.metric, "given")


def build(given: Given, variant: Variant) -> None:
    """Build and save."""
    options = {name: value for name, value in variant.options.items() if name != "kind"}
    vectors = Vectors(space(given.shape), np.arange(given.shape.rows, dtype=np.int64), given.vectors)
    index = registry.module("indexers", variant.options["kind"]).build(vectors, **options)
    getattr(index, "compact", None)  # exact search creates its int8 copy on first use
    index.save(given.folder / "index")


def open(folder: Path, variant: Variant, shape: Shape) -> "Indexed":
    """Open a saved index."""
    kind = variant.options["kind"]
    return Indexed(registry.module("indexers", kind).open(folder / "index", space(shape)), kind)


class Indexed:
    """An index of Quiver."""

    def __init__(self, index: Any, kind: str) -> None:
        self.index = index
        self.kind = kind

    def tune(self, knobs: Knobs) -> None:
        """Set the search options."""
        if self.kind == "faiss":
            self.index = tuned(self.index, self.kind, {name: str(value) for name, value in knobs.items()})

    def search(self, queries: Floats, k: int) -> Rows:
        """Search."""
        return self._ask(queries, k, None)

    def narrowed(self, queries: Floats, k: int, allowed: Allowed) -> Rows:
        """Search among row numbers."""
        return self._ask(queries, k, allowed.rows)

    def _ask(self, queries: Floats, k: int, allow: Rows | None) -> Rows:
        rows: Rows = self.index.search(queries, k, allow=allow)[1]
        return rows
