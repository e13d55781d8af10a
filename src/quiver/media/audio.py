"""Audio reader: mono float32 at the requested rate, by soundfile, or by PyAV for formats that soundfile cannot read.

Rates are in hertz, lengths in seconds or samples.
"""

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadMedia, BadSpec, QuiverError
from quiver.media.container import CUED, check_length, is_indexed, open_container
from quiver.media.fetch import Buffer, content, decoding, head, moment, times

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from soundfile import SoundFile

Samples = NDArray[np.float32]

RATES = range(1_000, 10_000_001)
#: Samples of all channels in one block: headers can claim any length, so memory is allocated block by block.
BLOCK = 1 << 18
# The filter of soxr HQ looks ahead: with this much more input (s), the beginning is the same as in the whole sound.
_MARGIN = 0.1
# Lossy decoders overshoot full scale by a little; beyond this the file holds integers called floats.
_PEAK = 16.0
# libsndfile's log of a data chunk that says it is longer than the file. Half the range of the field and more is
# what programs write that do not know the length yet.
_SHORT = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.M)
_UNKNOWN = 0x7FFF0000
_SLOPPY = 64  # bytes by which some writers miscount
_VORBIS = 8192  # samples in the longest block of Vorbis: some files promise a part of one more
_ENDLESS = 1 << 62  # samples: libsndfile gives about 2**63 where it cannot tell
_SKIP = 2.0  # below this start (s) nothing is gained by skipping
_LATE = "the sound has ended before its window begins, at"
_MALFORMED = 2  # libsndfile: it knows the format but this file breaks it


@dataclass(frozen=True, slots=True)
class AudioReader:
    """Reads one sound.

    Attributes:
        rate: sampling rate of the output (Hz).
        seconds: maximum duration from the beginning; None for all.

    Raises:
        BadSpec: the rate or the length is not positive.
    """

    rate: int
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.rate not in RATES:
            raise BadSpec(f"rate must be from {RATES[0]} to {RATES[-1]} Hz, not {self.rate}")
        if self.seconds is not None and not 0 < self.seconds < np.inf:
            raise BadSpec(f"seconds must be positive and finite, not {self.seconds}")

    def __call__(self, source: Any) -> Samples:
        """Return (samples,) float32 in [-1, 1]: the mean of the channels, resampled by soxr (HQ).

        Args:
            source: path, ``file://`` URI, span, moment (whose beginning then is the beginning), bytes, or float array
                (samples,) that has the rate already. The first sound track of a video will do.

        Raises:
            BadMedia: it has no sound, it is damaged or truncated, a sample is not finite, or a moment is empty
                or begins after the end.
        """
        with decoding(source):
            if isinstance(source, np.ndarray):
                return self._finish(_checked(source), self.seconds)
            start, seconds = self._window(source)
            return self._made(*_read(content(source), start, seconds), start, seconds)

    def moments(self, source: str, spans: Sequence[tuple[float, float]]) -> Iterator[Samples | QuiverError]:
        """Yield the samples of windows of one file, or the error of each; the file is decoded in one pass.

        Args:
            source: path, ``file://`` URI or span.
            spans: start and stop of each window (s), with ascending starts.
        """
        with ExitStack() as stack:
            try:
                with decoding(source):
                    opened = content(source)
                    sound = _sound(opened)
                    if sound is None:
                        track = _Track(stack.enter_context(open_container(opened)), spans[0][0])
                    else:
                        stack.enter_context(sound)
            except QuiverError as error:
                yield from repeat(error, len(spans))
                return
            for start, stop in spans:
                seconds = stop - start if self.seconds is None else min(self.seconds, stop - start)
                try:
                    with decoding(moment(source, start, stop)):
                        if sound is None:
                            samples = self._made(*track.cut(start, seconds), start, seconds)
                        else:
                            samples = self._made(*_part(sound, start, seconds), start, seconds)
                except QuiverError as error:
                    yield error
                else:
                    yield samples

    def _made(self, samples: Samples, rate: int, lead: float, start: float, seconds: float | None) -> Samples:
        """Resample what was read, and leave out ``lead`` seconds before the start."""
        samples = _resampled(samples, rate, self.rate)[round(lead * self.rate) :]
        if not len(samples):
            raise BadMedia(f"{_LATE} {start:g} s")
        return self._finish(samples, seconds)

    def _window(self, source: Any) -> tuple[float, float | None]:
        """Return start and duration to read (s)."""
        if not isinstance(source, str | os.PathLike):
            return 0.0, self.seconds
        _, start, stop = times(source)
        if stop is not None and stop <= start:
            raise BadMedia(f"the window from {start:g} to {stop:g} s is empty")
        lengths = [length for length in (self.seconds, None if stop is None else stop - start) if length is not None]
        return start, min(lengths, default=None)

    def _finish(self, samples: Samples, seconds: float | None) -> Samples:
        if seconds is not None:
            samples = samples[: max(1, round(seconds * self.rate))]
        return np.clip(samples, -1.0, 1.0)


