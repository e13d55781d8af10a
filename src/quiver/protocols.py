"""Protocols of encoders, bridges, scorers, tellers and indexes; plugins need no base classes.

A module of ``quiver.encoders`` offers ``load(*, option=default, ...) -> Encoder`` (or Scorer);
a module of ``quiver.indexers`` offers ``build(vectors, *, option=default, ...) -> Index`` and
``open(path, space) -> Index``. Options are keyword-only, annotated, and documented there.

Shapes: n items, q queries, k hits, dim the dimension of a space.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from quiver.types import Floats, Probe, Rows, Space

#: Turns a path, URI, bytes, array or text into an input of ``embed``, or raises BadMedia.
#: It is picklable and light: spawned workers run it, while the model runs in the main process. It returns a text, a
#: number, bytes, a numpy array of numbers, or a list, tuple or dict of them: no object of another class comes back from
#: a process that decodes untrusted files.
#: A reader of videos or sounds may have a method ``moments(source, spans)`` that reads windows of one file in one pass:
#: for each (start, stop) in seconds, it yields what a call with that moment returns, or the QuiverError that it raises.
Reader = Callable[[Any], Any]


@runtime_checkable
class Encoder(Protocol):
    """Embeds media into one or more spaces: an arrow of the planner's graph."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it embeds, a subset of KEYS."""
        ...

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the spaces that this key is embedded into, finest first; empty if it does not embed the key."""
        ...

    def reader(self, key: str) -> Reader:
        """Return the decoder and preprocessor of one key."""
        ...

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed outputs of the reader.

        Args:
            key: one of ``keys``.
            batch: n outputs of ``reader(key)``.
            space: one of ``spaces(key)``.

        Returns:
            (n, dim) float32, finite, with rows of unit length if the metric is cosine. A row does not
            depend on the rest of its batch.

        Raises:
            SpaceMismatch: the space is not one of this encoder's.
            BadSpec: it does not embed this key.
        """
        ...


