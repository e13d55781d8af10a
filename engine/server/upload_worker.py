"""A process that decodes what strangers send: it has little memory, little time, and can write no file.

It is started by ``uploads`` and speaks JSON lines and raw bytes through its standard streams. Nothing that it returns
is unpickled: whoever takes it over can send wrong pixels, and no code.

A request is a line ``{"do", "size", ...}`` and ``size`` bytes; an answer is a line ``{"shape", "dtype", "size"}`` and
``size`` bytes, or ``{"error"}``.
"""

import io
import json
import os
import sys
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from quiver.errors import MissingExtra, QuiverError
from quiver.media import ImageReader, VideoReader, thumbnail
from quiver.media.audio import sound
from quiver.media.picture import allow, check_decoded, open_picture, quiet, scales

#: Frames that stand for a video, and the shorter side to which they are scaled down.
FRAMES, SIDE = 72, 256
#: Most pixels that are decoded before they are scaled down.
_DECODED = 64_000_000
#: Open files that decoding needs at most, besides those of the process.
_FILES = 64


def serve() -> None:
    """Answer requests until standard input ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints would mix with the answers
    limits = json.loads(requests.readline())
    confine(limits["memory"], limits["seconds"])
    allow(_DECODED)
    _send(answers, {})
    while line := requests.readline():
        request = json.loads(line)
        data = requests.read(request["size"])
        try:
            made = np.ascontiguousarray(_do(request, data))
            _send(answers, {"shape": made.shape, "dtype": made.dtype.str, "size": made.nbytes}, made)
        except MissingExtra as error:
            _send(answers, {"error": str(error), "missing": True})
        except MemoryError:
            _send(answers, {"error": "decoding it needs more memory than an upload may take"})
        except QuiverError as error:
            _send(answers, {"error": str(error)})
        except Exception as error:  # a fault of a decoder is one of the file
            _send(answers, {"error": f"cannot be decoded: {type(error).__name__}"})


def confine(memory: int, seconds: float) -> None:
    """Limit this process: memory, processor time, open files, and no bytes written to any file (Linux)."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm") as file:
        own = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    opened = len(os.listdir("/proc/self/fd"))
    for what, most in (
        (resource.RLIMIT_AS, own + memory),
        (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_NOFILE, opened + _FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (limit, limit))


def _send(answers: IO[bytes], head: dict[str, Any], data: NDArray[Any] | None = None) -> None:
    answers.write(json.dumps(head).encode() + b"\n")
    if data is not None:
        answers.write(data.data)
    answers.flush()


def _do(request: dict[str, Any], data: bytes) -> NDArray[Any]:
    match request["do"]:
        case "image":
            return picture(data, request["pixels"])
        case "audio":
            return wave(data, request["seconds"])
        case "video":
            return film(data, request["seconds"])
        case "thumbnail":
            return _jpeg(request)
    raise ValueError(request["do"])


def picture(data: bytes, pixels: int) -> NDArray[np.uint8]:
    """Decode a picture to (H, W, 3) uint8 RGB; one of more pixels is scaled down while it is decoded."""
    with quiet():
        opened = open_picture(data)
        width, height = opened.size
        if width * height <= pixels:
            return ImageReader().arrange(opened)
        if not scales(opened):
            check_decoded(opened)
    scale = (pixels / (width * height)) ** 0.5
    return ImageReader(shorter=max(1, int(min(width, height) * scale)))(data)


def wave(data: bytes, seconds: float) -> NDArray[np.uint8]:
    """Decode the beginning of a sound, and write it as a WAV of float samples, mono, at its own rate."""
    import soundfile

    samples, rate = sound(data, seconds)
    fresh = io.BytesIO()
    soundfile.write(fresh, samples, rate, format="WAV", subtype="FLOAT")
    return np.frombuffer(fresh.getvalue(), np.uint8)


def film(data: bytes, seconds: float) -> NDArray[np.uint8]:
    """Decode frames of the beginning of a video, at even distances: (72, H, W, 3) uint8 RGB."""
    height, width = VideoReader(frames=1, stop=seconds)(data).shape[1:3]
    side = min(SIDE, height, width)
    return VideoReader(frames=FRAMES, stop=seconds, image=ImageReader(shorter=side))(data)


def _jpeg(request: dict[str, Any]) -> NDArray[np.uint8]:
    """Draw a stored item as a JPEG."""
    from PIL import Image

    drawn = thumbnail(request["reference"], request["key"], size=request["side"])
    fresh = io.BytesIO()
    Image.fromarray(drawn if drawn is not None else np.full((8, 8, 3), 255, np.uint8)).save(fresh, "JPEG", quality=85)
    return np.frombuffer(fresh.getvalue(), np.uint8)


__all__ = ["FRAMES", "SIDE", "confine", "film", "picture", "serve", "wave"]
