"""Access to video frames by time, through key frames.

Times are in ticks of the stream's time base.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from quiver.errors import BadMedia
from quiver.media.container import CUED, check_length, is_indexed

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_PIXELS = 89_478_485  # of a frame


class NoVideo(BadMedia):
    """A video container has only sound."""


def time_of(frame: "VideoFrame") -> int:
    """Return the presentation time of a frame.

    Raises:
        BadMedia: the file has no times.
    """
    time = frame.dts if frame.pts is None else frame.pts
    if time is None:
        raise BadMedia("its frames have no times")
    return time


class Clip:
    """The first video stream of a container, read forwards; it skips to a key frame if that saves decoding.

    Attributes:
        base: seconds per tick.
        span: ticks from the first frame to the end of the last.
    """

    def __init__(self, container: "InputContainer") -> None:
        """Find the stream and its key frames, and decode the first frame.

        Raises:
            BadMedia: no video, too large a picture, or a file without its end.
        """
        self._container = container
        self._stream = _stream(container)
        self._timeline = _timeline(container, self._stream)
        self.base = self._stream.time_base or Fraction(1, 1000)
        self.span = self._timeline.span
        self._decoded = 0
        self._shown: VideoFrame
        self._ahead: VideoFrame | None
        if not self._restart():
            raise BadMedia("holds no frame that can be decoded")
        self._origin = time_of(self._shown)

    def at(self, tick: int) -> "VideoFrame":
        """Return the frame shown ``tick`` ticks after the first; ticks may not fall from call to call.

        Raises:
            BadMedia: the clip cannot be decoded so far.
        """
        time = self._origin + tick
        self._skip(time)
        while self._ahead is not None and time_of(self._ahead) <= time:
            self._shown, self._ahead = self._ahead, next(self._frames, None)
        lost = self._ahead is None and time_of(self._shown) < self._timeline.last
        if lost or self._shown.is_corrupt:
            seconds = float((time_of(self._shown) - self._origin) * self.base)
            raise BadMedia(f"cannot be decoded after {seconds:.2f} s: {self._decoded} frames were read")
        return self._shown

    def _skip(self, time: int) -> None:
        keys = self._timeline.keys
        last = bisect_right(keys, time) - 1
        if self._ahead is None or last < 0 or keys[last] <= time_of(self._ahead):
            return
        back = 0
        while True:
            self._container.seek(keys[last - back], stream=self._stream)
            # Containers miss: some give the time of decoding, which comes before that of showing, some land on the
            # key frame after. Then start further back.
            landed = self._restart() and self._shown.key_frame and time_of(self._shown) <= time
            if landed or back == last:
                return
            back = min(last, 2 * back + 1)

    def _restart(self) -> bool:
        """Decode from the container's position; False if there is no frame."""
        self._frames = self._decode()
        first = next(self._frames, None)
        if first is None:
            self._ahead = None
            return False
        self._shown, self._ahead = first, next(self._frames, None)
        return True

    def _decode(self) -> Iterator["VideoFrame"]:
        from av import FFmpegError

        try:
            for frame in self._container.decode(self._stream):
                self._decoded += 1
                yield frame
        except FFmpegError as error:
            raise BadMedia(f"cannot be decoded after {self._decoded} frames: {error.strerror}") from error


def _stream(container: "InputContainer") -> "VideoStream":
    from av.stream import Disposition

    covers = Disposition.attached_pic
    stream = next((video for video in container.streams.video if not video.disposition & covers), None)
    if stream is None:
        raise NoVideo("holds sound, but no video") if container.streams.audio else BadMedia("holds no video")
    if stream.width * stream.height > _PIXELS:
        raise BadMedia(f"has {stream.width}x{stream.height} pixels, more than {_PIXELS:,}")
    stream.codec_context.thread_count = 1  # many clips are read at a time, each by its own process
    return stream


@dataclass(frozen=True, slots=True)
class _Timeline:
    keys: Sequence[int]  # presentation times of key frames, ascending
    last: int  # presentation time of the last frame
    span: int


#: Timelines of files without a list of packets, by path, size and time of change: each is read through once.
_SCANNED: dict[tuple[str, int, int], _Timeline] = {}
_SCANNED_MOST = 256


