"""Pictures, sounds, films and tables of a generated world, as files."""

import csv
from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.types import Floats


def save_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Save (H, W, 3) uint8 as PNG."""
    from PIL import Image

    Image.fromarray(image).save(path, compress_level=3)


def save_sound(path: Path, wave: Floats, rate: int) -> None:
    """Save mono float32 as 16-bit WAV at ``rate`` Hz."""
    import soundfile

    whole = BytesIO()  # into a file soundfile would wait for the disk, which takes longer than making the sound
    soundfile.write(whole, wave, rate, format="WAV", subtype="PCM_16")
    path.write_bytes(whole.getvalue())


def save_video(path: Path, frames: NDArray[np.uint8], fps: float) -> None:
    """Save (T, H, W, 3) uint8 as MP4: H.264 where this build of FFmpeg has it, else MPEG-4."""
    import av

    codec, options = "libx264", {"crf": "12", "preset": "veryfast"}
    if codec not in av.codecs_available:
        codec, options = "mpeg4", {"qscale": "2"}
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # the same frames give the same bytes
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def save_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Save rows of one form as CSV with a header, in UTF-8."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
