"""An encoder of texts and pictures into themselves: the columns that a reranker reads."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quiver.encoders import _fingerprint
from quiver.encoders._packed import SIDES, Small, pack_pictures, pack_texts
from quiver.encoders.cross_encoder.reranker import Pairs, Reranker
from quiver.errors import BadSpec, SpaceMismatch
from quiver.media import TextReader
from quiver.protocols import Reader
from quiver.types import KEYS, Floats, Space

_LOG = logging.getLogger("quiver")


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """An encoder of texts into the numbers of their characters, and of pictures into those of their pixels.

    Attributes:
        columns: the space of each key.
        scorers: what reads them: one for each medium of a query and each that is found.
    """

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

    @property
    def keys(self) -> tuple[str, ...]:
        """Texts, and pictures if the model reads them."""
        return tuple(key for key in KEYS if key in self.columns)

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the space of a key; () for a foreign key."""
        return (self.columns[key],) if key in self.columns else ()

    @property
    def features(self) -> tuple[Space, ...]:
        """All of its spaces: in none of them anything is near to anything."""
        return tuple(self.columns.values())

    def reader(self, key: str) -> Reader:
        """Return the reader of a key: of a text, or of a picture within the limit of pixels."""
        self._check(key)
        return TextReader() if key == "text" else Small(self.columns[key].dim - SIDES)

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Return (n, dim) float32: see ``quiver.encoders._packed``.

        Raises:
            BadSpec: the key is foreign.
            SpaceMismatch: the space is foreign.
        """
        self._check(key)
        if space != self.columns[key]:
            raise SpaceMismatch(f"{self.columns[key]} does not embed into {space}")
        if key == "image":
            return pack_pictures(batch, space.dim - SIDES)
        longer = sum(len(text) > space.dim for text in batch)
        if longer:
            _LOG.warning(
                "%d of %d texts have more than %d characters, and only their beginnings are reranked:"
                " cross_encoder characters=%d reads all of them",
                *(longer, len(batch), space.dim, max(map(len, batch))),
            )
        return pack_texts(batch, space.dim)

    def _check(self, key: str) -> None:
        if key not in self.columns:
            raise BadSpec(f"cross_encoder reads {', '.join(self.keys)}, not {key}")
