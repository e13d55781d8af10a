"""Descriptors that nobody trained: edges, colours, rhythms of loudness and hashed words, in numpy alone.

The default where there is neither a network nor a GPU, and the baseline of every table. A spec says
``classic`` or ``classic dim=4096``. Pictures and videos share ``classic/image``, so that stills find clips.

Nearest neighbours of the same label: fashion photos 0.72 by type and 0.48 by colour, product names 0.83 by type
(another product's name), both among 2,000 that no constant was chosen on; ESC-10 sounds 0.85.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quiver.encoders import _fingerprint
from quiver.encoders._tower import Tower, Towers, averaged
from quiver.encoders.classic import audio, image, text
from quiver.errors import BadSpec
from quiver.media import AudioReader, ImageReader, PairReader, TextReader, VideoReader
from quiver.protocols import Encoder, Reader
from quiver.types import KEYS, Floats, Space


def load(*, dim: int = 1024, frames: int = 8) -> Encoder:
    """Load the descriptors; there are no weights.

    Args:
        dim: width of ``classic/text``; the wider, the fewer words share a place.
        frames: pictures taken evenly from a video.

    Raises:
        BadSpec: dim or frames is not positive.
    """
    if dim < 1 or frames < 1:
        raise BadSpec(f"classic: dim and frames must be positive, not {dim} and {frames}")
    still = ImageReader(image.SIDE, fit="squash")
    pictures = {
        "image": Tower(still, image.describe),
        "video": Tower(VideoReader(frames=frames, image=still), averaged(image.describe, at_once=64)),
    }
    return Classic(
        (
            Towers(_space("text", dim, text.RECIPE), {"text": Tower(TextReader(), text.Describer(dim))}),
            Towers(_space("image", image.DIM, f"{image.RECIPE} {frames} frames"), pictures),
            Towers(
                _space("audio", audio.DIM, audio.RECIPE),
                {"audio": Tower(AudioReader(audio.RATE), audio.describe)},
            ),
            Towers(
                _space("pair", 3 * image.DIM, image.RECIPE),
                {"pair": Tower(PairReader(still), describe_pairs)},
            ),
        )
    )


@dataclass(frozen=True, slots=True)
class Classic:
    """Several encoders of one space each, as one.

    Attributes:
        parts: no key stands in two of them.
    """

    parts: tuple[Towers, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """All there are."""
        return tuple(key for key in KEYS if self.spaces(key))

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the one space of a key, or () for a foreign key."""
        return tuple(space for part in self.parts for space in part.spaces(key))

    def reader(self, key: str) -> Reader:
        """Return the decoder of a key: whole pictures squashed to 96 pixels, sound at 16 kHz."""
        return self._part(key).reader(key)

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed n outputs of ``reader(key)`` as (n, dim) float32 rows of length 1."""
        return self._part(key).embed(key, batch, space)

    def _part(self, key: str) -> Towers:
        for part in self.parts:
            if part.spaces(key):
                return part
        raise BadSpec(f"classic embeds {', '.join(self.keys)}, not {key}")


def describe_pairs(pairs: Sequence[tuple[Any, Any]]) -> Floats:
    """Describe n pairs of pictures: (n, 3 * DIM) float32: before, after, and their difference."""
    before, after = (image.describe([pair[side] for pair in pairs]) for side in (0, 1))
    return np.concatenate([before, after, after - before], axis=1)


def _space(name: str, dim: int, recipe: str) -> Space:
    return Space(f"classic/{name}", dim, "cosine", _fingerprint.of_parts(name, str(dim), recipe))
