"""Encode: turn an input of the query into vectors of a space."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from quiver.engine.execution.context import Context
from quiver.errors import BadData, SpaceMismatch
from quiver.types import Floats, Space, sources_of


@dataclass(frozen=True, slots=True)
class Encode:
    """Embed one key of every query of the batch."""

    key: str
    space: Space
    encoder: str
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"encode {self.key} into {self.space.name}"

    def run(self, context: Context) -> int:
        """Embed the queries and store the vectors for the recall stages; return the number of queries."""
        context.encoded[self.key, self.space] = self._embed(context)
        return len(context.queries)

    def _embed(self, context: Context) -> Floats:
        """Return (q, dim) vectors, or (q, m, dim) if the best of m values per query is used."""
        if context.session.query_cache is not None:
            return context.session.query_cache.encoded(context.queries, self.key, self.space)
        loaded = context.session.encoder(self.encoder)
        reader = loaded.encoder.reader(self.key)
        sources = [sources_of(query.media, self.key) for query in context.queries]
        with loaded.lock:
            read = [reader(source) for each in sources for source in each]
            vectors = _matrix(loaded.embed_query(self.key, read, self.space), len(read), self.space)
        if context.query.reduce == "max":
            return vectors.reshape(len(sources), -1, self.space.dim)
        if len(vectors) == len(sources):
            return vectors
        starts = np.cumsum([0, *(len(each) for each in sources[:-1])])
        counts = np.array([[len(each)] for each in sources], np.float32)
        return np.asarray(np.add.reduceat(vectors, starts, axis=0) / counts, np.float32)


def _matrix(vectors: Any, count: int, space: Space) -> Floats:
    """Check the vectors that an encoder returned, which may be an object of the user, as (count, dim) float32.

    Raises:
        BadData: they are not numbers.
        SpaceMismatch: they have another shape.
    """
    try:
        data = np.asarray(vectors, np.float32)
    except (TypeError, ValueError) as error:
        raise BadData(f"the encoder of {space} gave something else than numbers for the query: {error}") from error
    if data.shape != (count, space.dim):
        raise SpaceMismatch(f"{space} takes ({count}, {space.dim}) vectors, not {data.shape}")
    return data
