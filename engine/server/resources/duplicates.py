"""Near-duplicates: groups of items with equal files, or with vectors that are almost equal."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from quiver.engine.execution.plan import plain
from quiver.engine.server.asked import decoded, joined
from quiver.engine.server.examples import body, errors
from quiver.engine.server.problems import Problem
from quiver.engine.server.resources.items import checked
from quiver.engine.server.resources.search import Name
from quiver.engine.server.served import Served
from quiver.engine.server.service import answered, caller, service_of
from quiver.engine.server.settings import Limits
from quiver.errors import BadSpec

router = APIRouter(prefix="/v1/collections/{collection}/duplicates", tags=["collections"])
_SCHEMA = {
    "type": "object",
    "properties": {
        "where": {"type": "string"},
        "params": {"anyOf": [{"type": "object"}, {"type": "array"}]},
        "space": {"type": "string"},
        "target": {"enum": ["text", "image", "audio", "video", "pair"]},
        "threshold": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 0.98},
    },
    "additionalProperties": False,
}


@router.post(
    "", summary="Near-duplicates", openapi_extra=body(_SCHEMA, {"where": "price < 5", "threshold": 0.98}),
    responses=errors(400, 404, 422, 503),
)  # fmt: skip
async def duplicates(request: Request, collection: Name) -> Response:
    """Return groups of near-duplicates, the largest first.

    Every two items are compared, so at most 20,000 items may match the condition.
    """
    service, key = service_of(request), caller(request)
    served, limits = service.collection(request), service.settings.limits
    given = checked(decoded(await request.body()), ("where", "params", "space", "target", "threshold"))
    condition = joined(given.pop("where", None), given.pop("params", None), key.condition)
    for name in ("space", "target"):
        if not isinstance(given.get(name), str | None):
            raise BadSpec(f"{name} is a text, not {str(given[name])[:50]!r}")
    version = await service.version(request, served)
    found = await service.heavy(_found, served, version, condition, given, limits)
    return answered(found, version=version)


def _found(served: Served, version: int | None, condition: Any, given: dict[str, Any], limits: Limits) -> Any:
    at = served.at(version)
    if (count := at.count(condition)) > limits.compared:
        raise Problem(
            422,
            f"near-duplicates are sought among at most {limits.compared:,} items here, and {count:,} match: add a"
            " condition, or run `quiver duplicates` where the collection is",
            limit=limits.compared,
        )
    return plain(at.duplicates(condition, **given).to_dict())
