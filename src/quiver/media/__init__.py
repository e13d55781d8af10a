"""Media readers: files, bytes and arrays in; numpy arrays in pixels, seconds and hertz out.

Every reader is frozen, picklable and callable, and nothing here imports torch: readers run in spawned workers.
Any fault of a file becomes BadMedia, in one line that names the file.
"""

from quiver.media.audio import AudioReader
from quiver.media.clip import NoVideo
from quiver.media.fetch import digest, digests, fetch, kind, locate, moment, span, times
from quiver.media.image import ImageReader, PairReader
from quiver.media.parts import sound_parts
from quiver.media.text import TextReader
from quiver.media.thumbnail import thumbnail
from quiver.media.video import VideoReader
from quiver.media.windows import check_window, clock, length, read_windows, split

__all__ = [
    "AudioReader",
    "ImageReader",
    "NoVideo",
    "PairReader",
    "TextReader",
    "VideoReader",
    "check_window",
    "clock",
    "digest",
    "digests",
    "fetch",
    "kind",
    "length",
    "locate",
    "moment",
    "read_windows",
    "sound_parts",
    "span",
    "split",
    "thumbnail",
    "times",
]