def _timeline(container: "InputContainer", stream: "VideoStream") -> _Timeline:
    if not is_indexed(container, stream) or not stream.duration:
        return _cued(container, stream) or _scanned(container, stream)
    entries = list(stream.index_entries)
    # A seek goes by times of presentation: with a time of decoding it lands on the key frame before.
    delay = max(0, (stream.start_time or 0) - min(entry.timestamp for entry in entries))
    keys = sorted(entry.timestamp + delay for entry in entries if entry.is_keyframe)
    # The index and the duration count in times of decoding: only packets tell when the last frame is shown, and it
    # comes after the last key frame.
    if keys:
        container.seek(keys[-1], stream=stream)
    first = stream.start_time or 0
    last = max((at for at, _ in _packets(container, stream)), default=first)
    _rewind(container, stream, first)
    gap = (last - first) // max(1, len(entries) - 1)
    return _Timeline(keys, last, max(stream.duration, last - first + max(1, gap)))


def _cued(container: "InputContainer", stream: "VideoStream") -> _Timeline | None:
    """Find key frames by the cues of a Matroska file, and its end by what follows the last of them.

    Returns:
        None where there are no cues, or where they do not agree with what follows.
    """
    from av import FFmpegError

    first = stream.start_time
    if container.format.name != CUED or not container.duration or first is None:
        return None
    try:
        container.seek(container.duration)  # only a seek reads the cues
        keys = sorted(entry.timestamp for entry in stream.index_entries if entry.is_keyframe)
        if len(keys) > 1:
            container.seek(keys[-1], stream=stream)
            times, finish = _ends(container, stream)
            if times and min(times) <= keys[-1] <= max(times) and keys[0] <= first + int(1 / (stream.time_base or 1)):
                check_length(container, finish)
                times = sorted(times)
                gap = (times[-1] - times[0]) // (len(times) - 1) if len(times) > 1 else times[-1] - keys[-2]
                _rewind(container, stream, first)
                return _Timeline(keys, times[-1], times[-1] - first + max(1, gap))
    except FFmpegError:
        pass  # a damaged list of cues: the packets tell
    _rewind(container, stream, first)
    return None


def _ends(container: "InputContainer", stream: "VideoStream") -> tuple[list[int], float]:
    """Return the times of the frames from the container's position, and when its last packet ends (s)."""
    times, finish = [], 0.0
    for at, packet in _packets(container, *container.streams):
        finish = max(finish, float((at + (packet.duration or 0)) * packet.time_base))
        times += [at] if packet.stream_index == stream.index else []
    return times, finish


def _scanned(container: "InputContainer", stream: "VideoStream") -> _Timeline:
    """Scan a container, unless the same file was scanned before by this process."""
    path = container.name.removeprefix("file:")
    try:
        stamp = os.stat(path)
    except OSError:  # bytes
        return _scan(container, stream)
    name = (path, stamp.st_size, stamp.st_mtime_ns)
    found = _SCANNED.get(name)
    if found is None:
        found = _scan(container, stream)
        while len(_SCANNED) >= _SCANNED_MOST:
            _SCANNED.pop(next(iter(_SCANNED)), None)
        _SCANNED[name] = found
    return found


def _scan(container: "InputContainer", stream: "VideoStream") -> _Timeline:
    """Read the packets of the whole file, decoding none: it has no list of them."""
    times: list[tuple[int, int]] = []
    keys, finish = [], 0.0
    for at, packet in _packets(container, *container.streams):
        length = packet.duration or 0
        finish = max(finish, float((at + length) * packet.time_base))
        if packet.stream_index == stream.index:
            times.append((at, length))
            keys += [at] if packet.is_keyframe else []
    if not times:
        raise BadMedia("holds no video frames with a time: convert it, for example to MP4")
    check_length(container, finish)
    if container.format.name == "avi" and len(times) < stream.frames:
        raise BadMedia(f"is truncated: {len(times)} of its {stream.frames} frames are present")
    times.sort()
    (first, _), (last, length) = times[0], times[-1]
    _rewind(container, stream, first)
    return _Timeline(sorted(keys), last, last - first + (length or (last - first) // max(1, len(times) - 1) or 1))


def _packets(container: "InputContainer", *streams: "Stream") -> Iterator[tuple[int, "Packet[Any]"]]:
    """Yield the packets from the container's position, each with its time."""
    for count, packet in enumerate(container.demux(*streams)):
        at = packet.dts if packet.pts is None else packet.pts
        if packet.is_corrupt:
            raise BadMedia(f"is truncated or damaged after {count} packets")
        if packet.size and at is not None and not packet.is_discard:
            yield at, packet


def _rewind(container: "InputContainer", stream: "VideoStream", first: int) -> None:
    from av import FFmpegError

    # A transport stream lands on the key frame after the time asked; some others refuse a time before the first.
    earlier = max(0, first - int(1 / (stream.time_base or 1)))
    try:
        container.seek(earlier, stream=stream)
    except FFmpegError:
        container.seek(first, stream=stream)
