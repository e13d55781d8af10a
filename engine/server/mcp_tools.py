"""Tools for assistants by the Model Context Protocol: five, read-only, with thumbnails; over HTTP at ``/mcp`` or stdio.

A tool does what a request of the same kind does, with the same limits, keys and messages.
"""

import base64
import binascii
import json
import mimetypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from starlette.concurrency import run_in_threadpool

from quiver.engine.execution.plan import plain
from quiver.engine.server import mcp_media
from quiver.engine.server.answers import item
from quiver.engine.server.asked import asked
from quiver.engine.server.keys import ANYONE, Key
from quiver.engine.server.own import text_for
from quiver.engine.server.problems import Problem
from quiver.engine.server.resources.collections import describe as describe_collection
from quiver.engine.server.served import Served
from quiver.engine.server.service import Service
from quiver.errors import BadSpec, QuiverError, optional
from quiver.media import times
from quiver.types import Item

if TYPE_CHECKING:
    from mcp.server import MCPServer
    from mcp.server.mcpserver import Context
    from mcp.types import AudioContent, CallToolResult, ImageContent, ResourceLink

T = TypeVar("T")
#: Hits that are shown as pictures, their side in pixels, and bytes of a picture that is sent.
_SHOWN, _SIDE, _SENT = 8, 384, 4 << 20
#: Metadata columns whose frequent values are told, and how many of each.
_TOLD, _FREQUENT = 40, 8
_ABOUT = """Search collections of pictures, sounds, videos and texts by words, by example and by conditions on metadata.
Call `describe` first: it tells the columns, their types and frequent values, which `where` conditions need."""


def tools_of(service: Service, *, roots: Sequence[str] = ()) -> "MCPServer":
    """Return the tools of a service.

    Args:
        service: what they search.
        roots: folders from which an assistant may name pictures; only for one on the user's own machine.

    Raises:
        MissingExtra: the extra ``mcp`` is not installed.
    """
    with optional():
        from mcp.server import MCPServer
        from mcp.server.mcpserver import Context
        from mcp.server.mcpserver.resources import ResourceSecurity
        from mcp.types import CallToolResult, ToolAnnotations
    globals().update(
        Context=Context, CallToolResult=CallToolResult
    )  # the annotations below are read when tools are made

    server: Any = MCPServer("quiver", instructions=_ABOUT, log_level="ERROR")
    tools = _Tools(service, roots)
    hints = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
    for tool in (tools.list_collections, tools.describe, tools.search, tools.similar, tools.get):
        server.tool(annotations=hints, structured_output=False)(tool)
    named = ResourceSecurity(exempt_params={"id"})  # an id is looked up, and never a path
    server.resource(mcp_media.TEMPLATE, mime_type="application/octet-stream", security=named)(tools.media)
    return server


class Picture(NamedTuple):
    """A picture to search by, as its bytes in base64 or as a path; both may be empty."""

    base64: str
    path: str


