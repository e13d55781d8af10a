"""qdrant-client's local mode: exact search with numpy in memory, its only mode without a server.

On disk it commits every point separately (5,000 took five minutes here), so vectors are loaded when it is opened, and
the seconds of opening are those of building.
"""

from pathlib import Path
from typing import Any

import numpy as np

from quiver.benchmarks.peers import Allowed, Given, Knobs, Shape, Variant, padded
from quiver.types import Floats, Rows

PACKAGES = ("qdrant-client",)
_DISTANCE = {"l2": "EUCLID", "cosine": "COSINE", "dot": "DOT"}


def variants(shape: Shape) -> tuple[Variant, ...]:
    """Return its one index; larger data takes hours to load."""
    return (Variant("local", exact=True),) if shape.rows <= 250_000 else ()


def build(given: Given, variant: Variant) -> None:
    """Write vectors and filter columns."""
    np.save(given.folder / "vectors.npy", given.vectors)
    np.savez(given.folder / "columns.npz", allow_pickle=False, **given.columns)


def open(folder: Path, variant: Variant, shape: Shape) -> "Qdrant":
    """Load the vectors."""
    from qdrant_client import QdrantClient, models

    vectors, columns = np.load(folder / "vectors.npy", mmap_mode="r"), dict(np.load(folder / "columns.npz"))
    client = QdrantClient(":memory:")
    distance = models.Distance[_DISTANCE[shape.metric]]
    client.create_collection("vectors", vectors_config=models.VectorParams(size=shape.dim, distance=distance))
    values = ({name: int(column[row]) for name, column in columns.items()} for row in range(shape.rows))
    client.upload_collection("vectors", vectors=vectors, payload=values, ids=range(shape.rows), batch_size=1024)
    return Qdrant(client)


class Qdrant:
    """A local collection."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def tune(self, knobs: Knobs) -> None:
        """Ignore parameters: there are none."""

    def search(self, queries: Floats, k: int) -> Rows:
        """Search."""
        return self._ask(queries, k, None)

    def narrowed(self, queries: Floats, k: int, allowed: Allowed) -> Rows:
        """Search with a payload filter."""
        from qdrant_client import models

        within = models.FieldCondition(key=allowed.column, range=models.Range(lt=allowed.below))
        return self._ask(queries, k, models.Filter(must=[within]))

    def _ask(self, queries: Floats, k: int, narrow: Any) -> Rows:
        from qdrant_client import models

        asked = [models.QueryRequest(query=query.tolist(), filter=narrow, limit=k) for query in queries]
        found = self.client.query_batch_points("vectors", requests=asked)
        return padded([[point.id for point in each.points] for each in found], k)

    def add(self, rows: Rows, vectors: Floats) -> None:
        """Upsert points."""
        from qdrant_client import models

        batch = models.Batch(ids=rows.tolist(), vectors=vectors.tolist())
        self.client.upsert("vectors", points=batch)

    def delete(self, rows: Rows) -> None:
        """Delete points."""
        self.client.delete("vectors", points_selector=rows.tolist())
