"""Ranks pictures for a text, or texts for a picture, by the margin of the two [CLS] logits.

It reads both together, so it has no recall of its own: whatever finds candidates, it puts them in order.
Shapes: q queries, n candidates, P patches, H width of a token, L pieces of a text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from quiver.encoders.fashionbert.model import FashionBert
from quiver.encoders.fashionbert.score import margins
from quiver.errors import BadSpec
from quiver.protocols import Held, Reader, ScorerInput
from quiver.types import Floats, Probe, Space


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


class Direction:
    """What every matcher of a text and a picture says of its one direction; subclasses name what it ``finds``."""

    __slots__ = ()

    finds: str

    @property
    def holds(self) -> tuple[str, ...]:
        """A text to find pictures, or a picture to find texts."""
        return ("text",) if self.finds == "image" else ("image",)

    @property
    def recalls(self) -> Mapping[str, tuple[Space, ...]]:
        """None: it can only rerank."""
        return {}

    @property
    def exact(self) -> bool:
        """False: no recall method replaces its score."""
        return False


@dataclass(frozen=True, slots=True, eq=False)
class Matcher(Direction):
    """The scorer of one direction.

    Attributes:
        model: in eval mode, in any precision.
        stock: the encoder of what is read.
        finds: ``image`` or ``text``.
    """

    model: FashionBert
    stock: Embeds
    finds: str

    @property
    def name(self) -> str:
        """One name for both directions; the query's inputs select the direction."""
        return "fashionbert"

    @property
    def reads(self) -> tuple[Space, ...]:
        """Patches of pictures, or word pieces of texts."""
        return self.stock.spaces(self.finds)

    @property
    def device(self) -> str:
        """Its device."""
        return str(next(self.model.parameters()).device)

    def hold(self, asked: Sequence[ScorerInput]) -> Held:
        """Prepare the inputs of q queries: (q, L) pieces or (q, P H) patches.

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
                raise BadSpec(f"fashionbert compares one {key} at a time, not {len(found)}")
            row[:] = found[0]
        return {key: rows}

    def probes(self, held: Held, recall: str, moments: Mapping[Space, Floats]) -> tuple[Probe, ...]:
        """Refuse.

        Raises:
            BadSpec: always; something else has to recall candidates.
        """
        raise BadSpec(f"fashionbert only reranks candidates; it has no recall method {recall!r}")

    def score(self, held: Held, columns: Mapping[Space, Floats]) -> Floats:
        """Return the margin of every candidate for every query, (q, n) float32, independent of the others."""
        (key,) = self.holds
        (space,) = self.reads
        asking, candidates = held[key], columns[space]
        q, n = len(asking), len(candidates)
        first, second = np.divmod(np.arange(q * n), max(n, 1))
        texts, pictures = (asking, candidates) if key == "text" else (candidates, asking)
        pairs = np.stack([first, second] if key == "text" else [second, first], axis=1).astype(np.int64)
        config = self.model.config
        ids = [row[row != config.pad].tolist() for row in texts.astype(np.int64)]
        patches = torch.from_numpy(np.ascontiguousarray(pictures).reshape(-1, config.patches, config.hidden))
        return margins(self.model, ids, patches, pairs).reshape(q, n)

    def terms(self, held: Held, columns: Mapping[Space, Floats]) -> Mapping[str, Floats]:
        """Return the one thing that scores are made of: ``match``."""
        return {"match": self.score(held, columns)}
