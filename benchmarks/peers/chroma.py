"""Chroma, embedded and persistent: HNSW with 16 links and efConstruction 100, its defaults."""

from pathlib import Path
from typing import Any

import numpy as np

from quiver.benchmarks.peers import Allowed, Given, Knobs, Shape, Variant, padded, powers
from quiver.types import Floats, Rows

PACKAGES = ("chromadb",)
_SPACE = {"l2": "l2", "cosine": "cosine", "dot": "ip"}
_BATCH = 5_000  # Chroma's limit per call


def variants(shape: Shape) -> tuple[Variant, ...]:
    """Return its one index; larger data takes too long to add."""
    tried = tuple({"ef": ef} for ef in powers(16, 512))
    return (Variant("HNSW16", {"links": 16, "effort": 100}, tried),) if shape.rows <= 250_000 else ()


def _client(folder: Path) -> Any:
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))


def build(given: Given, variant: Variant) -> None:
    """Create a collection."""
    shape, options = given.shape, variant.options
    hnsw = {
        "space": _SPACE[shape.metric],
        "max_neighbors": options["links"],
        "ef_construction": options["effort"],
        "num_threads": shape.threads,
    }
    client = _client(given.folder)
    made = client.create_collection("vectors", embedding_function=None, configuration={"hnsw": hnsw})
    for at in range(0, shape.rows, _BATCH):
        rows = np.arange(at, min(at + _BATCH, shape.rows))
        numbers = [dict(zip(given.columns, map(int, each), strict=True)) for each in _rowwise(given, rows)]
        made.add(list(map(str, rows)), embeddings=np.ascontiguousarray(given.vectors[rows]), metadatas=numbers)


def _rowwise(given: Given, rows: Rows) -> Any:
    return np.stack([column[rows] for column in given.columns.values()], axis=1)


def open(folder: Path, variant: Variant, shape: Shape) -> "Chroma":
    """Open the collection."""
    return Chroma(_client(folder).get_collection("vectors", embedding_function=None))


class Chroma:
    """A collection of Chroma."""

    def __init__(self, collection: Any) -> None:
        self.collection = collection

    def tune(self, knobs: Knobs) -> None:
        """Set ef_search."""
        self.collection.modify(configuration={"hnsw": {"ef_search": knobs["ef"]}})

    def search(self, queries: Floats, k: int) -> Rows:
        """Search, many queries as one batch."""
        return self._ask(queries, k, None)

    def narrowed(self, queries: Floats, k: int, allowed: Allowed) -> Rows:
        """Search with a metadata filter."""
        return self._ask(queries, k, {allowed.column: {"$lt": allowed.below}})

    def _ask(self, queries: Floats, k: int, where: Any) -> Rows:
        found = self.collection.query(query_embeddings=queries, n_results=k, where=where, include=[])["ids"]
        return padded([list(map(int, ids)) for ids in found], k)

    def add(self, rows: Rows, vectors: Floats) -> None:
        """Add vectors."""
        for at in range(0, len(rows), _BATCH):
            part = slice(at, at + _BATCH)
            self.collection.add(list(map(str, rows[part])), embeddings=np.ascontiguousarray(vectors[part]))

    def delete(self, rows: Rows) -> None:
        """Delete vectors."""
        self.collection.delete(list(map(str, rows)))