class _Track:
    """The first sound track of a container, decoded forwards once for many windows."""

    def __init__(self, container: "InputContainer", start: float) -> None:
        self.rate, begin, blocks = _track(container, start)
        _limit(None, self.rate, 0.0)
        self._blocks = iter(blocks)
        self._held: Samples = np.empty(0, np.float32)
        self._first = round(begin * self.rate)
        self._fault: Exception | None = None

    def cut(self, start: float, seconds: float) -> tuple[Samples, int, float]:
        """Return the samples of a window with a margin on both sides, their rate, and the time of those before it (s).

        Windows have ascending starts: samples before this one are dropped.

        Raises:
            BadMedia: the track cannot be decoded so far, or ends before.
        """
        stop = start + seconds
        low, high = max(0, round((start - _MARGIN) * self.rate)), round((stop + _MARGIN) * self.rate)
        parts, begin = [self._held], self._first
        count = begin + len(self._held)
        while count < high and (block := self._next()) is not None:
            parts.append(block)
            count += len(block)
            if count <= low:  # nothing of it is wanted
                parts, begin = [block[:0]], count
        whole = np.concatenate(parts)
        low = max(low, begin)
        self._held, self._first = whole[low - begin :], min(low, count)
        samples = self._held[: high - low]
        if not len(samples):
            raise self._fault or BadMedia(f"{_LATE} {start:g} s")
        if self._fault is not None and count < stop * self.rate:
            raise self._fault
        return samples, self.rate, start - low / self.rate

    def _next(self) -> Samples | None:
        if self._fault is not None:
            return None
        try:
            block = next(self._blocks, None)
            return None if block is None else _gather([block], None)
        except Exception as error:  # a library's own, which the caller names
            self._fault = error
            return None


def sound(source: Any, seconds: float | None = None) -> tuple[Samples, int]:
    """Return the samples of a sound (samples,) float32, the mean of its channels, and their own rate (Hz).

    Args:
        source: path, ``file://`` URI, span, or bytes.
        seconds: maximum duration from the beginning; None for all.

    Raises:
        BadMedia: see ``AudioReader``.
    """
    with decoding(source):
        samples, rate, _ = _read(content(source), 0.0, seconds)
        return samples if seconds is None else samples[: max(1, round(seconds * rate))], rate


def sound_seconds(ref: str) -> float:
    """Return the length of the sound of a file in seconds; nothing is decoded.

    Raises:
        BadMedia: there is no sound, its length is unknown, or the file is truncated.
    """
    opened = content(ref)
    sound = _sound(opened)
    if sound is not None:
        with sound:
            _check_size(sound)
            if not 0 < sound.frames < _ENDLESS:
                raise BadMedia("does not say how long its sound is: convert it, for example to FLAC")
            return float(sound.frames / sound.samplerate)
    with open_container(opened) as container:
        return packet_seconds(container)


def packet_seconds(container: "InputContainer") -> float:
    """Return the length of the first sound track in seconds, by its packets; see ``sound_seconds``."""
    if not container.streams.audio:
        raise BadMedia("holds no sound")
    stream = container.streams.audio[0]
    is_indexed(container, stream)
    ticks = [
        (packet.pts, packet.pts + (packet.duration or 0))
        for packet in container.demux(stream)
        if packet.size and packet.pts is not None
    ]
    if not ticks:
        raise BadMedia("does not say how long its sound is: convert it, for example to FLAC")
    seconds = float((max(end for _, end in ticks) - ticks[0][0]) * (stream.time_base or 1))
    if len(container.streams) == 1:
        check_length(container, seconds)
    return seconds


def _gather(blocks: Iterable[NDArray[np.float32]], limit: int | None) -> Samples:
    """Average the channels of (samples, channels) blocks, up to ``limit`` samples."""
    kept, count = [], 0
    for block in blocks:
        if not np.isfinite(block).all():
            raise BadMedia(f"has a sample that is not finite, within {len(block)} after sample {count}")
        kept.append(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1))
        count += len(block)
        if limit is not None and count >= limit:
            break
    if not count:
        raise BadMedia("holds no samples")
    samples = np.concatenate(kept)[:limit]
    if np.abs(samples).max() > _PEAK:
        raise BadMedia(f"has float samples up to {np.abs(samples).max():g}: full scale is 1")
    return samples


def _resampled(samples: Samples, source: int, target: int) -> Samples:
    if source == target:
        return samples
    import soxr

    resampled = soxr.resample(samples, source, target, quality="HQ")
    if not len(resampled):
        raise BadMedia(f"is too short: {len(samples)} samples of {source} Hz make none of {target} Hz")
    return resampled


def _checked(samples: NDArray[Any]) -> Samples:
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating) or not samples.size:
        raise BadMedia(f"a sound array is float (samples,), not {samples.dtype} {samples.shape}")
    return _gather([samples.astype(np.float32)[:, None]], None)


