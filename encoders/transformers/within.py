"""Pictures within a limit of pixels. Worker processes import this module, so it imports nothing heavy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quiver.protocols import Reader


@dataclass(frozen=True, slots=True)
class Within:
    """Reads one or several pictures, and shrinks those that have more pixels than a limit.

    Attributes:
        reader: reads a picture, a pair, or the frames of a video.
        pixels: the limit; sides keep their proportion.
    """

    reader: Reader
    pixels: int

    def __call__(self, source: Any) -> tuple[Any, ...]:
        """Return pictures (H, W, 3) uint8, at least one."""
        read = self.reader(source)
        whole: Iterable[Any] = [read] if isinstance(read, np.ndarray) and read.ndim == 3 else read
        return tuple(self._shrunk(picture) for picture in whole)

    def _shrunk(self, picture: Any) -> Any:
        height, width = picture.shape[:2]
        factor = (self.pixels / (height * width)) ** 0.5
        if factor >= 1:
            return picture
        from PIL import Image

        size = max(1, int(width * factor)), max(1, int(height * factor))
        return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
