"""A process that decodes what strangers send: it has little memory, little time, and can write no file.

It is started by ``uploads`` and speaks plain values (``quiver.engine.core.messages``) through its standard streams:
whoever takes it over can send wrong pixels, and no code.

A request is a dict with ``do`` and ``data``. An answer is an array of pixels, the samples and the rate of a sound, or
the kind and the text of an error.
"""

import io
import os
import sys
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.engine.core.child_process import streams
from quiver.engine.core.messages import receive, send
from quiver.errors import MissingExtra, QuiverError
from quiver.media import ImageReader, VideoReader, thumbnail
from quiver.media.audio import Samples, sound
from quiver.media.fetch import decoding
from quiver.media.image import Picture
from quiver.media.picture import allow, check_decoded, open_picture, quiet, scales

#: Frames that stand for a video, and the shorter side to which they are scaled down.
FRAMES, SIDE = 72, 256
#: Most pixels that are decoded before they are scaled down.
_DECODED = 64_000_000
#: Times that a thumbnail may be longer than it is wide.
_ELONGATED = 16
#: Open files that decoding needs at most, besides those of the process.
_FILES = 64


def serve() -> None:
    """Answer requests until standard input ends."""
    requests, answers = streams()
    limits = receive(requests, most=0)
    confine(limits["memory"], limits["seconds"])
    allow(_DECODED)
    with suppress(EOFError, BrokenPipeError):
        send(answers, None)
        while True:
            send(answers, _made(receive(requests, most=sys.maxsize)))


def _made(request: dict[str, Any]) -> NDArray[np.uint8] | tuple[Samples, int] | tuple[str, str]:
    """Return the answer to a request."""
    try:
        return _do(request)
    except MissingExtra as error:
        return "MissingExtra", str(error)
    except MemoryError:
        return "BadMedia", "decoding it needs more memory than an upload may take"
    except QuiverError as error:
        return "BadMedia", str(error)
    except Exception as error:  # a fault of a decoder is one of the file
        return "BadMedia", f"cannot be decoded: {type(error).__name__}"


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


def _do(request: dict[str, Any]) -> NDArray[np.uint8] | tuple[Samples, int]:
    data = request["data"]
    match request["do"]:
        case "image":
            return picture(data, request["pixels"])
        case "audio":
            return sound(data, request["seconds"])
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


def film(data: bytes, seconds: float) -> NDArray[np.uint8]:
    """Decode frames of the beginning of a video, at even distances: (72, H, W, 3) uint8 RGB."""
    height, width = VideoReader(frames=1, stop=seconds)(data).shape[1:3]
    side = min(SIDE, height, width)
    return VideoReader(frames=FRAMES, stop=seconds, image=ImageReader(shorter=side))(data)


def _jpeg(request: dict[str, Any]) -> NDArray[np.uint8]:
    """Draw a stored item as a JPEG."""
    from PIL import Image

    drawn = _drawn(request["reference"], request["key"], request["side"])
    fresh = io.BytesIO()
    Image.fromarray(drawn if drawn is not None else np.full((8, 8, 3), 255, np.uint8)).save(fresh, "JPEG", quality=85)
    return np.frombuffer(fresh.getvalue(), np.uint8)


def _drawn(reference: str, key: str, side: int) -> Picture | None:
    """Draw an item: a picture or a frame without a border, so that it looks right on any background."""
    if key not in ("image", "video"):
        return thumbnail(reference, key, size=side)
    with decoding(reference), quiet():
        opened = open_picture(VideoReader(frames=1)(reference)[0] if key == "video" else reference)
        short, long = sorted(opened.size)
        if long > _ELONGATED * short:
            return ImageReader(side, fit="pad", resample="bilinear").arrange(opened)
        return ImageReader(shorter=max(1, round(side * short / long)), resample="bilinear").arrange(opened)


__all__ = ["FRAMES", "SIDE", "confine", "film", "picture", "serve"]
