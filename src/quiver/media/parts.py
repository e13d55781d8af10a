"""Parts of a sound whose places depend on its length: what lies between them is skipped where that is possible.

Rates are in hertz, lengths and places in samples unless said otherwise.
"""

import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from quiver.errors import BadMedia
from quiver.media import audio
from quiver.media.audio import AudioReader, Samples
from quiver.media.container import CUED, check_length, is_indexed, open_container
from quiver.media.fetch import Buffer, content, decoding

if TYPE_CHECKING:
    from av.container import InputContainer
    from soundfile import SoundFile

#: Microseconds before the end of a film from which its packets are read, to see that it is whole.
_NEAR = 2_000_000

#: Given the samples of a sound, returns where its parts begin, ascending.
Places = Callable[[int], Sequence[int]]


def sound_parts(source: Any, places: Places, *, rate: int, length: int) -> list[Samples]:
    """Return parts of one sound, each (length,) float32 at most, as ``AudioReader(rate)`` reads the whole of it.

    Where a lossy format states its length inexactly, the places are a few milliseconds beside those of the whole.

    Args:
        source: see ``AudioReader``.
        places: where parts begin.
        rate: of the output (Hz).
        length: of a part.

    Raises:
        BadMedia: it has no sound, or it is damaged or truncated.
    """
    reader = AudioReader(rate)
    if isinstance(source, str | os.PathLike):
        with decoding(source):
            found = _skipping(content(source), reader, reader._window(source), places, length)
        if found is not None:
            return found
    whole = reader(source)
    return [whole[start : start + length] for start in places(len(whole))]


def _skipping(
    opened: str | Buffer, reader: AudioReader, window: tuple[float, float | None], places: Places, length: int
) -> list[Samples] | None:
    """Return the parts, or None where the whole is not longer than they are, or where its length is not known."""
    sound = audio._sound(opened)
    if sound is not None:
        with sound:
            return _of_file(sound, reader.rate, window, places, length)
    start, most = window
    try:
        seconds, skips = _length(opened)
    except BadMedia:
        return None  # the whole tells what is wrong
    seconds = min(seconds - start, math.inf if most is None else most)
    starts = places(int(seconds * reader.rate + 0.5)) if seconds > 0 else ()
    if not starts or len(starts) * length >= seconds * reader.rate:
        return None
    at = [start + place / reader.rate for place in starts]
    if skips:
        return [
            reader._made(*audio._read(opened, each, length / reader.rate), each, length / reader.rate) for each in at
        ]
    with open_container(opened) as container:
        track = audio._Track(container, at[0])
        return [reader._made(*track.cut(each, length / reader.rate), each, length / reader.rate) for each in at]


def _of_file(
    sound: "SoundFile", rate: int, window: tuple[float, float | None], places: Places, length: int
) -> list[Samples] | None:
    """Read parts of an open file: the samples of the whole, but for the ends of the resampler's filter."""
    start, most = window
    source = sound.samplerate
    if not (0 < sound.frames < audio._ENDLESS and sound.seekable()) or start * source >= sound.frames:
        return None
    begin = max(0, round((start - audio._MARGIN) * source))
    lead = round((start - begin / source) * rate)
    total = int((sound.frames - begin) * rate / source + 0.5) - lead
    if most is not None:
        total = min(total, max(1, round(most * rate)))
    starts = places(total) if total > 0 else ()
    if not starts or len(starts) * length >= total:
        return None
    audio._check_size(sound)
    _check_end(sound)
    grid = source // math.gcd(source, rate)  # of samples that both rates have
    parts = []
    for place in starts:
        skipped = max(0, int(((lead + place) / rate - audio._MARGIN) * source)) // grid * grid
        ahead = lead + place - skipped * rate // source
        limit = math.ceil((ahead + min(length, total - place)) * source / rate + audio._MARGIN * source)
        sound.seek(begin + skipped)
        samples = audio._gather(audio._blocks(sound, begin + skipped, limit), limit)
        parts.append(audio._resampled(samples, source, rate)[ahead : ahead + min(length, total - place)].clip(-1, 1))
    return parts


def _check_end(sound: "SoundFile") -> None:
    """Refuse a file that ends before the length it states, which parts from its middle would not show."""
    sound.seek(max(0, sound.frames - 1 - audio._VORBIS))
    if not len(sound.read(1)):
        raise BadMedia(f"is truncated: it has not all of its {sound.frames} samples")


def _end(container: "InputContainer") -> float:
    """Return the seconds at which the last packet of a container ends, by those near its end."""
    container.seek(max(0, (container.duration or 0) - _NEAR))
    ends = [
        float((packet.pts + (packet.duration or 0)) * packet.time_base)
        for packet in container.demux()
        if packet.size and packet.pts is not None
    ]
    return max(ends, default=0.0)


def _length(opened: str | Buffer) -> tuple[float, bool]:
    """Return the seconds of the first sound track, and whether its container can be skipped through."""
    with open_container(opened) as container:
        if not container.streams.audio:
            raise BadMedia("holds no sound")
        stream = container.streams.audio[0]
        if is_indexed(container, stream) and stream.duration:
            return float(stream.duration * (stream.time_base or 1)), True
        if container.format.name == CUED and container.duration:
            check_length(container, _end(container))
            return container.duration / 1e6, True
        return audio.packet_seconds(container), False
