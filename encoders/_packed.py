"""Texts and pictures as rows of float32: for scorers that read an item itself, and not a vector of it.

A text is the numbers of its characters. A picture is its height, its width, and a number for each pixel, which holds
red, green and blue in 24 bits; float32 holds whole numbers up to 2**24 exactly. What is left of a row is 0.
Worker processes import this module, so it imports nothing heavy. Shapes: n rows, H height, W width.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.media import ImageReader
from quiver.types import Floats

#: Numbers before the pixels of a picture: height and width.
SIDES = 2


def pack_texts(texts: Sequence[str], width: int) -> Floats:
    """Write the first characters of texts as numbers: (n, width)."""
    rows = np.zeros((len(texts), width), np.float32)
    for row, text in zip(rows, texts, strict=True):
        kept = text[:width]
        row[: len(kept)] = [ord(character) for character in kept]
    return rows


def unpack_texts(rows: Iterable[Any]) -> list[str]:
    """Read texts from rows."""
    return ["".join(chr(int(number)) for number in row if number) for row in rows]


def pack_pictures(pictures: Sequence[NDArray[np.uint8]], pixels: int) -> Floats:
    """Write pictures (H, W, 3) of at most ``pixels`` pixels as numbers: (n, SIDES + pixels)."""
    rows = np.zeros((len(pictures), SIDES + pixels), np.float32)
    for row, picture in zip(rows, pictures, strict=True):
        height, width = picture.shape[:2]
        row[:SIDES] = height, width
        colours = picture.reshape(-1, 3).astype(np.uint32)
        row[SIDES : SIDES + height * width] = colours[:, 0] << 16 | colours[:, 1] << 8 | colours[:, 2]
    return rows


def unpack_pictures(rows: Iterable[Any]) -> list[NDArray[np.uint8]]:
    """Read pictures (H, W, 3) from rows."""
    return [_unpacked(np.asarray(row)) for row in rows]


def _unpacked(row: Floats) -> NDArray[np.uint8]:
    height, width = (int(side) for side in row[:SIDES])
    numbers = row[SIDES : SIDES + height * width].astype(np.uint32)
    colours = np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], axis=1)
    return colours.astype(np.uint8).reshape(height, width, 3)


@dataclass(frozen=True, slots=True)
class Small:
    """Reads a picture, and shrinks it if it has more pixels than a limit; its sides keep their proportion.

    Attributes:
        pixels: the limit.
    """

    pixels: int

    def __call__(self, source: Any) -> Any:
        """Return (H, W, 3) uint8, with H W at most ``pixels``."""
        from PIL import Image

        picture = ImageReader()(source)
        height, width = picture.shape[:2]
        factor = (self.pixels / (height * width)) ** 0.5
        if factor >= 1:
            return picture
        short = max(1, int(min(height, width) * factor))
        long = min(max(1, int(max(height, width) * factor)), self.pixels // short)
        size = (long, short) if width >= height else (short, long)
        return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
