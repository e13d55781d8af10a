"""Items: one by its id, some by a condition, and streams of all."""

import io
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from quiver.engine.server.answers import item as item_json
from quiver.engine.server.asked import decoded, joined
from quiver.engine.server.examples import body, errors
from quiver.engine.server.forms import ARROW
from quiver.engine.server.keys import Key
from quiver.engine.server.problems import Problem
from quiver.engine.server.resources.media import Id, id_of
from quiver.engine.server.resources.search import Name
from quiver.engine.server.served import Served
from quiver.engine.server.service import Service, answered, caller, service_of, whole
from quiver.errors import BadSpec
from quiver.types import MEDIA, Item

router = APIRouter(prefix="/v1/collections/{collection}", tags=["items"])
_STRINGS = {"type": "array", "items": {"type": "string"}}
_CONDITION = {"where": {"type": "string"}, "params": {"anyOf": [{"type": "object"}, {"type": "array"}]}}
_GET = {"type": "object", "properties": {"ids": _STRINGS}, "required": ["ids"], "additionalProperties": False}
_STORED = {
    "type": "object",
    "properties": {"ids": _STRINGS, **_CONDITION},
    "required": ["ids"],
    "additionalProperties": False,
}
_COUNT = {"type": "object", "properties": _CONDITION, "additionalProperties": False}
_HEAD = {
    "type": "object",
    "properties": {**_CONDITION, "limit": {"type": "integer", "minimum": 1, "maximum": 1000}},
    "additionalProperties": False,
}
_SCAN = {
    "type": "object",
    "properties": {**_CONDITION, "columns": _STRINGS, "spaces": _STRINGS},
    "additionalProperties": False,
}


@router.get("/items/{id}", summary="An item", responses=errors(404, 410))
async def item(request: Request, collection: Name, id: Id) -> Response:
    """Return an item: its metadata, and links to its media."""
    service, key = service_of(request), caller(request)
    served = service.collection(request)
    version = await service.version(request, served)
    found = await service.off(lambda: served.item(id_of(id), key, version=version))
    return answered(item_json(found, service.links(served, key)))


@router.get("/items", summary="First items", responses=errors(404, 410, 422))
async def items(
    request: Request,
    collection: Name,
    where: Annotated[str | None, Query(description="An SQL condition.", examples=["price < 5"])] = None,
    limit: Annotated[str, Query(description="Number of items, at most 1000.")] = "10",
) -> Response:
    """Return the first items, or the first that match a condition, in the order on disk."""
    service, key = service_of(request), caller(request)
    served, most = service.collection(request), whole(limit, "limit")
    if not 0 < most <= service.settings.limits.k:
        raise Problem(422, f"limit is from 1 to {service.settings.limits.k} here, not {most}")
    version = await service.version(request, served)
    condition = joined(where, None, key.condition)
    found = await service.heavy(lambda: served.at(version).head(most, condition))
    links = service.links(served, key)
    return answered({"items": [item_json(each, links) for each in found]}, version=version)


@router.post(
    "/items/head",
    summary="First items, with parameters",
    openapi_extra=body(_HEAD, {"where": "price < :most", "params": {"most": 5}, "limit": 3}),
    responses=errors(400, 422),
)
async def head(request: Request, collection: Name) -> Response:
    """Return the first items that match a condition with parameters, in the order on disk."""
    service, key = service_of(request), caller(request)
    served, most = service.collection(request), service.settings.limits.k
    given = checked(decoded(await request.body()), ("where", "params", "limit"))
    limit = given.get("limit", 10)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 < limit <= most:
        raise Problem(422, f"limit is from 1 to {most} here, not {str(limit)[:50]}", limit=most)
    condition = joined(given.get("where"), given.get("params"), key.condition)
    version = await service.version(request, served)
    found = await service.heavy(lambda: served.at(version).head(limit, condition))
    return _several(service, served, key, found, version)


def _several(service: Service, served: Served, key: Key, found: Sequence[Item], version: int | None) -> Response:
    """Return items, with the types of their metadata, which JSON has not."""
    links = service.links(served, key)
    types = served.types(version)
    return answered({"items": [item_json(each, links) for each in found], "types": types}, version=version)


