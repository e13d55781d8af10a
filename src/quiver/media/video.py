"""Video reader: frames at equal time steps, as uint8 RGB. Times are in seconds from the first frame."""

import os
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadMedia, BadSpec
from quiver.media.animation import is_picture, read_animation
from quiver.media.clip import Clip, time_of
from quiver.media.container import open_container
from quiver.media.fetch import content, decoding, head, times
from quiver.media.image import ImageReader, Picture
from quiver.media.picture import quiet

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True, slots=True)
class VideoReader:
    """Reads frames of a clip.

    Attributes:
        frames: number of frames; frame i is shown at the centre of the i-th of that many equal intervals.
        image: reader that is applied to each frame.
        start: start of the window, in seconds from the first frame; None is 0.
        stop: end of the window (exclusive); None, or a time after the end, is the end of the clip.
        fps: intervals per second: a run of frames then takes ``frames / fps`` seconds, in the middle of the window,
            and repeats its last frame if the clip ends earlier; None spreads them over the window.
        runs: number of such runs, in the middles of that many equal parts of the window; they may overlap.

    Raises:
        BadSpec: no frames, no runs, an empty window, or several runs without ``fps``.
    """

    frames: int = 8
    image: ImageReader = field(default_factory=ImageReader)
    start: float | None = None
    stop: float | None = None
    fps: float | None = None
    runs: int = 1

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise BadSpec(f"frames must be at least 1, not {self.frames}")
        start = self.start or 0.0
        if not start >= 0 or (self.stop is not None and not self.stop > start):
            raise BadSpec(f"the window from {self.start} to {self.stop} s is empty or begins before the clip")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise BadSpec(f"fps must be positive and finite, not {self.fps}")
        if self.runs < 1 or (self.runs > 1 and self.fps is None):
            raise BadSpec(f"runs must be at least 1, and several need fps, not {self.runs} with fps={self.fps}")

    def __call__(self, source: Any) -> Picture:
        """Return (runs * frames, H, W, 3) uint8 RGB; a clip with fewer frames repeats them.

        Args:
            source: path, ``file://`` URI, span, moment (to which ``start`` and ``stop`` are relative), bytes, PIL
                image (animated or not), uint8 array (H, W, 3), or uint8 array (T, H, W, 3) of frames at even
                distances, which has no clock: it takes no window, and each run is spread over all of it.

        Raises:
            BadMedia: it has no video, is damaged or truncated, or the window begins after its end.
        """
        if isinstance(source, str | os.PathLike):
            whole, start, stop = times(source)
            if whole != os.fspath(source):
                with decoding(source):
                    reader = self._within(start, stop)
                return reader(whole)
        return self._read(source)

    def _within(self, start: float, stop: float | None) -> "VideoReader":
        """Return the reader whose own window lies in a window of the clip."""
        first = start + (self.start or 0.0)
        ends = [end for end in (stop, None if self.stop is None else start + self.stop) if end is not None]
        last = min(ends, default=None)
        if last is not None and last <= first:
            raise BadMedia(f"the window from {first:g} to {last:g} s is empty")
        return replace(self, start=first, stop=last)

    def _read(self, source: Any) -> Picture:
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
        shown: dict[int, int] = {}
        ticks = self._ticks(clip.span, clip.base)
        for tick in sorted(set(ticks)):
            frame = clip.at(tick)
            shown[tick] = time_of(frame)
            if shown[tick] not in pictures:
                pictures[shown[tick]] = self._arrange(frame)
        return np.stack([pictures[shown[tick]] for tick in ticks])

    def _arrange(self, frame: "VideoFrame") -> Picture:
        # Threads cost more than they save on one frame, and workers are processes anyway.
        array = frame.to_ndarray(format="rgb24", threads=1)
        return self.image(np.rot90(array, frame.rotation // 90) if frame.rotation else array)

    def _sample(self, clip: NDArray[Any]) -> Picture:
        if self.start is not None or self.stop is not None:
            raise BadMedia("an array of frames has no clock: cut it instead of giving start and stop")
        if not len(clip):
            raise BadMedia("holds no frames")
        spread = replace(self, fps=None, runs=1)._ticks(len(clip), Fraction(1))
        return np.stack([self.image(clip[at]) for at in spread] * self.runs)

    def _ticks(self, span: int, base: Fraction) -> list[int]:
        """Return the times of the wanted frames, in ticks of ``base`` seconds, of a clip of ``span`` ticks."""
        start = 0 if self.start is None else round(self.start / base)
        stop = span if self.stop is None else min(span, round(self.stop / base))
        if start >= span:
            raise BadMedia(f"the window begins at {self.start:g} s but the clip lasts {float(span * base):g} s")
        # Whole numbers throughout: a centre on the border of two frames must not depend on rounding.
        if self.fps is None:
            return [start + (2 * i + 1) * (stop - start) // (2 * self.frames) for i in range(self.frames)]
        step = 1 / (Fraction(self.fps).limit_denominator(10_000) * base)
        slack = max(Fraction(0), stop - start - self.frames * step)
        firsts = [start + slack * (2 * run + 1) / (2 * self.runs) for run in range(self.runs)]
        return [min(stop - 1, int(first + step * (2 * i + 1) / 2)) for first in firsts for i in range(self.frames)]
