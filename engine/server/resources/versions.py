"""What is known about a collection beside its items: columns, versions, quarantine, indexes with their promises."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from quiver.engine.execution.plan import plain
from quiver.engine.server.examples import errors
from quiver.engine.server.problems import Problem
from quiver.engine.server.resources.collections import describe
from quiver.engine.server.resources.search import Name
from quiver.engine.server.service import answered, caller, service_of, without_paths

router = APIRouter(prefix="/v1/collections/{collection}", tags=["collections"])


@router.get("/columns", summary="Metadata columns", responses=errors(404))
async def columns(request: Request, collection: Name) -> Response:
    """Return the metadata columns with their types, and the vector columns."""
    service = service_of(request)
    served = service.collection(request)
    told = await service.heavy(describe, served, caller(request))
    meta = [{"name": name, "type": kind} for name, kind in told["meta"].items()]
    vectors = [
        {"key": each["key"], "space": each["space"], "dim": each["dim"], "metric": each["metric"]}
        for each in told["columns"]
    ]
    return answered({"meta": meta, "vectors": vectors}, version=told["version"])


@router.get("/indexes", summary="Indexes with their recall targets", responses=errors(404))
async def indexes(request: Request, collection: Name) -> Response:
    """Return the indexes of each vector column: how far each is behind, and the recall that it promises."""
    service = service_of(request)
    served = service.collection(request)
    told = await service.heavy(describe, served, caller(request))
    kept = ("key", "space", "default", "indexes", "behind", "promises")
    found = [{name: plain(each[name]) for name in kept} for each in told["columns"]]
    return answered({"indexes": found}, version=told["version"])


@router.get("/versions", summary="Versions", responses=errors(404))
async def versions(request: Request, collection: Name) -> Response:
    """Return the versions: number, time and number of items. A key with a condition sees no numbers of items."""
    service, key = service_of(request), caller(request)
    served = service.collection(request)
    found = [each.to_dict() for each in await service.heavy(served.collection.versions)]
    if key.condition is not None:
        found = [{**each, "items": None} for each in found]
    return answered({"versions": found})


@router.get("/quarantine", summary="Items that could not be added", responses=errors(404))
async def quarantine(request: Request, collection: Name) -> Response:
    """Return the items that could not be added, with reasons, and without folders."""
    service, key = service_of(request), caller(request)
    served = service.collection(request)
    if key.condition is not None:
        raise Problem(403, "this key has a condition on items, and items in quarantine have no metadata to match")
    info = await service.heavy(served.collection.info)
    found: list[dict[str, Any]] = []
    for each in info.quarantine:
        name = (each.uri or each.id).rsplit("/", 1)[-1]
        folder = (each.uri or "").removesuffix(name)
        reason = each.reason.replace(folder, "") if folder else each.reason
        found.append({"id": each.id, "file": name, "reason": without_paths(request, reason), "at": each.at})
    return answered({"quarantine": found})