class _Tools:
    """The tools; their docstrings are what an assistant reads."""

    def __init__(self, service: Service, roots: Sequence[str]) -> None:
        self._service, self._roots = service, roots

    async def list_collections(self, ctx: "Context[Any, Any]") -> "CallToolResult":
        """List the collections that can be searched, with their numbers of items."""
        key = _caller(ctx)

        def work() -> dict[str, Any]:
            found = [self._service.catalogue.get(name, key) for name in self._service.catalogue.names(key)]
            return {
                "collections": [{"name": each.name, "items": each.collection.count(key.condition)} for each in found]
            }

        return _result(await _run(work))

    async def describe(self, collection: str, ctx: "Context[Any, Any]") -> "CallToolResult":
        """Describe a collection: what its items are, and the metadata columns with types and frequent values.

        Args:
            collection: its name.
        """
        key = _caller(ctx)

        def work() -> dict[str, Any]:
            served = self._service.catalogue.get(collection, key)
            told = describe_collection(served, key)
            columns = [_column(served, key, name, kind) for name, kind in list(told["meta"].items())[:_TOLD]]
            targets = sorted({each["key"] for each in told["columns"]})
            return {
                "name": collection,
                "items": told["items"],
                "media": told["media"],
                "targets": targets,
                "columns": columns,
            }

        return _result(await _run(work))

    async def search(
        self,
        collection: str,
        ctx: "Context[Any, Any]",
        text: str = "",
        like: list[str] | None = None,
        unlike: list[str] | None = None,
        where: str = "",
        target: str = "",
        k: int = 10,
        image_base64: str = "",
        image_path: str = "",
        explain: bool = False,
    ) -> "CallToolResult":
        """Search a collection by words, by stored items, or by a picture; returns hits, the first ones with thumbnails.

        Args:
            collection: its name.
            text: words to search for.
            like: ids of stored items that the hits should resemble.
            unlike: ids of stored items that they should not resemble.
            where: an SQL condition on metadata, such as "price < 50 AND colour = 'red'".
            target: the medium to find: text, image, audio, video or pair; any by default.
            k: number of hits.
            image_base64: a picture to search by, at most 4 MB.
            image_path: a picture file to search by, below the folders that the user has allowed by --root.
            explain: whether to tell the plan of the search.
        """
        given = {"text": text, "like": like, "unlike": unlike, "where": where, "target": target}
        words = {name: value for name, value in given.items() if value} | {"k": k}
        image = Picture(image_base64, image_path)
        return await self._search(collection, words, _caller(ctx), image=image, explain=explain)

    async def similar(self, collection: str, id: str, ctx: "Context[Any, Any]", k: int = 10) -> "CallToolResult":
        """Find the stored items most similar to one of them.

        Args:
            collection: its name.
            id: the item.
            k: number of hits.
        """
        return await self._search(collection, {"like": [id], "k": k}, _caller(ctx))

    async def get(self, collection: str, id: str, ctx: "Context[Any, Any]") -> "CallToolResult":
        """Return an item: metadata, its picture, a frame of its video, 10 seconds of its sound, and links to its files.

        Args:
            collection: its name.
            id: the item.
        """
        key = _caller(ctx)

        def work() -> tuple[dict[str, Any], list[Any]]:
            served = self._service.catalogue.get(collection, key)
            found = served.item(id, key)
            parts = [*_images(self._pictures(served, [found])), *self._sounds(served, found)]
            return item(found, self._service.links(served, key)), [*parts, *_file_links(served, found)]

        told, parts = await _run(work)
        return _result(told, parts)

    async def media(self, collection: str, id: str, medium: str, ctx: "Context[Any, Any]") -> bytes:
        """Return the file of an item: medium is image, audio, video, before or after."""
        from mcp.server.mcpserver.exceptions import ResourceError, ToolError

        key = _caller(ctx)

        def work() -> bytes:
            served = self._service.catalogue.get(collection, key)
            return mcp_media.whole(served, served.item(id, key), medium)

        try:
            return await _run(work)
        except ToolError as error:
            raise ResourceError(str(error)) from None

    def _sounds(self, served: Served, found: Item) -> "list[AudioContent]":
        """Return the beginning of the sound of an item, if it has one that is shown."""
        from mcp.types import AudioContent

        if "audio" not in mcp_media.shown(served, found):
            return []
        try:
            data = mcp_media.excerpt(self._service.decoders, found.media["audio"], found.id)
        except QuiverError:  # the item is told all the same
            return []
        if data is None:
            return []
        return [AudioContent(type="audio", data=base64.b64encode(data).decode(), mime_type="audio/wav")]

    async def _search(
        self, collection: str, words: dict[str, Any], key: Key, *, image: "Picture | None" = None,
        explain: bool = False,
    ) -> "CallToolResult":  # fmt: skip
        def work() -> tuple[dict[str, Any], list[bytes]]:
            service = self._service
            served = service.catalogue.get(collection, key)
            files = {"image": self._picture(image)} if image is not None and any(image) else {}
            wanted = asked(words, service.settings.limits, files=files, within=key.condition)
            served.check_examples(wanted.query.examples, key)
            result = served.collection.search(wanted.query)
            told = service.answers.answer(result, wanted, service.links(served, key))
            if explain:
                told["plan"] = text_for(result.plan) if wanted.bound else str(result.plan)
            items = [Item(hit.id, hit.media) for hit in result.hits[:_SHOWN]]
            return told, self._pictures(served, items)

        told, pictures = await _run(work)
        return _result(told, _images(pictures))

    def _picture(self, image: "Picture") -> Any:
        """Decode a picture that an assistant sent or named, in the process for uploads."""
        given = image.base64
        if given and image.path:
            raise BadSpec("give either image_base64 or image_path")
        if image.path:
            return self._service.decoders.decode("image", mcp_media.named(self._roots, image.path), "image_path")
        if len(given) > _SENT * 4 // 3 + 4:
            raise BadSpec(f"image_base64 has at most {_SENT >> 20} MB")
        try:
            data = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            raise BadSpec("image_base64 is no base64: send the bytes of a picture file in it") from None
        return self._service.decoders.decode("image", data, "image_base64")

    def _pictures(self, served: Served, items: Sequence[Item]) -> list[bytes]:
        """Draw the items that can be shown."""
        drawn = []
        for each in items:
            name = next((name for name in each.media if name != "text"), None)
            if name is None or served.collection.hidden(each.media[name]) is not None:
                continue
            kind = "image" if name in ("before", "after") else name
            try:
                drawn.append(self._service.decoders.thumbnail(each.media[name], kind, _SIDE, each.id))
            except QuiverError:
                continue
        return drawn


