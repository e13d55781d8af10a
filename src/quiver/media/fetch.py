"""References to the bytes of an item, and reading them without unpacking an archive.

A reference is a path, a ``file://`` URI, or a span of a larger file such as a member of a tar shard:
``shard.tar?offset=1536&size=7423#000001.jpg``. Each may end in the seconds that are meant, written as in W3C Media
Fragments: ``talk.mp4#t=12.5,20``. A real file whose name looks like one of these opens as itself.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from quiver.errors import BadMedia, MissingExtra, QuiverError

Buffer = bytes | bytearray | memoryview
BLOCK = 1 << 20
_LOOKED_AT = 10_000  # folder entries to check for a name that differs only in case
_SPAN = re.compile(r"(?P<path>.+)\?offset=(?P<offset>\d{1,18})(?:&size=(?P<size>\d{1,18}))?(?:#[^?#]*)?", re.S)
_MOMENT = re.compile(r"(?P<ref>.+)#t=(?P<start>\d{1,9}(?:\.\d+)?)?(?:,(?P<stop>\d{1,9}(?:\.\d+)?))?", re.S)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

_SUFFIXES = {
    "image": "jpg jpeg jpe jfif mpo png apng webp gif bmp dib tif tiff ppm pgm pbm pnm pfm avif jp2 j2k jpf jpx "
    "tga ico icns pcx sgi qoi dds psd heic heif hif",
    "audio": "wav wave flac ogg oga opus mp3 mp2 m4a m4b aac aif aiff aifc au snd caf w64 rf64 amr wma wv ape ac3 "
    "eac3 mka tta voc dts",
    "video": "mp4 m4v mov qt mkv webm avi mpg mpeg mpe m2v ts mts m2ts ogv flv wmv asf 3gp 3g2 f4v mxf vob dv rm "
    "rmvb divx",
    "text": "txt text md rst caption cap",
}
_KINDS = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}


def kind(name: str | os.PathLike[str]) -> str | None:
    """Return ``image``, ``audio``, ``video`` or ``text`` by the extension of a name; None if unknown.

    >>> kind("shard.tar?offset=1536&size=7423#000001.JPG"), kind("talk.mp4#t=12.5,20"), kind("notes.pdf")
    ('image', 'video', None)
    """
    return _KINDS.get(os.path.splitext(times(name)[0])[1][1:].lower())


def span(path: str | os.PathLike[str], member: str, *, offset: int, size: int | None = None) -> str:
    """Return the reference of a part of a file.

    Args:
        path: the file that contains it.
        member: name of the part; its extension gives its type.
        offset: position of its first byte.
        size: its length in bytes; None goes to the end of the file.

    >>> span("shard.tar", "000001.jpg", offset=1536, size=7423)
    'shard.tar?offset=1536&size=7423#000001.jpg'
    """
    length = "" if size is None else f"&size={size}"
    return f"{os.fspath(path)}?offset={offset}{length}#{quote(member)}"


def moment(ref: str | os.PathLike[str], start: float, stop: float | None = None) -> str:
    """Return the reference of a part of a sound or video, in seconds; ``stop`` None goes to the end.

    >>> moment("talk.mp4", 12.5, 20), moment("talk.mp4", 3)
    ('talk.mp4#t=12.5,20', 'talk.mp4#t=3')
    """
    return f"{os.fspath(ref)}#t={_decimal(start)}" + ("" if stop is None else f",{_decimal(stop)}")


def _decimal(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def times(ref: str | os.PathLike[str]) -> tuple[str, float, float | None]:
    """Split the seconds off a reference.

    Returns:
        The reference without them, first second (default 0), and last (None: to the end).

    >>> times("talk.mp4#t=12.5,20"), times("talk.mp4")
    (('talk.mp4', 12.5, 20.0), ('talk.mp4', 0.0, None))
    """
    text = os.fspath(ref)
    found = _MOMENT.fullmatch(text)
    if not found or text.endswith("#t=") or os.path.exists(text):
        return text, 0.0, None
    return found["ref"], float(found["start"] or 0), None if found["stop"] is None else float(found["stop"])


def locate(ref: str | os.PathLike[str]) -> tuple[str, int, int | None]:
    """Parse a reference without its seconds: the bytes of a moment are the bytes of its file.

    Returns:
        Path of the file, first byte, and number of bytes (None: to the end of the file).

    Raises:
        BadMedia: a URI that is not of a local file.
    """
    text = times(ref)[0]
    found = _SPAN.fullmatch(text)
    if found and (_SCHEME.match(text) or not os.path.exists(text)):
        size = found["size"]
        return _path(found["path"]), int(found["offset"]), None if size is None else int(size)
    return _path(text), 0, None


def _path(text: str) -> str:
    if not _SCHEME.match(text):
        return text
    parts = urlsplit(text)
    if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
        raise BadMedia(f"{text}: only local files can be read: download it and give its path")
    return url2pathname(parts.path)


def fetch(ref: str | os.PathLike[str]) -> bytes:
    """Read the bytes of a reference, with one seek.

    Raises:
        BadMedia: the file is missing, unreadable, not a regular file, empty, or ends before the span does.
    """
    path, offset, size = locate(ref)
    with decoding(ref), _open(path) as file:
        length = _extent(file, offset, size)
        if offset:
            file.seek(offset)
        data = file.read(length)
        if len(data) != length:
            raise BadMedia(f"{ref}: {len(data)} of {length} bytes could be read")
        return data


def digest(refs: Iterable[str | os.PathLike[str]]) -> str:
    """Return the SHA-256 (hexadecimal) of the bytes of the references, one after the other.

    The bytes of a moment are followed by its seconds, as ``moment`` writes them.
    """
    return _hashed(refs).hexdigest()


def _hashed(refs: Iterable[str | os.PathLike[str]]) -> "hashlib._Hash":
    total = hashlib.sha256()
    for ref in refs:
        path, offset, size = locate(ref)
        with decoding(ref), _open(path) as file:
            left = _extent(file, offset, size)
            file.seek(offset)
            while left:
                block = file.read(min(left, BLOCK))
                if not block:
                    raise BadMedia(f"{ref}: {left} bytes could not be read")
                total.update(block)
                left -= len(block)
        whole, start, stop = times(ref)
        if whole != os.fspath(ref):
            total.update(moment("", start, stop).encode())
    return total


def digests(ref: str | os.PathLike[str], spans: Sequence[tuple[float, float]]) -> list[str]:
    """Return what ``digest`` gives for each moment of one file, in one pass over its bytes.

    Args:
        ref: reference of the file, without seconds.
        spans: first and last second of each moment.
    """
    total = _hashed([ref])
    found = []
    for start, stop in spans:
        part = total.copy()
        part.update(moment("", start, stop).encode())
        found.append(part.hexdigest())
    return found


def content(source: Any) -> str | Buffer:
    """Return the path of a reference to a whole file, else the bytes, as input of a decoder.

    Raises:
        BadMedia: neither a reference nor bytes, or missing, empty, or not a regular file.
    """
    if isinstance(source, str | os.PathLike):
        path, offset, size = locate(source)
        if offset or size is not None:
            return fetch(source)
        _regular(os.stat(path))
        return path
    if not isinstance(source, Buffer):
        raise BadMedia(f"expected a path or bytes, not a {type(source).__name__}")
    if not len(source):
        raise BadMedia("is empty")
    return source


def head(opened: str | Buffer, size: int = 16) -> bytes:
    """Return the first bytes of a result of ``content``."""
    if not isinstance(opened, str):
        return bytes(opened[:size])
    with _open(opened) as file:
        return file.read(size)


def label(source: Any) -> str:
    """Describe a source for messages."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, Buffer):
        return f"<{len(source)} bytes>"
    shape = getattr(source, "shape", getattr(source, "size", ""))
    return f"<{type(source).__name__} {shape}>"


