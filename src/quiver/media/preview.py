"""Previews: a moment of a video or sound, small enough to be part of a page."""

import io
import math
from typing import Any

import numpy as np

from quiver.errors import BadMedia
from quiver.media.audio import AudioReader, Samples
from quiver.media.fetch import decoding, moment, times
from quiver.media.image import ImageReader, Picture
from quiver.media.video import VideoReader
from quiver.media.windows import length

#: Longest preview (s), side of its picture (pixels), frames per second, and rate of its sound (Hz).
LONGEST = 30.0
_SIDE, _FPS, _RATE = 240, 12, 24_000


def video_preview(source: str) -> bytes:
    """Return the beginning of a video or moment as a small MP4 (H.264, with sound as AAC), at most 30 seconds.

    Raises:
        BadMedia: it cannot be read, or this machine's FFmpeg lacks the codecs.
    """
    start, stop = _limits(source, "video")
    part = moment(times(source)[0], start, stop)
    image = ImageReader(_SIDE, fit="pad", fill=0, resample="bilinear")
    frames = VideoReader(max(1, math.ceil((stop - start) * _FPS)), image=image)(part)
    with decoding(source):
        return _encoded(frames, _sound(part))


def sound_preview(source: str) -> bytes:
    """Return the beginning of a sound or moment as MP3, mono, at most 30 seconds.

    Raises:
        BadMedia: it cannot be read.
    """
    import soundfile

    start, stop = _limits(source, "audio")
    samples = AudioReader(_RATE)(moment(times(source)[0], start, stop))
    fresh = io.BytesIO()
    with decoding(source):
        soundfile.write(fresh, samples, _RATE, format="MP3")
    return fresh.getvalue()


def _limits(source: str, key: str) -> tuple[float, float]:
    start = times(source)[1]
    return start, start + min(LONGEST, length(source, key))


def _sound(part: str) -> Samples | None:
    try:
        return AudioReader(_RATE)(part)
    except BadMedia:  # most clips have none
        return None


def _encoded(frames: Picture, samples: Samples | None) -> bytes:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=_FPS, options={"crf": "30", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = _SIDE, _SIDE, "yuv420p"
        audio: Any = None if samples is None else container.add_stream("aac", rate=_RATE, layout="mono")
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(video.encode(None))
        if samples is not None:
            sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            sound.sample_rate = _RATE
            container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
    return file.getvalue()
