"""The verbs: what an encoder, a bridge, a scorer and an index can be asked. No base classes.

A module of ``quiver.encoders`` offers ``load(*, option=default, ...) -> Encoder`` (or Scorer);
a module of ``quiver.indexers`` offers ``build(vectors, *, option=default, ...) -> Index`` and
``open(path, space) -> Index``. Options are keyword-only, annotated, and documented there.

Shapes: n items, q queries, k hits, dim the width of a space.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from quiver.types import Floats, Probe, Query, Rows, Space

#: Turns a path, URI, bytes, array or text into what ``embed`` takes, or raises BadMedia.
#: It is picklable and light: spawned workers run it, while the model runs in the main process.
Reader = Callable[[Any], Any]


@runtime_checkable
class Encoder(Protocol):
    """An arrow from media into spaces."""

    @property
    def keys(self) -> tuple[str, ...]:
        """What it embeds, a subset of KEYS."""
        ...

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the spaces this key is embedded in, finest first; empty where the key is foreign."""
        ...

    def reader(self, key: str) -> Reader:
        """Return the decoder and preprocessor of one key."""
        ...

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed what the reader gave.

        Args:
            key: one of ``keys``.
            batch: n outputs of ``reader(key)``.
            space: one of ``spaces(key)``.

        Returns:
            (n, dim) float32, finite, with rows of unit length where the metric is cosine. A row does not
            depend on the rest of its batch.

        Raises:
            SpaceMismatch: the space is not one of this encoder's.
            BadSpec: it does not embed this key.
        """
        ...


@runtime_checkable
class Bridge(Protocol):
    """An arrow from one space into another."""

    @property
    def source(self) -> Space:
        """Where it starts."""
        ...

    @property
    def target(self) -> Space:
        """Where it ends."""
        ...

    def map(self, vectors: Floats) -> Floats:
        """Map (n, source.dim) float32 to (n, target.dim) float32."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Ranks candidates in a way no single dot product can."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Stored columns that scoring needs."""
        ...

    def probes(self, query: Query) -> tuple[Probe, ...]:
        """Return what recall should ask, or () where this scorer can only rerank."""
        ...

    def score(self, query: Query, columns: Mapping[str, Any]) -> Floats:
        """Score n candidates: (n,) float32, finite, independent of their order and of batch size."""
        ...


@runtime_checkable
class Index(Protocol):
    """Vectors of one space, arranged to be searched."""

    @property
    def space(self) -> Space:
        """The space of its vectors and of the queries it takes."""
        ...

    @property
    def rows(self) -> Rows:
        """(n,) int64 row numbers it holds."""
        ...

    def __len__(self) -> int:
        """How many vectors it holds."""
        ...

    def search(self, queries: Floats, k: int, *, allow: Rows | None = None) -> tuple[Floats, Rows]:
        """Find the k best rows of each query.

        Args:
            queries: (q, dim) float32, left as they are; for cosine their length does not matter.
            k: how many.
            allow: only these row numbers may be found; rows not held are ignored; None for all.

        Returns:
            scores (q, w) float32, best first and larger is better whatever the metric (l2 gives minus the
            squared distance), and rows (q, w) int64, where w = min(k, rows that may be found). An approximate
            index that finds fewer fills up with row -1 and score -inf; an exact one never does.

        Raises:
            SpaceMismatch: the queries have another width.
            BadData: a query is not finite, or ``allow`` is not sorted and unique.
        """
        ...

    def save(self, path: Path) -> None:
        """Write to a file or folder that ``open`` of the same module reads; the file appears whole or not at all."""
        ...
