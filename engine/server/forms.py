"""Bodies of requests: JSON, or forms of several parts with JSON and files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from quiver.engine.server.asked import PARTS, decoded
from quiver.engine.server.problems import Problem
from quiver.engine.server.settings import Limits

#: Bytes of a part that is no file.
_PART = 8 << 20
FORM, JSON, ARROW = "multipart/form-data", "application/json", "application/vnd.apache.arrow.stream"


@dataclass(slots=True)
class Form:
    """A request's body.

    Attributes:
        json: the decoded JSON; None if there is none.
        files: the uploads: part name, file name, bytes.
    """

    json: Any
    files: list[tuple[str, str, bytes]] = field(default_factory=list)


def type_of(request: Request) -> str:
    """Return the type of a request's body; JSON if it names none."""
    return request.headers.get("content-type", JSON).partition(";")[0].strip().lower()


async def body_of(request: Request, limits: Limits, *, part: str, files: int, forms: bool = True) -> Form:
    """Read a body.

    Args:
        request: the request.
        limits: the limits.
        part: name of the part that is JSON.
        files: most files.
        forms: whether a form of several parts is taken.

    Raises:
        Problem: it is of another kind, has too many parts, or is no JSON.
    """
    kind = type_of(request)
    if kind == JSON:
        return Form(decoded(await request.body()))
    if kind != FORM or not forms:
        takes = f"{JSON}, or {FORM} with the part {part!r} and files" if forms else JSON
        raise Problem(415, f"this takes {takes}, not {kind[:100] or 'nothing'}")
    async with request.form(max_files=files, max_fields=32, max_part_size=_PART) as form:
        return await _read(form.multi_items(), part)


async def _read(parts: Any, name: str) -> Form:
    found = Form(None)
    for key, value in parts:
        if isinstance(value, UploadFile):
            data = await value.read()
            if key == name:
                found.json = decoded(data)
            else:
                found.files.append((key, value.filename or key, data))
        elif key == name:
            found.json = decoded(value.encode())
        else:
            raise Problem(
                422, f"the part {key[:50]!r} has no file name: send it as a file, and everything else in {name!r}",
                kind="file-needed",
            )  # fmt: skip
    return found


def media_of(files: list[tuple[str, str, bytes]]) -> Mapping[str, list[tuple[str, bytes]]]:
    """Return the files of a query by the name of their part.

    Raises:
        Problem: a part is named after no medium.
    """
    found: dict[str, list[tuple[str, bytes]]] = {}
    for key, name, data in files:
        if key not in PARTS:
            raise Problem(422, f"there is no part {key[:50]!r}: files are {', '.join(PARTS)}", kind="bad-part")
        found.setdefault(key, []).append((_shown(name), data))
    return found


def _shown(name: str) -> str:
    """Return the name of an upload for messages: its last part, without anything odd."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(letter for letter in last if letter.isprintable())[:80] or "the file"
