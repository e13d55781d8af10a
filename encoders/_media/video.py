"""Video: frames at even distances in time, as uint8 RGB. Times are in seconds from the first frame."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quiver.encoders._media.animation import is_picture, read_animation
from quiver.encoders._media.clip import Clip, time_of
from quiver.encoders._media.container import open_container
from quiver.encoders._media.fetch import content, decoding, head
from quiver.encoders._media.image import ImageReader, Picture
from quiver.encoders._media.picture import quiet
from quiver.errors import BadMedia, BadSpec

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True, slots=True)
class VideoReader:
    """Reads frames of a clip.

    Attributes:
        frames: how many; frame i is the one shown at the centre of the i-th of as many equal intervals.
        image: what is done to each frame.
        start: where the window begins, in seconds from the first frame; None is 0.
        stop: where it ends (not included); None, or a time after the end, is the end of the clip.

    Raises:
        BadSpec: no frames, or an empty window.
    """

    frames: int = 8
    image: ImageReader = field(default_factory=ImageReader)
    start: float | None = None
    stop: float | None = None

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise BadSpec(f"frames must be at least 1, not {self.frames}")
        start = self.start or 0.0
        if not start >= 0 or (self.stop is not None and not self.stop > start):
            raise BadSpec(f"the window from {self.start} to {self.stop} s is empty or begins before the clip")

    def __call__(self, source: Any) -> Picture:
        """Return (frames, H, W, 3) uint8 RGB; a clip with fewer frames repeats them.

        Args:
            source: path, ``file://`` URI, span, bytes, PIL image (animated or not), uint8 array (H, W, 3), or uint8
                array (T, H, W, 3) of frames at even distances, which has no clock and so takes no window.

        Raises:
            BadMedia: there is no video in it, it is damaged, its end is missing, or the window begins after it.
        """
        from PIL.Image import Image

        with decoding(source), quiet():
            if isinstance(source, np.ndarray) and source.ndim == 4:
                return self._sample(source)
            if isinstance(source, np.ndarray | Image):
                return read_animation(source, image=self.image, choose=self._ticks)
            opened = content(source)
            if is_picture(head(opened)):
                return read_animation(source, image=self.image, choose=self._ticks)
            with open_container(opened) as container:
                return self._decode(Clip(container))

    def _decode(self, clip: Clip) -> Picture:
        pictures: dict[int, Picture] = {}
        order = []
        for tick in self._ticks(clip.span, clip.base):
            frame = clip.at(tick)
            if time_of(frame) not in pictures:
                pictures[time_of(frame)] = self._arrange(frame)
            order.append(pictures[time_of(frame)])
        return np.stack(order)

    def _arrange(self, frame: "VideoFrame") -> Picture:
        # Threads cost more than they save on one frame, and workers are processes anyway.
        array = frame.to_ndarray(format="rgb24", threads=1)
        return self.image(np.rot90(array, frame.rotation // 90) if frame.rotation else array)

    def _sample(self, clip: NDArray[Any]) -> Picture:
        if self.start is not None or self.stop is not None:
            raise BadMedia("an array of frames has no clock: cut it instead of giving start and stop")
        if not len(clip):
            raise BadMedia("holds no frames")
        return np.stack([self.image(clip[at]) for at in self._ticks(len(clip), Fraction(1))])

    def _ticks(self, span: int, base: Fraction) -> list[int]:
        """Return when the frames are wanted, in ticks of ``base`` seconds, of a clip of ``span`` ticks."""
        start = 0 if self.start is None else round(self.start / base)
        stop = span if self.stop is None else min(span, round(self.stop / base))
        if start >= span:
            raise BadMedia(f"the window begins at {self.start:g} s but the clip lasts {float(span * base):g} s")
        # Whole numbers throughout: a centre on the border of two frames must not depend on rounding.
        return [start + (2 * i + 1) * (stop - start) // (2 * self.frames) for i in range(self.frames)]
