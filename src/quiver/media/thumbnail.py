"""Thumbnails for contact sheets; a sound is drawn as its waveform."""

from typing import Any

import numpy as np

from quiver.errors import BadSpec
from quiver.media.audio import AudioReader
from quiver.media.image import ImageReader, PairReader, Picture
from quiver.media.video import VideoReader

_RATE = 8_000
_INK, _PAPER = (40, 70, 120), 255


def thumbnail(source: Any, key: str, *, size: int = 160) -> Picture | None:
    """Draw one item.

    Args:
        source: input for the reader of this key; (before, after) for a pair.
        key: ``image``, ``video``, ``audio``, ``pair`` or ``text``.
        size: side in pixels.

    Returns:
        (size, size, 3) uint8 RGB, the whole picture padded with white; (size, 2 * size, 3) for a pair; None for text.

    Raises:
        BadMedia: the item cannot be read.
        BadSpec: there is no such key.
    """
    image = ImageReader(size, fit="pad", resample="bilinear")
    if key == "image":
        return image(source)
    if key == "video":
        return VideoReader(frames=1, image=image)(source)[0]
    if key == "pair":
        return np.concatenate(PairReader(image)(source), axis=1)
    if key == "audio":
        return _waveform(AudioReader(_RATE)(source), size)
    if key == "text":
        return None
    raise BadSpec(f"no thumbnail of {key!r}: key must be image, video, audio, pair or text")


def _waveform(samples: np.ndarray[Any, np.dtype[np.float32]], size: int) -> Picture:
    """Draw the lowest to highest sample of each column; the loudest sample reaches the edge."""
    edges = np.arange(size) * len(samples) // size
    scale = max(float(np.abs(samples).max()), 1e-6)
    low, high = (fold.reduceat(samples, edges) / scale for fold in (np.minimum, np.maximum))
    level = np.linspace(1, -1, size)[:, None]
    half = 1 / (size - 1) if size > 1 else 1.0
    picture = np.full((size, size, 3), _PAPER, np.uint8)
    picture[(level <= high + half) & (level >= low - half)] = _INK
    return picture
