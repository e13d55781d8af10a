"""Picture readers: a file, an array or a pair becomes upright, opaque uint8 RGB of the requested size.

Lengths are in pixels. A size in an argument is (height, width), as in torchvision; inside, as in Pillow, width
comes first.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadMedia, BadSpec
from quiver.media.fetch import decoding
from quiver.media.picture import (
    Box,
    check_decoded,
    draft,
    opaque,
    open_picture,
    orientation,
    quiet,
    scales,
    shrunk,
    upright,
)

if TYPE_CHECKING:
    from PIL.Image import Image

Picture = NDArray[np.uint8]
Fit = Literal["crop", "squash", "pad"]
_TARGET = 89_478_485  # pixels that a picture may be resized to
Resample = Literal["bicubic", "bilinear", "lanczos", "nearest"]


@dataclass(frozen=True, slots=True)
class ImageReader:
    """Reads one picture.

    Attributes:
        size: side of the square output, or (height, width); None keeps the picture's size.
        shorter: ``crop`` first resizes the shorter side to this (default: the longer side of ``size``).
        fit: ``crop`` the centre, ``squash`` to size, or ``pad`` around the whole picture.
        resample: the filter; the numbers are those of torchvision's Resize and CenterCrop on Pillow images.
        fill: grey level, 0 to 255, behind transparent pixels and around a padded picture.

    Raises:
        BadSpec: a length is not positive, or ``shorter`` and ``size`` do not fit together.
    """

    size: int | tuple[int, int] | None = None
    shorter: int | None = None
    fit: Fit = "crop"
    resample: Resample = "bicubic"
    fill: int = 255

    def __post_init__(self) -> None:
        sides = self._sides() or (1, 1)
        if min(sides) < 1 or (self.shorter is not None and self.shorter < 1):
            raise BadSpec(f"size and shorter must be positive, not {self.size} and {self.shorter}")
        if self.fit not in get_args(Fit) or self.resample not in get_args(Resample):
            raise BadSpec(f"no such fit or resample: {self.fit!r}, {self.resample!r}")
        if self.shorter is not None and (self.fit != "crop" or self.shorter < max(sides)):
            raise BadSpec(f"shorter={self.shorter} goes with fit=crop and may not be less than size={self.size}")
        if not 0 <= self.fill <= 255:
            raise BadSpec(f"fill must be a grey level from 0 to 255, not {self.fill}")

    def __call__(self, source: Any) -> Picture:
        """Return (H, W, 3) uint8 RGB, writable and C-contiguous.

        A large JPEG is decoded at a half, a quarter or an eighth of its size, as long as that is at least twice
        the size it is resized to, and so is another picture of more than 89 million pixels; all else is exact.

        Args:
            source: path, ``file://`` URI, span, bytes, PIL image, or uint8 array (H, W), (H, W, 3) or (H, W, 4).

        Raises:
            BadMedia: it is not a picture, empty, damaged or truncated, or it has more than 268 million pixels (a JPEG
                after scaling; see ``picture.allow``).
            MissingExtra: it is a HEIC picture, and pillow-heif is not installed.
        """
        with decoding(source), quiet():
            return self.arrange(open_picture(source))

    def arrange(self, picture: "Image") -> Picture:
        """Return an open picture upright, opaque and fitted: (H, W, 3) uint8 RGB."""
        if not scales(picture):
            picture.load()  # a TIFF turns itself, and a PNG may tell its orientation only at its end
        turn = orientation(picture)
        full = picture.size[::-1] if turn > 4 else picture.size
        target = self._target(*full)
        region = draft(picture, target, turn) if target else None
        if scales(picture):
            check_decoded(picture)
        elif target:
            picture = shrunk(picture, target[::-1] if turn > 4 else target)
            full = picture.size[::-1] if turn > 4 else picture.size
        picture = opaque(upright(picture, turn), self.fill)
        return np.array(self._fit(picture, target, region or (0.0, 0.0, *full)) if target else picture)

    def _sides(self) -> tuple[int, int] | None:
        """Return (width, height) of the output."""
        if self.size is None:
            return None
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[1], self.size[0])

    def _target(self, width: int, height: int) -> tuple[int, int] | None:
        """Return the (width, height) to resize to, before cropping and padding; None to leave it."""
        sides = self._sides()
        if self.fit == "crop" and (sides or self.shorter):
            short = self.shorter or max(sides or (1,))
            target = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
        elif sides is None or self.fit == "squash":
            return sides
        elif width * sides[1] >= height * sides[0]:
            target = (sides[0], max(1, round(height / width * sides[0])))
        else:
            target = (max(1, round(width / height * sides[1])), sides[1])
        if target[0] * target[1] > _TARGET:
            raise BadMedia(f"{width}x{height} px is too elongated for a shorter side of {min(target)} px: use fit=pad")
        return target

    def _fit(self, picture: "Image", target: tuple[int, int], region: Box) -> "Image":
        from PIL import Image

        sides, resample = self._sides() or target, Image.Resampling[self.resample.upper()]
        if sides == target:
            return picture.resize(target, resample, region)
        left, top = (round((have - want) / 2) for have, want in zip(target, sides, strict=True))
        if self.fit == "pad":
            canvas = Image.new("RGB", sides, (self.fill,) * 3)
            canvas.paste(picture.resize(target, resample, region), (-left, -top))
            return canvas
        box = _inside(region, target=target, first=left, kept=sides)
        if box is not None:
            return picture.resize(sides, resample, box)
        return picture.resize(target, resample, region).crop((left, top, left + sides[0], top + sides[1]))


@dataclass(frozen=True, slots=True)
class PairReader:
    """Reads the two pictures of a pair with the same reader."""

    image: ImageReader

    def __call__(self, source: Any) -> tuple[Picture, Picture]:
        """Return (before, after), each as ``image`` gives it.

        Raises:
            BadMedia: there are not exactly two pictures, or one cannot be read.
        """
        if not isinstance(source, tuple | list) or len(source) != 2:
            raise BadMedia("a pair is (before, after): two pictures")
        return self.image(source[0]), self.image(source[1])


def _inside(region: Box, *, target: tuple[int, int], first: int, kept: tuple[int, int]) -> Box | None:
    """Return the part of a square picture that a square crop keeps, if resizing only this part changes no bit.

    Pillow holds the box in float32: a corner that is a multiple of 1/1024 below 16384 is exact there. Off the
    square, cropping first can change which of its two passes Pillow runs first, and with it the rounding.
    """
    side = region[2]
    if region != (0.0, 0.0, side, side) or target[0] != target[1] or kept[0] != kept[1] or side >= 16384:
        return None
    low, high = first * side / target[0], (first + kept[0]) * side / target[0]
    return (low, low, high, high) if (low * 1024).is_integer() and (high * 1024).is_integer() else None
