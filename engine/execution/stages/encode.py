"""Encode: turn an input of the query into vectors of a space."""

from dataclasses import dataclass

import numpy as np

from quiver.engine.execution.context import Context
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
            vectors = loaded.embed_query(self.key, read, self.space)
        if context.query.reduce == "max":
            return vectors.reshape(len(sources), -1, self.space.dim)
        if len(vectors) == len(sources):
            return vectors
        starts = np.cumsum([0, *(len(each) for each in sources[:-1])])
        counts = np.array([[len(each)] for each in sources], np.float32)
        return np.asarray(np.add.reduceat(vectors, starts, axis=0) / counts, np.float32)
