"""Frames of stills and animations (GIF, APNG, WebP), read by Pillow for the video reader."""

from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from quiver.media.image import ImageReader, Picture
from quiver.media.picture import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

_MAGIC = (b"GIF8", b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")
_MILLISECOND = Fraction(1, 1000)
# Browsers show a frame without duration this long.
_DEFAULT_MS = 100


def is_picture(first: bytes) -> bool:
    """Whether Pillow, not a video decoder, opens a file with these first 12 or more bytes."""
    return first.startswith(_MAGIC) or (first[:4] == b"RIFF" and first[8:12] == b"WEBP")


def read_animation(source: Any, *, image: ImageReader, choose: Callable[[int, Fraction], list[int]]) -> Picture:
    """Read chosen frames.

    Args:
        source: as for ``open_picture``.
        image: reader that is applied to each frame.
        choose: function from the length of the animation in milliseconds to the wanted times in milliseconds.

    Returns:
        (number of wanted times, H, W, 3) uint8.
    """
    picture = open_picture(source)
    ends = list(accumulate(_durations(picture)))
    wanted = [int(np.searchsorted(ends, at, side="right")) for at in choose(ends[-1], _MILLISECOND)]
    pictures = {}
    for at in sorted(set(wanted)):
        if len(ends) > 1:
            picture.seek(at)
        pictures[at] = image.arrange(picture)
    return np.stack([pictures[at] for at in wanted])


def animation_seconds(source: Any) -> float:
    """Return the length of an animation in seconds; a still lasts 1 ms."""
    return float(sum(_durations(open_picture(source))) * _MILLISECOND)


def _durations(picture: "Image") -> list[int]:
    """Return the length of each frame in milliseconds; a still is one frame."""
    frames: int = getattr(picture, "n_frames", 1)
    if frames == 1:
        return [1]
    durations = []
    for at in range(frames):
        picture.seek(at)
        picture.load()
        durations.append(round(picture.info.get("duration") or _DEFAULT_MS))
    picture.seek(0)
    return durations
