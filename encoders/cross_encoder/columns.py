"""An encoder of texts and pictures into themselves: the columns that a reranker reads."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from quiver.encoders import _fingerprint
from quiver.encoders._packed import SIDES, Small, pack_pictures, pack_texts
from quiver.encoders._reranking import StoredInputs
from quiver.encoders.cross_encoder.reranker import Pairs, Reranker
from quiver.protocols import Reader
from quiver.types import Floats, Space

_LOG = logging.getLogger("quiver")


@dataclass(frozen=True, slots=True, eq=False)
class Readings(StoredInputs):
    """An encoder of texts into the numbers of their characters, and of pictures into those of their pixels.

    Attributes:
        columns: the space of each key.
        scorers: what reads them: one for each medium of a query and each that is found.
    """

    called: ClassVar[str] = "cross_encoder"

    columns: dict[str, Space]
    scorers: tuple[Reranker, ...] = ()

    @classmethod
    def of(cls, characters: int, pixels: int, keys: Iterable[str]) -> "Readings":
        """Make an encoder that keeps so many characters of a text and pixels of a picture."""
        text = Space("cross_encoder/text", characters, "dot", _fingerprint.of_parts("characters 1", str(characters)))
        picture = Space("cross_encoder/pixels", SIDES + pixels, "dot", _fingerprint.of_parts("pixels 1", str(pixels)))
        every = {"text": text, "image": picture}
        return cls({key: every[key] for key in keys})

    def ranked(self, directions: Iterable[tuple[str, str]], pairs: Pairs, device: str) -> "Readings":
        """Return the same encoder with a scorer for each direction: the medium of a query, and that which it finds."""
        scorers = (Reranker(self.columns, holds, finds, pairs, device, self.reader) for holds, finds in directions)
        return replace(self, scorers=tuple(scorers))

    @property
    def space(self) -> Space:
        """The space of texts."""
        return self.columns["text"]

    def _pictures(self) -> Reader:
        return Small(self.columns["image"].dim - SIDES)

    def _rows(self, key: str, batch: Sequence[Any], dim: int) -> Floats:
        """Return the rows of ``quiver.encoders._packed``."""
        if key == "image":
            return pack_pictures(batch, dim - SIDES)
        longer = sum(len(text) > dim for text in batch)
        if longer:
            _LOG.warning(
                "%d of %d texts have more than %d characters, and only their beginnings are reranked:"
                " cross_encoder characters=%d reads all of them",
                *(longer, len(batch), dim, max(map(len, batch))),
            )
        return pack_texts(batch, dim)
