"""Containers of audio and video: detected by content, and never allowed to open other files."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from quiver.errors import BadMedia
from quiver.media.fetch import Buffer

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

# Playlists (hls, dash, concat, image2) are missing: they would let one file read others.
_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,live_flv,ogg,asf,rm,wav,w64,mp3,aac,flac,aiff,au,caf,amr,amrnb,"
    "amrwb,ac3,eac3,dts,m4v,h264,hevc,av1,obu,ivf,dv,mxf,nut,wv,ape,tta,voc,gxf,mjpeg,yuv4mpegpipe"
)
#: Matroska lists key frames in cues, which are read at the first seek.
CUED = "matroska,webm"
# These state their duration at the beginning, so that truncation can be detected.
_TIMED = (CUED, "flv", "asf")


@contextmanager
def open_container(opened: str | Buffer) -> Iterator["InputContainer"]:
    """Open a result of ``fetch.content`` with PyAV; its errors pass through."""
    import av

    # The prefix keeps a name such as "concat:a|b" from being taken for a protocol.
    file = f"file:{opened}" if isinstance(opened, str) else io.BytesIO(opened)
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    with av.open(file, mode="r", container_options=options, metadata_errors="replace") as container:
        yield container


def is_indexed(container: "InputContainer", stream: "Stream") -> bool:
    """Whether the container lists every packet of a stream (mp4, mov, avi).

    Raises:
        BadMedia: the file ends before the last listed packet.
    """
    entries = list(stream.index_entries)
    if not entries or len(entries) != stream.frames:
        return False
    there = sum(entry.pos + entry.size <= container.size for entry in entries)
    if container.size > 0 and there < len(entries):
        raise BadMedia(f"is truncated: {there} of its {len(entries)} {stream.type} packets are present")
    return True


def check_length(container: "InputContainer", seconds: float) -> None:
    """Refuse a container whose stated duration exceeds the decoded ``seconds`` by half a second."""
    claimed = (container.duration or 0) / 1e6
    if container.format.name in _TIMED and claimed - seconds > 0.5:
        raise BadMedia(f"is truncated: {seconds:.2f} of its {claimed:.2f} s are present")
