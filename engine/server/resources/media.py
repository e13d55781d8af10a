"""Media of stored items: the bytes of a file, in ranges, and thumbnails.

A request names an item and a medium, never a path. The file is served if it lies below a folder from which this user
added to the collection on this machine, also after links are followed, and if it is a regular file.
"""

import asyncio
import hashlib
import mimetypes
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from quiver.engine.server.examples import errors
from quiver.engine.server.problems import Problem
from quiver.engine.server.resources.search import Name
from quiver.engine.server.service import Service, caller, service_of
from quiver.engine.server.shield import SLASH
from quiver.media import locate
from quiver.media import times as split_times
from quiver.trust import Reach

router = APIRouter(prefix="/v1/collections/{collection}/items/{id}", tags=["items"])
Id = Annotated[
    str, Path(description="Id of an item; a slash within it is written %2F.", examples=["photos%2Fred0.png"])
]
#: Types that a browser may show; all else is offered as a download.
_INLINE = {
    "image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/bmp", "audio/mpeg", "audio/wav",
    "audio/x-wav", "audio/flac", "audio/x-flac", "audio/ogg", "audio/aac", "audio/mp4", "video/mp4", "video/webm",
    "video/ogg", "video/quicktime",
}  # fmt: skip
_KNOWN = {".opus": "audio/ogg", ".oga": "audio/ogg", ".m4a": "audio/mp4", ".flac": "audio/flac", ".webp": "image/webp",
          ".avif": "image/avif", ".mkv": "video/x-matroska", ".webm": "video/webm"}  # fmt: skip
_BLOCK = 256 << 10
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def id_of(given: str) -> str:
    """Return the id in a path."""
    return given.replace(SLASH, "/")


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file on this machine.

    Attributes:
        reference: the reference that an item stores.
        path: the file, without links.
        offset: first byte.
        size: number of bytes.
        etag: changes if the file does.
    """

    reference: str
    path: str
    offset: int
    size: int
    etag: str


def part_of(service: Service, request: Request, name: str) -> Part:
    """Find the bytes of a medium of an item.

    Raises:
        Problem: there is no such item or medium, or it is not shown.
    """
    served, key = service.collection(request), caller(request)
    item = served.item(id_of(request.path_params["id"]), key)
    reference = item.media.get(name)
    if reference is None or name == "text":
        held = ", ".join(each for each in item.media if each != "text") or "no file"
        raise Problem(404, f"this item has no {name[:50]}: it has {held}")
    # Another process may have added from a new folder meanwhile, so a refusal is looked up anew.
    if served.collection.hidden(reference) and Reach(served.collection.uri).refuses(reference):
        raise Problem(403, f"the {name} of this item is not shown: nobody added from its folder on this machine")
    path, offset, size = locate(reference)
    try:
        path = os.path.realpath(path)
        state = os.stat(path)
    except OSError:
        raise Problem(404, f"the file of the {name} of this item is gone") from None
    if not stat.S_ISREG(state.st_mode):
        raise Problem(403, f"the {name} of this item is no regular file")
    size = state.st_size - offset if size is None else size
    if size < 0 or offset + size > state.st_size:
        raise Problem(404, f"the file of the {name} of this item has changed")
    told = f"{reference} {state.st_mtime_ns} {state.st_size} {state.st_ino}"
    return Part(reference, path, offset, size, f'"{hashlib.sha256(told.encode()).hexdigest()[:32]}"')


@router.get(
    "/media/{key}", summary="Bytes of a medium", responses={206: {"description": "A range"}, **errors(404, 416)},
    response_class=Response,
)  # fmt: skip
@router.head("/media/{key}", include_in_schema=False)
async def media(request: Request, collection: Name, id: Id, key: str) -> Response:
    """Return the bytes of a medium; `Range`, `If-Range` and `If-None-Match` work as everywhere."""
    service = service_of(request)
    part = await service.off(part_of, service, request, key)
    kind, shown = _kind(part)
    headers = {
        "ETag": part.etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=60",
        "Content-Disposition": "inline" if shown else "attachment",
    }
    if request.headers.get("if-none-match") == part.etag:
        return Response(status_code=304, headers=headers)
    asked = _range(request, part)
    first, last = asked or (0, part.size - 1)
    status = 200 if asked is None else 206
    if asked is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{part.size}"
    headers["Content-Length"] = str(last - first + 1)
    body = iter(()) if request.method == "HEAD" else _blocks(part, first, last)
    return StreamingResponse(body, status, headers, media_type=kind)


def _kind(part: Part) -> tuple[str, bool]:
    """Return the type of a file by its name, and whether a browser may show it."""
    whole = split_times(part.reference)[0]
    suffix = os.path.splitext(whole)[1].lower()
    kind = _KNOWN.get(suffix) or mimetypes.guess_type(f"a{suffix}")[0] or ""
    return (kind, True) if kind in _INLINE else ("application/octet-stream", False)


def _range(request: Request, part: Part) -> tuple[int, int] | None:
    """Return the first and last byte that are asked for; None for the whole file.

    Raises:
        Problem: they lie outside the file.
    """
    given, condition = request.headers.get("range"), request.headers.get("if-range")
    found = _RANGE.fullmatch(given.strip()) if given and condition in (None, part.etag) else None
    if found is None or not (found[1] or found[2]):  # none, or several ranges: the whole file is allowed then
        return None
    if found[1]:
        first, last = int(found[1]), min(int(found[2]) if found[2] else part.size - 1, part.size - 1)
    else:
        first, last = max(0, part.size - int(found[2])), part.size - 1
    if first > last:
        raise Problem(416, f"the file has {part.size} bytes", headers={"Content-Range": f"bytes */{part.size}"})
    return first, last


def _blocks(part: Part, first: int, last: int) -> Iterator[bytes]:
    with open(part.path, "rb", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))) as file:
        file.seek(part.offset + first)
        left = last - first + 1
        while left and (block := file.read(min(_BLOCK, left))):
            left -= len(block)
            yield block


@router.get("/thumbnail", summary="A small picture of an item", responses=errors(404, 422), response_class=Response)
async def thumbnail(
    request: Request,
    collection: Name,
    id: Id,
    key: Annotated[str, Query(description="Medium to draw; the first one by default.")] = "",
    size: Annotated[Literal["192", "384", "768"], Query(description="Side in pixels.")] = "192",
) -> Response:
    """Return a JPEG: a picture, a frame of a video, or the waveform of a sound."""
    service = service_of(request)
    if not key:
        served = service.collection(request)
        item = await service.off(served.item, id_of(id), caller(request))
        key = next((name for name in item.media if name != "text"), "image")
    part = await service.off(part_of, service, request, key)
    headers = {"ETag": part.etag, "Cache-Control": "private, max-age=3600"}
    if request.headers.get("if-none-match") == part.etag:
        return Response(status_code=304, headers=headers)
    name = (part.etag, key, int(size))
    drawn = service.thumbnails.get(name)
    if drawn is None:
        kind = "image" if key in ("before", "after") else key
        run = asyncio.get_running_loop().run_in_executor
        drawn = await run(
            service.decoders.executor, service.decoders.thumbnail, part.reference, kind, int(size), f"the {key}"
        )
        service.thumbnails.put(name, drawn)
    return Response(drawn, headers=headers, media_type="image/jpeg")