def _read(opened: str | Buffer, start: float, seconds: float | None) -> tuple[Samples, int, float]:
    """Return samples of a result of ``fetch.content``, their rate, and the time of the samples before ``start`` (s)."""
    sound = _sound(opened)
    if sound is not None:
        with sound:
            return _part(sound, start, seconds)
    with open_container(opened) as container:
        rate, begin, blocks = _track(container, start)
        return _gather(blocks, _limit(seconds, rate, start - begin)), rate, start - begin


def _part(sound: "SoundFile", start: float, seconds: float | None) -> tuple[Samples, int, float]:
    """Read a part of an open file; see ``_read``."""
    rate = sound.samplerate
    if start and start * rate >= sound.frames:
        raise BadMedia(f"{_LATE} {start:g} s")
    first = max(0, round((start - _MARGIN) * rate))
    if first != sound.tell():
        sound.seek(first)
    lead = start - first / rate
    limit = _limit(seconds, rate, lead)
    return _gather(_blocks(sound, first, limit), limit), rate, lead


def _limit(seconds: float | None, rate: int, lead: float) -> int | None:
    if rate not in RATES:
        raise BadMedia(f"claims {rate} samples per second")
    return None if seconds is None else round((lead + seconds + _MARGIN) * rate)


def _sound(opened: str | Buffer) -> "SoundFile | None":
    """Open with soundfile; None for unknown formats, and for MP3, for which it writes warnings to stderr."""
    from soundfile import LibsndfileError, SoundFile

    first = head(opened)
    if first[:3] == b"ID3" or (len(first) > 1 and first[0] == 0xFF and first[1] >= 0xE0):
        return None
    try:
        return SoundFile(opened if isinstance(opened, str) else _Memory(opened))
    except LibsndfileError as error:
        if error.code == _MALFORMED:
            raise BadMedia("is damaged or truncated") from error
        return None


class _Memory(io.BytesIO):
    """Byte stream that allows seeks before its beginning by damaged headers: libsndfile's callbacks cannot raise."""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Seek, but never before the beginning."""
        return super().seek(max(0, offset) if whence == os.SEEK_SET else offset, whence)


def _blocks(sound: "SoundFile", count: int, most: int | None = None) -> Iterator[Samples]:
    """Yield the samples after the first ``count``, in blocks of ``most`` samples at most."""
    _check_size(sound)
    size = max(1, BLOCK // sound.channels)
    size = size if most is None else max(1, min(size, most))
    while len(block := sound.read(size, dtype="float32", always_2d=True)):
        count += len(block)
        yield block
    if count + _VORBIS < sound.frames:
        raise BadMedia(f"is truncated: {count} of its {sound.frames} samples are present")


def _check_size(sound: "SoundFile") -> None:
    for said, found in _SHORT.findall(sound.extra_info):
        if int(found) + _SLOPPY < int(said) < _UNKNOWN:
            raise BadMedia(f"is truncated: {found} of its {said} bytes of sound are present")


def _track(container: "InputContainer", start: float) -> tuple[int, float, Iterator[Samples]]:
    """Return the rate of the first sound track, where reading begins (s), and its blocks from there.

    It skips what comes long before ``start`` in a container that lists its packets, and in Matroska, whose times are
    whole milliseconds; elsewhere a seek may land anywhere.
    """
    if not container.streams.audio:
        raise BadMedia("holds no sound")
    stream = container.streams.audio[0]
    listed = is_indexed(container, stream)
    skips = start > _SKIP and (listed or container.format.name == CUED)
    frames = container.decode(stream)
    first = next(frames, None)
    if first is None:
        raise BadMedia("holds no samples")
    origin, begin = first.time or 0.0, 0.0
    if skips:
        if listed:
            container.seek(int((origin + start - _MARGIN) / (stream.time_base or 1)), stream=stream)
        else:  # by the cues of the film
            container.seek(int((origin + start - _MARGIN) * 1e6))
        frames = container.decode(stream)
        first = next(frames, None)
        if not listed and (first is None or (first.time or 0.0) - origin > start):  # there are none, or too few
            container.seek(0)
            frames = container.decode(stream)
            first = next(frames, None)
        if first is None:
            raise BadMedia(f"{_LATE} {start:g} s")
        begin = (first.time or 0.0) - origin

    # A decoder may double the rate its header gives (HE-AAC): the frame knows.
    return first.sample_rate, begin, _planes(container, chain([first], frames), begin)


def _planes(container: "InputContainer", frames: Iterable["AudioFrame"], seconds: float) -> Iterator[Samples]:
    """Yield the samples of frames of which the first is ``seconds`` from the beginning."""
    from av import AudioResampler

    planar = AudioResampler(format="fltp")
    for frame in chain(frames, [None]):
        for plane in planar.resample(frame):
            seconds += plane.samples / plane.sample_rate
            yield plane.to_ndarray().T
    if len(container.streams) == 1:
        check_length(container, seconds)
