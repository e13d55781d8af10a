"""Quiver as a whole: a collection on disk, opened and searched like a user would, including the ids of hits.

Variants with search parameters are indexes with parameters set for this measurement; the engine chooses index and
parameters of ``recall=`` variants itself for a recall target.
"""

import inspect
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

import quiver
from quiver.benchmarks.peers import Allowed, Given, Knobs, Shape, Variant, padded
from quiver.benchmarks.peers import faiss as peer
from quiver.benchmarks.recall.indexes import tuned
from quiver.engine.collection import Collection
from quiver.types import Floats, Rows

PACKAGES = ("quiver-search",)
SHARED = True  # two readers of one folder see each other's changes
SPACE = "bench"
PROMISES = (0.95, 0.99)


def variants(shape: Shape) -> tuple[Variant, ...]:
    """Return exact search, the indexes of the peer ``faiss``, and the engine's own choice for a recall target."""
    same = [each for each in peer.variants(shape) if not each.exact]
    found = [Variant("exact", {"index": "exact"}, exact=True)]
    found += [Variant(each.name, {"index": "faiss", **each.options}, each.knobs) for each in same]
    if "recall" in inspect.signature(Collection.index).parameters:
        found += [Variant(f"recall={share}", {"recall": share}) for share in PROMISES]
    return tuple(found)


def build(given: Given, variant: Variant) -> None:
    """Create a collection of vectors with ids and filter columns, and index it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    np.save(given.folder / "vectors.npy", given.vectors)
    ids = pa.array(np.arange(given.shape.rows).astype(str))
    pq.write_table(
        pa.table({"id": ids, **{n: pa.array(c) for n, c in given.columns.items()}}), given.folder / "m.parquet"
    )
    collection = quiver.open(given.folder / "collection")
    metric = given.shape.metric
    meta = given.folder / "m.parquet"
    collection.add_vectors(given.folder / "vectors.npy", space=SPACE, metric=metric, meta=meta, progress=False)
    (given.folder / "vectors.npy").unlink()
    meta.unlink()
    _index(collection, variant)


def _index(collection: Any, variant: Variant) -> None:
    if "recall" in variant.options:
        collection.index(recall=variant.options["recall"])
    elif variant.options["index"] != "exact":
        collection.index(f"faiss factory={variant.options['factory']}")


def open(folder: Path, variant: Variant, shape: Shape) -> "Planned":
    """Open the collection."""
    return Planned(quiver.open(folder / "collection"), variant.options.get("index"), shape)


class Planned:
    """A collection."""

    def __init__(self, collection: Collection, index: str | None, shape: Shape) -> None:
        self.collection = collection
        self.index = index
        self.shape = shape

    def tune(self, knobs: Knobs) -> None:
        """Set the search options of the attached index."""
        if not knobs:
            return
        session = self.collection._session()
        (column,) = session.graph.columns
        loaded = session.resident(column).load("faiss")
        loaded.index = tuned(loaded.index, "faiss", {name: str(value) for name, value in knobs.items()})

    def search(self, queries: Floats, k: int) -> Rows:
        """Search for items."""
        return self._ask(queries, k, None)

    def narrowed(self, queries: Floats, k: int, allowed: Allowed) -> Rows:
        """Search with a metadata filter; the planner decides how."""
        return self._ask(queries, k, f"{allowed.column} < {allowed.below}")

    def _ask(self, queries: Floats, k: int, where: str | None) -> Rows:
        index = self.index if where is None else None
        ids = self.collection.search_batch(vectors={SPACE: queries}, k=k, where=where, index=index).ids
        if all(len(each) == k for each in ids):
            return np.fromiter(map(int, chain.from_iterable(ids)), np.int64, len(ids) * k).reshape(-1, k)
        return padded([list(map(int, each)) for each in ids], k)

    def raw(self, knobs: Knobs) -> "peer.Faiss | None":
        """Return FAISS itself with the same index; None if the engine chose the index."""
        files = list(Path(self.collection.uri).rglob("index.faiss"))
        if not knobs or len(files) != 1:
            return None
        import faiss

        inner = peer.Faiss(faiss.read_index(str(files[0])), self.shape, exact=False)
        inner.tune(knobs)
        return inner

    def add(self, rows: Rows, vectors: Floats) -> None:
        """Add vectors from a file, like a user would."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = Path(self.collection.uri).parent
        names = list(self.collection.info()["meta"])
        np.save(folder / "more.npy", vectors)
        numbers = {name: pa.array(rows) for name in names}
        pq.write_table(pa.table({"id": pa.array(rows.astype(str)), **numbers}), folder / "more.parquet")
        self.collection.add_vectors(
            folder / "more.npy", space=SPACE, metric=self.shape.metric, meta=folder / "more.parquet", progress=False
        )

    def delete(self, rows: Rows) -> None:
        """Delete by id."""
        self.collection.delete(map(str, rows.tolist()))
