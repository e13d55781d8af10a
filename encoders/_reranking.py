"""Rerankers of texts and pictures: what their encoders and their scorers have in common.

A reranker reads a query and a candidate together. So its encoder stores what the reranker reads of an item, in columns
in which nothing is near to anything, and its scorers have no recall of their own.
Shapes: q queries, n candidates, dim numbers of a column.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadSpec, SpaceMismatch
from quiver.media import TextReader
from quiver.protocols import Held, Reader, ScorerInput
from quiver.types import KEYS, Floats, Probe, Space


class StoredInputs:
    """An encoder of texts, and perhaps pictures, into the columns that a reranker reads.

    Attributes:
        called: its name in messages.
        columns: the space of each key; a subclass has this field.
    """

    __slots__ = ()

    called: ClassVar[str]
    columns: Mapping[str, Space]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it embeds."""
        return tuple(key for key in KEYS if key in self.columns)

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the space of a key; () for a foreign key."""
        return (self.columns[key],) if key in self.columns else ()

    @property
    def features(self) -> tuple[Space, ...]:
        """All of its spaces: only the reranker makes sense of them."""
        return tuple(self.columns.values())

    def reader(self, key: str) -> Reader:
        """Return the decoder of one key.

        Raises:
            BadSpec: the key is foreign.
        """
        self._check(key)
        return TextReader() if key == "text" else self._pictures()

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Return (n, dim) float32 of n outputs of the reader.

        Raises:
            BadSpec: the key is foreign.
            SpaceMismatch: the space is not the key's.
        """
        self._check(key)
        if space != self.columns[key]:
            raise SpaceMismatch(f"{self.columns[key]} does not embed into {space}")
        return self._rows(key, batch, space.dim)

    @abstractmethod
    def _pictures(self) -> Reader:
        """Return the decoder of pictures."""

    @abstractmethod
    def _rows(self, key: str, batch: Sequence[Any], dim: int) -> Floats:
        """Return (n, dim) float32; the key is one of its own."""

    def _check(self, key: str) -> None:
        if key not in self.columns:
            raise BadSpec(f"{self.called} embeds {', '.join(self.keys)}, not {key}")


class Reranks:
    """A scorer that can only rerank.

    Attributes:
        called: its name. It is one name for all directions; the query's inputs select the direction.
    """

    __slots__ = ()

    called: ClassVar[str]

    @property
    def name(self) -> str:
        """One name for all directions."""
        return self.called

    @property
    def recalls(self) -> Mapping[str, tuple[Space, ...]]:
        """None: it can only rerank."""
        return {}

    @property
    def exact(self) -> bool:
        """False: no recall method replaces its score."""
        return False

    def probes(self, held: Held, recall: str, moments: Mapping[Space, Floats]) -> tuple[Probe, ...]:
        """Refuse.

        Raises:
            BadSpec: always; something else has to recall candidates.
        """
        raise BadSpec(f"{self.called} only reranks candidates; it has no recall method {recall!r}")

    @abstractmethod
    def score(self, held: Held, columns: Mapping[Space, Floats]) -> Floats:
        """Return the score of every candidate for every query, (q, n) float32, independent of the others."""

    def terms(self, held: Held, columns: Mapping[Space, Floats]) -> Mapping[str, Floats]:
        """Return the one thing that scores are made of: ``match``."""
        return {"match": self.score(held, columns)}


class Embeds(Protocol):
    """The parts of an encoder that a matcher uses."""

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the space of a key."""
        ...

    def reader(self, key: str) -> Reader:
        """Return its decoder."""
        ...

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Return (n, dim) float32."""
        ...


class PairMatcher(Reranks):
    """A scorer of texts and pictures in one direction, which reads stored rows of both.

    Attributes:
        stock: the encoder of the rows; a subclass has this field.
        finds: ``image`` or ``text``; a subclass has this field.
    """

    __slots__ = ()

    stock: Embeds
    finds: str

    @property
    def holds(self) -> tuple[str, ...]:
        """A text to find pictures, or a picture to find texts."""
        return ("text",) if self.finds == "image" else ("image",)

    @property
    def reads(self) -> tuple[Space, ...]:
        """The space of the items that it finds."""
        return self.stock.spaces(self.finds)

    def hold(self, asked: Sequence[ScorerInput]) -> Held:
        """Prepare the inputs of q queries, as they are stored: (q, dim) float32.

        Several texts of a query are one, joined; a weight has no meaning where one thing is held.

        Raises:
            BadMedia: a picture or a text cannot be read.
            BadSpec: a query holds nothing to compare, or several pictures.
        """
        (key,) = self.holds
        (space,) = self.stock.spaces(key)
        rows = np.empty((len(asked), space.dim), np.float32)
        read = self.stock.reader(key)
        for row, each in zip(rows, asked, strict=True):
            given = [read(source) for source in each.media.get(key, ())]
            given = [" ".join(given)] if key == "text" and given else given
            found = [*(self.stock.embed(key, given, space) if given else ()), *each.examples.get(space, ())]
            if len(found) != 1:
                raise BadSpec(f"{self.called} compares one {key} at a time, not {len(found)}")
            row[:] = found[0]
        return {key: rows}

    def score(self, held: Held, columns: Mapping[Space, Floats]) -> Floats:
        """Return the margin of every candidate for every query, (q, n) float32, independent of the others."""
        (key,) = self.holds
        (space,) = self.reads
        asking, candidates = held[key], columns[space]
        q, n = len(asking), len(candidates)
        first, second = np.divmod(np.arange(q * n), max(n, 1))
        texts, pictures = (asking, candidates) if key == "text" else (candidates, asking)
        pairs = np.stack([first, second] if key == "text" else [second, first], axis=1)
        return self._margins(texts, pictures, pairs).reshape(q, n)

    @abstractmethod
    def _margins(self, texts: Floats, pictures: Floats, pairs_P2: NDArray[np.int64]) -> Floats:
        """Return (P,) float32: how much better each pair fits than not.

        Args:
            texts: stored rows of texts, (t, dim).
            pictures: stored rows of pictures, (p, dim).
            pairs_P2: the row of a text and the row of a picture.
        """