@runtime_checkable
class QueryEncoder(Encoder, Protocol):
    """An encoder that embeds queries differently from stored items, for example behind another prompt.

    Both kinds of vectors are in the same space, whose revision describes the side of the stored items.
    """

    def embed_query(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed n outputs of ``reader(key)`` as queries; shapes and errors are those of ``embed``."""
        ...


@runtime_checkable
class Bridge(Protocol):
    """Maps the vectors of one space into another: an arrow of the planner's graph."""

    @property
    def source(self) -> Space:
        """The space of its input."""
        ...

    @property
    def target(self) -> Space:
        """The space of its output."""
        ...

    def map(self, vectors: Floats) -> Floats:
        """Map (n, source.dim) float32 to (n, target.dim) float32."""
        ...


@runtime_checkable
class PairExplainer(Protocol):
    """An encoder of pairs that shows where the two pictures differ."""

    def reader(self, key: str) -> Reader:
        """Return the decoder of one key, as an encoder does."""
        ...

    def differences(self, batch: Sequence[Any]) -> Floats:
        """Map pairs.

        Args:
            batch: n outputs of ``reader("pair")``.

        Returns:
            (n, 2, rows, columns) float32, not negative: a grid over the whole picture before and one over that after.
            The encoder looks more where values are larger; values of one pair may be compared.
        """
        ...


#: Inputs that a scorer prepared from a batch of queries: arrays by name; row i belongs to query i.
Held = Mapping[str, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class ScorerInput:
    """One query as input of a scorer.

    Attributes:
        media: the query inputs, by name of MEDIA; several references or several texts are several values.
        examples: vectors of stored items that serve as references, (e, dim) by space; empty without examples.
        weights: weight of each query input, by name of MEDIA, 1 if it is not named; an example has the weight of the
            medium that it replaces.
        originals: media of those stored items, by name of MEDIA, in the order of ``examples``: for a scorer that needs
            more than their vectors.
    """

    media: Mapping[str, Sequence[Any]]
    examples: Mapping[Space, Floats] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    originals: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@runtime_checkable
class Scorer(Protocol):
    """Ranks candidates by more than one vector per query: a composition of inputs, or a comparison word by word.

    An encoder may have scorers in an attribute ``scorers``, as it may have ``bridges``. Its attribute ``features`` may
    name spaces that only its scorers read; these are never searched. The engine writes scorers into the manifest,
    scores whole collections tile by tile or recalls candidates and scores them, and excludes references. A scorer may
    name its device in an attribute ``device``, such as ``cuda:0``; the cost per pair is stored for that device.
    Shapes: q queries, n candidates, m vectors of a probe.
    """

    @property
    def name(self) -> str:
        """Its display name, such as ``artemis``."""
        ...

    @property
    def holds(self) -> tuple[str, ...]:
        """Names of MEDIA that a query needs, such as ``("image", "text")``; a stored example can replace its media."""
        ...

    @property
    def finds(self) -> str:
        """The key of KEYS that it ranks."""
        ...

    @property
    def reads(self) -> tuple[Space, ...]:
        """Spaces whose stored vectors, of the key that it ranks, scoring needs."""
        ...

    @property
    def recalls(self) -> Mapping[str, tuple[Space, ...]]:
        """Its recall methods, the default first: by name, the space of each probe (query vector).

        A space need not be stored if a bridge leads there. Empty if it can only rerank.
        """
        ...

    @property
    def exact(self) -> bool:
        """Whether the default recall, with one probe, ranks like ``score``, so that reranking is not needed."""
        ...

    def hold(self, asked: Sequence[ScorerInput]) -> Held:
        """Prepare the inputs of q queries, once.

        Raises:
            BadMedia: an input cannot be decoded.
        """
        ...

    def probes(self, held: Held, recall: str, moments: Mapping[Space, Floats]) -> tuple[Probe, ...]:
        """Return the query vectors of a recall method: one probe, (q, m, dim), for each space in ``recalls[recall]``.

        Args:
            held: result of ``hold``.
            recall: one of ``recalls``.
            moments: mean of the squared stored vectors, (dim,), of each space in ``reads``.
        """
        ...

    def score(self, held: Held, columns: Mapping[Space, Floats]) -> Floats:
        """Score every candidate for every query.

        Args:
            held: result of ``hold``.
            columns: stored vectors of n candidates, (n, dim), of each space in ``reads``.

        Returns:
            (q, n) float32, finite, larger is better; no entry depends on the other queries or candidates.
        """
        ...

    def terms(self, held: Held, columns: Mapping[Space, Floats]) -> Mapping[str, Floats]:
        """Return the terms of the scores: (q, n) by name; they add up to ``score``."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """One caption.

    Attributes:
        text: the sentence, without special tokens, prompt, or white space at its ends; empty if the model said nothing.
        score: mean natural logarithm of the probability of its tokens, the end of the sentence included: at most 0,
            larger is better, comparable only between captions of one teller.
    """

    text: str
    score: float


@runtime_checkable
class Teller(Protocol):
    """Describes media in words: a caption of a picture, or of the change from one picture to another.

    An encoder may have tellers in an attribute ``tellers``; of several for one key, the first is used. A model that
    only tells is an encoder with no ``keys``. An attribute ``at_once`` may say how many inputs ``tell`` is given at a
    time, 16 by default: captions are committed in between.
    """

    @property
    def name(self) -> str:
        """Its display name, such as ``transformers/Salesforce/blip-image-captioning-base``."""
        ...

    @property
    def revision(self) -> str:
        """Hexadecimal hash of weights, prompt and preprocessing: stored beside a caption, to know which are old."""
        ...

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of KEYS that it describes, in their order; ``pair`` is described by what changed."""
        ...

    def reader(self, key: str) -> Reader:
        """Return the decoder and preprocessor of one key.

        Raises:
            BadSpec: it does not describe this key.
        """
        ...

    def tell(self, key: str, batch: Sequence[Any], *, beams: int = 1, most: int = 1) -> list[list[Told]]:
        """Describe outputs of the reader.

        Args:
            key: one of ``keys``.
            batch: n outputs of ``reader(key)``; not modified.
            beams: width of the beam search, at least 1; 1 is greedy decoding.
            most: largest number of captions of one input, from 1 to ``beams``.

        Returns:
            n lists of 1 to ``most`` captions, best score first. Captions of one input do not depend on the rest of its
            batch, and the same input gets the same captions.

        Raises:
            BadSpec: it does not describe this key, or ``beams`` or ``most`` is out of range.
        """
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
        """(n,) int64 row numbers of its vectors."""
        ...

    def __len__(self) -> int:
        """Number of its vectors."""
        ...

    def search(self, queries: Floats, k: int, *, allow: Rows | None = None) -> tuple[Floats, Rows]:
        """Find the k best rows of each query.

        Args:
            queries: (q, dim) float32, not modified; for cosine their length does not matter.
            k: number of rows.
            allow: only these row numbers may be found; unknown rows are ignored; None for all.

        Returns:
            scores (q, w) float32, best first and larger is better whatever the metric (l2 gives minus the
            squared distance), and rows (q, w) int64, where w = min(k, rows that may be found). An approximate
            index that finds fewer pads with row -1 and score -inf; an exact one never does.

        Raises:
            SpaceMismatch: the queries have another dimension.
            BadData: a query is not finite, or ``allow`` is not sorted and unique.
        """
        ...

    def save(self, path: Path) -> None:
        """Write to a file or folder that ``open`` of the same module reads, atomically."""
        ...
