"""Video reader: frames at equal time steps, as uint8 RGB. Times are in seconds from the first frame."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadMedia, BadSpec, QuiverError
from quiver.media.animation import is_picture, read_animation
from quiver.media.clip import Clip, time_of
from quiver.media.container import open_container
from quiver.media.fetch import content, decoding, head, moment, times
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

    def moments(self, source: str, spans: Sequence[tuple[float, float]]) -> Iterator[Picture | QuiverError]:
        """Yield the frames of windows of one file: what a call with each moment returns, or the error that it raises.

        The file is read in one pass: a frame that several windows show is decoded once. After a window that cannot be
        decoded it is opened again behind the damage.

        Args:
            source: path, ``file://`` URI or span.
            spans: start and stop of each window (s), about in the order of the file: frames of later windows wait.
        """
        done = 0
        while done < len(spans):
            for picture in self._pass(source, spans[done:]):
                done += 1
                yield picture

    def _pass(self, source: str, spans: Sequence[tuple[float, float]]) -> Iterator[Picture | QuiverError]:
        """Read windows until one cannot be decoded, at least one."""
        with ExitStack() as stack:
            try:
                with decoding(source):
                    opened = content(source)
                    film = None if is_picture(head(opened)) else Clip(stack.enter_context(open_container(opened)))
            except QuiverError as error:
                yield from repeat(error, len(spans))
                return
            walk = None if film is None else _Walk(self, film, spans)
            for n, span in enumerate(spans):
                name = moment(source, *span)
                try:
                    with decoding(name):
                        picture = self(name) if walk is None else walk.read(n)
                except QuiverError as error:
                    yield error
                    return
                yield picture

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
        return _Walk(self, clip, [(0.0, None)]).read(0)

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


class _Walk:
    """One pass over a clip that collects the frames of windows."""

    def __init__(self, reader: VideoReader, clip: Clip, spans: Sequence[tuple[float, float | None]]) -> None:
        self._reader, self._clip, self._spans = reader, clip, spans
        self._plans: dict[int, list[int]] = {}
        self._faults: dict[int, BadMedia] = {}
        for n, span in enumerate(spans):
            try:
                self._plans[n] = reader._within(*span)._ticks(clip.span, clip.base)
            except BadMedia as error:
                self._faults[n] = error
        self._ahead = deque(sorted({tick for ticks in self._plans.values() for tick in ticks}))
        #: By window: the first tick that a later window needs.
        firsts = [min(self._plans.get(n, [clip.span])) for n in range(1, len(spans))]
        self._needed = [*reversed(list(accumulate(reversed(firsts), min))), clip.span]
        self._pictures: dict[int, Picture] = {}
        self._latest: tuple[int | None, Picture | None] = (None, None)

    def read(self, n: int) -> Picture:
        """Return the frames of window n; windows before it are not asked for any more.

        Raises:
            BadMedia: the clip cannot be decoded so far, or the window begins after its end.
        """
        if n in self._faults:
            raise self._faults[n]
        ticks = self._plans[n]
        while self._ahead and self._ahead[0] <= max(ticks):
            tick = self._ahead.popleft()
            self._pictures[tick] = self._at(tick)
        pictures = np.stack([self._pictures[tick] for tick in ticks])
        self._pictures = {tick: each for tick, each in self._pictures.items() if tick >= self._needed[n]}
        return pictures

    def _at(self, tick: int) -> Picture:
        frame = self._clip.at(tick)
        time = time_of(frame)
        if self._latest[0] != time or self._latest[1] is None:
            self._latest = time, self._reader._arrange(frame)
        picture = self._latest[1]
        assert picture is not None, "just set"
        return picture