@router.post(
    "/items/get", summary="Items by id", openapi_extra=body(_GET, {"ids": ["a.jpg"]}), responses=errors(400, 422)
)
async def get(request: Request, collection: Name) -> Response:
    """Return the stored items among some ids, in the order of the ids."""
    service, key = service_of(request), caller(request)
    served = service.collection(request)
    given = checked(decoded(await request.body()), ("ids",))
    named = ids_of(given.get("ids"), service.settings.limits.ids)
    version = await service.version(request, served)
    found = await service.off(lambda: served.visible(named, key, version=version))
    return _several(service, served, key, found, version)


@router.post(
    "/items/stored",
    summary="Which ids are stored",
    openapi_extra=body(_STORED, {"ids": ["a.jpg"], "where": "price < 5"}),
    responses=errors(400, 422),
)
async def stored(request: Request, collection: Name) -> Response:
    """Return those of some ids that are stored, and match a condition, in the order given."""
    service, key = service_of(request), caller(request)
    served = service.collection(request)
    given = checked(decoded(await request.body()), ("ids", "where", "params"))
    named = ids_of(given.get("ids"), service.settings.limits.ids)
    condition = joined(given.get("where"), given.get("params"), key.condition)
    version = await service.version(request, served)
    found = await service.off(lambda: served.at(version).stored(named, where=condition))
    return answered({"ids": found}, version=version)


@router.post(
    "/items/count",
    summary="Count items",
    openapi_extra=body(_COUNT, {"where": "price < 5"}),
    responses=errors(400, 422),
)
async def count(request: Request, collection: Name) -> Response:
    """Count the items that match a condition, or all; exact."""
    service, key = service_of(request), caller(request)
    served = service.collection(request)
    given = checked(decoded(await request.body()), ("where", "params"))
    condition = joined(given.get("where"), given.get("params"), key.condition)
    version = await service.version(request, served)
    found = await service.heavy(lambda: served.at(version).count(condition))
    return answered({"count": found}, version=version)


@router.post(
    "/items/scan", summary="Stream items", openapi_extra=body(_SCAN, {"where": "price < 5", "columns": ["price"]}),
    responses={200: {"description": "Arrow record batches", "content": {ARROW: {}}}, **errors(400, 422)},
    response_class=StreamingResponse,
)  # fmt: skip
async def scan(request: Request, collection: Name) -> Response:
    """Stream items as Arrow record batches, with vectors of some spaces; media are no columns of them."""
    service, key = service_of(request), caller(request)
    served = service.collection(request)
    given = checked(decoded(await request.body()), ("where", "params", "columns", "spaces"))
    columns, spaces = given.get("columns"), given.get("spaces") or ()
    files = [name for name in MEDIA if name != "text"]
    if columns is not None and (bad := [name for name in ids_of(columns, 10_000) if name in files]):
        raise BadSpec(f"{bad[0]} is a medium: get the item, it has a link to it")
    condition = joined(given.get("where"), given.get("params"), key.condition)
    version = await service.version(request, served)

    def begin() -> tuple[Iterator[pa.RecordBatch], pa.RecordBatch | None]:
        batches = served.at(version).scan(columns, condition, spaces=spaces)
        kept = (batch.drop_columns([name for name in files if name in batch.schema.names]) for batch in batches)
        return kept, next(kept, None)

    batches, first = await service.heavy(begin)
    return StreamingResponse(_stream(batches, first), media_type=ARROW)


def _stream(batches: Iterator[pa.RecordBatch], first: pa.RecordBatch | None) -> Iterator[bytes]:
    held = io.BytesIO()
    schema = first.schema if first is not None else pa.schema([("id", pa.string())])
    with pa.ipc.new_stream(held, schema) as writer:
        batch = first
        while batch is not None:
            writer.write_batch(batch)
            yield held.getvalue()
            held.seek(0)
            held.truncate()
            batch = next(batches, None)
    yield held.getvalue()


def checked(given: Any, known: tuple[str, ...]) -> dict[str, Any]:
    """Return a JSON object with known words.

    Raises:
        Problem: it is none, or has another word.
    """
    if not isinstance(given, dict):
        raise Problem(422, f"the body is a JSON object with {', '.join(known)}", kind="bad-body")
    if odd := [word for word in given if word not in known]:
        raise Problem(422, f"there is no {odd[0][:50]!r} here: there are {', '.join(known)}", kind="unknown-option")
    return given


def ids_of(given: Any, most: int) -> list[str]:
    """Return a list of texts.

    Raises:
        Problem: it is none, or has too many.
    """
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise Problem(422, "give a list of texts", kind="bad-body")
    if len(given) > most:
        raise Problem(422, f"a list has at most {most:,} entries here, not {len(given):,}", limit=most)
    return given
