"""Media for assistants: an excerpt of a sound, links to whole files, and pictures that a user's own assistant names."""

import io
import os
import stat
import wave
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np

from quiver.engine.server.served import Served
from quiver.engine.server.uploads import Decoders
from quiver.errors import BadMedia, BadSpec
from quiver.media import locate, times
from quiver.media.fetch import fetch
from quiver.types import Item

#: The address of a medium, for assistants: they read it as a resource, over HTTP and over standard input alike.
TEMPLATE = "quiver://{collection}/{id}/{medium}"
#: Seconds of a sound that are sent with an item; the last second of a file at which such an excerpt may end.
SECONDS, _LATEST = 10.0, 600.0
#: Bytes of a file that is decoded for an excerpt, or sent whole.
_LARGEST = 16 << 20


def address(collection: str, id: str, medium: str) -> str:
    """Return the address of a medium."""
    return f"quiver://{quote(collection, safe='')}/{quote(id, safe='')}/{medium}"


def shown(served: Served, item: Item) -> list[str]:
    """Return the media of an item that are files and may be shown."""
    return [name for name, ref in item.media.items() if name != "text" and served.collection.hidden(ref) is None]


def whole(served: Served, item: Item, medium: str) -> bytes:
    """Return the bytes of a medium.

    Raises:
        BadSpec: the item has no such file, or it is not shown or too large.
        BadMedia: it cannot be read.
    """
    if medium not in shown(served, item):
        have = ", ".join(shown(served, item)) or "no file that is shown"
        raise BadSpec(f"{item.id[:200]!r} has no {medium[:50]!r}: it has {have}")
    if (size := _size(item.media[medium])) > _LARGEST:
        raise BadSpec(f"the {medium} of {item.id[:200]!r} has {size:,} bytes, and at most {_LARGEST:,} are sent")
    return fetch(item.media[medium])


def excerpt(decoders: Decoders, reference: str, name: str) -> bytes | None:
    """Return at most 10 seconds of a sound as a WAV, mono, 16 bits; None if it is too large, or begins too late.

    Raises:
        BadMedia: it cannot be decoded.
    """
    _, start, stop = times(reference)
    end = min(start + SECONDS, stop or np.inf)
    if end > _LATEST or _size(reference) > _LARGEST:
        return None
    samples, rate = decoders.sound(fetch(reference), name, seconds=end)
    cut = np.clip(samples[int(start * rate) : int(end * rate)], -1, 1)
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((cut * 32_767).astype("<i2").tobytes())
    return held.getvalue()


def _size(reference: str) -> int:
    path, offset, size = locate(reference)
    try:
        return os.stat(path).st_size - offset if size is None else size
    except OSError:
        raise BadMedia("its file is gone") from None


def roots_of(folders: Iterable[str | Path]) -> tuple[str, ...]:
    """Return the folders from which an assistant may name pictures, without links.

    Raises:
        BadSpec: one is no folder.
    """
    found = []
    for folder in folders:
        path = os.path.realpath(os.path.expanduser(folder))
        if not os.path.isdir(path):
            raise BadSpec(f"--root takes a folder, and {folder} is none")
        found.append(path)
    return tuple(found)


def _places(roots: Sequence[str], path: str) -> list[str]:
    """Return where a path may lead below the roots: from a root, or with the name of the root before it, as in ids."""
    bases = [base for root in roots for base in (root, os.path.dirname(root))]
    found = [os.path.realpath(os.path.join(base, path)) for base in bases]
    return [place for place in found if any(place.startswith(os.path.join(root, "")) for root in roots)]


def named(roots: Sequence[str], path: str) -> bytes:
    """Return the bytes of a picture that an assistant names, if it is below a root, also after links are followed.

    Raises:
        BadSpec: it is not, or is no regular file, or too large.
    """
    if not roots:
        raise BadSpec("image_path works with `quiver mcp --root FOLDER` only: send the picture as image_base64")
    refused = BadSpec("image_path names no picture below the folders of --root")
    if "\0" in path:
        raise refused
    for place in _places(roots, os.path.expanduser(path)):
        with suppress(OSError):
            state = os.stat(place)
            if stat.S_ISREG(state.st_mode):
                break
    else:
        raise refused
    if state.st_size > _LARGEST:
        raise BadSpec(f"the picture of image_path has {state.st_size:,} bytes, and at most {_LARGEST:,} are read")
    return Path(place).read_bytes()