def _caller(ctx: "Context[Any, Any]") -> Key:
    """Return the key of a request over HTTP; a user of this machine otherwise."""
    request = ctx.request_context.request
    if request is None:
        return ANYONE
    key: Key = request.scope["caller"]
    return key


async def _run(work: Callable[[], T]) -> T:
    """Run the work of a tool in a thread.

    Raises:
        ToolError: it cannot be done; the message is for the assistant.
    """
    from mcp.server.mcpserver.exceptions import ToolError

    try:
        return await run_in_threadpool(work)
    except Problem as problem:
        raise ToolError(problem.detail) from None
    except QuiverError as error:
        raise ToolError(str(error)) from None


def _column(served: Served, key: Key, name: str, kind: str) -> dict[str, Any]:
    found = served.collection.facets(name, key.condition, limit=_FREQUENT)
    told: dict[str, Any] = {"name": name, "type": kind, "values": [plain(each.value) for each in found.values]}
    return told if found.low is None else {**told, "low": plain(found.low), "high": plain(found.high)}


def _images(pictures: Sequence[bytes]) -> "list[ImageContent]":
    from mcp.types import ImageContent

    return [
        ImageContent(type="image", data=base64.b64encode(each).decode(), mime_type="image/jpeg") for each in pictures
    ]


def _file_links(served: Served, found: Item) -> "list[ResourceLink]":
    """Return links to the files of an item, which an assistant reads as resources."""
    from mcp.types import ResourceLink

    return [
        ResourceLink(
            name=f"{name} of {found.id}",
            uri=mcp_media.address(served.name, found.id, name),
            mime_type=mimetypes.guess_type(times(found.media[name])[0])[0] or "application/octet-stream",
        )
        for name in mcp_media.shown(served, found)
    ]


def _result(told: Any, parts: Sequence[Any] = ()) -> "CallToolResult":
    from mcp.types import CallToolResult, TextContent

    values = plain(told)
    text = TextContent(type="text", text=json.dumps(values, ensure_ascii=False))
    return CallToolResult(content=[text, *parts], structured_content=values)
