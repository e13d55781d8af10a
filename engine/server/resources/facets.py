"""Facets: the values of a metadata column with their numbers of items."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from quiver.engine.execution.plan import plain
from quiver.engine.server.asked import decoded, joined
from quiver.engine.server.examples import body, errors
from quiver.engine.server.problems import Problem
from quiver.engine.server.resources.items import checked
from quiver.engine.server.resources.search import Name
from quiver.engine.server.service import answered, caller, service_of, whole
from quiver.errors import BadSpec

router = APIRouter(prefix="/v1/collections/{collection}/facets", tags=["collections"])
_SCHEMA = {
    "type": "object",
    "required": ["column"],
    "properties": {
        "column": {"type": "string"},
        "where": {"type": "string"},
        "params": {"anyOf": [{"type": "object"}, {"type": "array"}]},
        "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 20},
    },
    "additionalProperties": False,
}


@router.get("", summary="Values of a column", responses=errors(404, 422))
async def facets(
    request: Request,
    collection: Name,
    column: Annotated[str, Query(description="A metadata column.", examples=["colour"])],
    where: Annotated[str | None, Query(description="An SQL condition: only matching items count.")] = None,
    limit: Annotated[str, Query(description="Most values.")] = "20",
) -> Response:
    """Return the values of a metadata column with the number of items of each, the most frequent first."""
    return await _facets(request, {"column": column, "where": where, "limit": whole(limit, "limit")})


@router.post(
    "", summary="Values of a column, with parameters",
    openapi_extra=body(_SCHEMA, {"column": "colour", "where": "price < :most", "params": {"most": 5}}),
    responses=errors(400, 404, 422),
)  # fmt: skip
async def parametrised(request: Request, collection: Name) -> Response:
    """Return the same for a condition with parameters."""
    return await _facets(request, checked(decoded(await request.body()), ("column", "where", "params", "limit")))


async def _facets(request: Request, given: dict[str, Any]) -> Response:
    service, key = service_of(request), caller(request)
    served, most = service.collection(request), service.settings.limits.columns
    column, limit = given.get("column"), given.get("limit", 20)
    if not isinstance(column, str):
        raise BadSpec(f"column is the name of a metadata column, not {str(column)[:50]!r}")
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 < limit <= most:
        raise Problem(422, f"limit is from 1 to {most} here, not {str(limit)[:50]}", limit=most)
    condition = joined(given.get("where"), given.get("params"), key.condition)
    version = await service.version(request, served)
    found = await service.heavy(lambda: served.at(version).facets(column, condition, limit=limit))
    told = {**plain(found.to_dict()), "type": served.types(version).get(column, "")}
    return answered(told, version=version)
