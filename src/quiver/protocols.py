"""The verbs: what an encoder, a bridge, a scorer and an index can be asked. No base classes.

A module of ``quiver.encoders`` offers ``load(*, option=default, ...) -> Encoder`` (or Scorer);
a module of ``quiver.indexers`` offers ``build(vectors, *, option=default, ...) -> Index`` and
``open(path, space) -> Index``. Options are keyword-only, annotated, and documented there.

Shapes: n items, q queries, k hits, dim the width of a space.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from quiver.types import Floats, Probe, Rows, Space

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


#: What a scorer made of a batch of queries: arrays by name, of which row i belongs to query i.
Held = Mapping[str, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class ScorerInput:
    """One query as a scorer sees it.

    Attributes:
        media: what is held, by name of MEDIA; several references or several wishes are several values.
        examples: vectors of stored items that serve as references, (e, dim) by space; empty where there are none.
        weights: how much each held thing counts, by name of MEDIA, 1 where it is not named; an example counts as
            what it stands for.
        originals: what those stored items hold, by name of MEDIA, in the order of ``examples``: for a scorer to whom
            their vectors do not say enough.
    """

    media: Mapping[str, Sequence[Any]]
    examples: Mapping[Space, Floats] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    originals: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@runtime_checkable
class Scorer(Protocol):
    """Ranks candidates by what no single arrow gives: a composition, a comparison word by word.

    An encoder may offer some in an attribute ``scorers``, as it may offer ``bridges``, and name in ``features`` those
    of its spaces that only its scorers read, which are never searched. The engine writes them into the manifest,
    scores whole collections tile by tile or recalls and scores again, and leaves references out. One that computes
    somewhere may say so in an attribute ``device``, such as ``cuda:0``: what pairs cost is remembered for that device.
    Shapes: q queries, n candidates, m vectors of a probe.
    """

    @property
    def name(self) -> str:
        """What people call it, such as ``artemis``."""
        ...

    @property
    def holds(self) -> tuple[str, ...]:
        """Names of MEDIA a query must hold, such as ``("image", "text")``; a stored example stands for its media."""
        ...

    @property
    def finds(self) -> str:
        """The key of KEYS it ranks."""
        ...

    @property
    def reads(self) -> tuple[Space, ...]:
        """Spaces whose stored vectors, of the key it finds, scoring needs."""
        ...

    @property
    def recalls(self) -> Mapping[str, tuple[Space, ...]]:
        """Its ways to recall candidates, the default first: by name, the space of each of the probes it asks.

        A space need not be stored where a bridge leads there. Empty where it can only rerank.
        """
        ...

    @property
    def exact(self) -> bool:
        """Whether the default recall, of one probe, ranks as ``score`` does: then nothing is scored again."""
        ...

    def hold(self, asked: Sequence[ScorerInput]) -> Held:
        """Embed what q queries hold, once.

        Raises:
            BadMedia: what is held cannot be decoded.
        """
        ...

    def probes(self, held: Held, recall: str, moments: Mapping[Space, Floats]) -> tuple[Probe, ...]:
        """Return what recall should ask: one probe, vectors (q, m, dim), for each space in ``recalls[recall]``.

        Args:
            held: of ``hold``.
            recall: one of ``recalls``.
            moments: mean of the squared stored vectors, (dim,), of each space in ``reads``.
        """
        ...

    def score(self, held: Held, columns: Mapping[Space, Floats]) -> Floats:
        """Score every candidate for every query.

        Args:
            held: of ``hold``.
            columns: stored vectors of n candidates, (n, dim), of each space in ``reads``.

        Returns:
            (q, n) float32, finite, larger is better; no entry depends on the other queries or candidates.
        """
        ...

    def terms(self, held: Held, columns: Mapping[Space, Floats]) -> Mapping[str, Floats]:
        """Return what the scores are made of: (q, n) by name, which add up to ``score``."""
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
