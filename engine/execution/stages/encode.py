"""Encode: turn an input of the query into vectors of a space."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quiver.engine.core.vector_check import as_float32
from quiver.engine.execution.context import Context
from quiver.errors import BadData, SpaceMismatch, failing
from quiver.types import Floats, Space, sources_of


@dataclass(frozen=True, slots=True)
class Encode:
    """Embed one key of every query of the batch.

    Attributes:
        key: the key.
        space: the space.
        encoder: spec of the encoder.
        reason: reason for the stage.
        negative: embed the negative examples of this key, not the inputs.
    """

    key: str
    space: Space
    encoder: str
    reason: str
    negative: bool = False

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"encode {'unlike ' * self.negative}{self.key} into {self.space.name}"

    def run(self, context: Context) -> int:
        """Embed the queries and store the vectors for the recall stages; return the number of queries."""
        made = context.repelled if self.negative else context.encoded
        made[self.key, self.space] = self._embed(context)
        return len(context.queries)

    def _embed(self, context: Context) -> Floats:
        """Return (q, dim) vectors, or (q, m, dim) if the best of m values per query is used."""
        if context.session.query_cache is not None and not self.negative:
            return context.session.query_cache.encoded(context.queries, self.key, self.space)
        loaded = context.session.encoder(self.encoder)
        reader = loaded.encoder.reader(self.key)
        held = [query.unlike_media if self.negative else query.media for query in context.queries]
        sources = [sources_of(media, self.key) for media in held]
        with loaded.lock:
            with failing(f"the encoder {self.encoder}", f"embed this {self.key}"):
                read = [reader(source) for each in sources for source in each]
                made = loaded.embed_query(self.key, read, self.space)
            vectors = _matrix(made, len(read), self.space)
        if self.negative:
            return _sums(vectors, sources)
        if context.query.reduce == "max":
            return vectors.reshape(len(sources), -1, self.space.dim)
        if len(vectors) == len(sources):
            return vectors
        counts = np.array([[len(each)] for each in sources], np.float32)
        return np.asarray(_sums(vectors, sources) / counts, np.float32)


def _sums(vectors: Floats, sources: Sequence[Sequence[Any]]) -> Floats:
    """Return (q, dim) the sum of the vectors of each query."""
    starts = np.cumsum([0, *(len(each) for each in sources[:-1])])
    return np.asarray(np.add.reduceat(vectors, starts, axis=0), np.float32)


def _matrix(vectors: Any, count: int, space: Space) -> Floats:
    """Check the vectors that an encoder returned, which may be an object of the user, as (count, dim) float32.

    Raises:
        BadData: they are not numbers.
        SpaceMismatch: they have another shape.
    """
    try:
        data = as_float32(vectors)
    except (TypeError, ValueError) as error:
        raise BadData(f"the encoder of {space} gave something else than numbers for the query: {error}") from error
    if data.shape != (count, space.dim):
        raise SpaceMismatch(f"{space} takes ({count}, {space.dim}) vectors, not {data.shape}")
    return data