@contextmanager
def decoding(source: Any) -> Iterator[None]:
    """Convert any error of a library to BadMedia with the name of the source."""
    try:
        yield
    except QuiverError as error:
        name = label(source)
        if isinstance(error, BadMedia) and not str(error).startswith(name):
            raise type(error)(f"{name}: {error}") from error.__cause__
        raise
    except ModuleNotFoundError as error:
        raise MissingExtra((error.name or str(error)).partition(".")[0]) from error
    except MemoryError as error:
        raise BadMedia(f"{label(source)}: too large for memory") from error
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, FileNotFoundError):
            reason += _hint(source)
        raise BadMedia(f"{label(source)}: cannot be read: {reason[:1].lower()}{reason[1:]}") from error


def _hint(source: Any) -> str:
    """Return a hint for a path that names no file."""
    if not isinstance(source, str | os.PathLike):
        return ""
    if re.match(r".*(^|/)[A-Za-z]:[\\/]", os.fspath(source)):
        return ": it is a Windows path, and this system is not Windows"
    folder, name = os.path.split(locate(source)[0])
    with suppress(OSError), os.scandir(folder or ".") as entries:
        for entry in islice(entries, _LOOKED_AT):
            if entry.name.casefold() == name.casefold():
                return f": did you mean {entry.name}? Upper and lower case differ"
    return ""


def _open(path: str) -> IO[bytes]:
    # A named pipe would block open() for ever, so the kind is asked first.
    _regular(os.stat(path))
    return Path(path).open("rb")


def _regular(info: os.stat_result) -> None:
    if stat.S_ISDIR(info.st_mode):
        raise BadMedia("is a directory, not a file")
    if not stat.S_ISREG(info.st_mode):
        raise BadMedia("is not a regular file")
    if not info.st_size:
        raise BadMedia("is empty")


def _extent(file: IO[bytes], offset: int, size: int | None) -> int:
    held = os.fstat(file.fileno()).st_size
    length = held - offset if size is None else size
    if length == 0:
        raise BadMedia("is empty")
    if length < 0 or offset + length > held:
        raise BadMedia(f"bytes {offset} to {offset + max(length, 0)} lie outside the file of {held} bytes")
    return length
