"""Collections: their names, and what each holds."""

import re
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from quiver.engine.server.examples import errors
from quiver.engine.server.keys import Key
from quiver.engine.server.resources.search import Name
from quiver.engine.server.served import Served
from quiver.engine.server.service import answered, caller, service_of

router = APIRouter(prefix="/v1/collections", tags=["collections"])
#: A path among the options of an encoder.
_PATH = re.compile(r"(?<==)['\"]?(?:[^\s'\"]*/)+")


@router.get("", summary="List collections", responses=errors())
async def collections(request: Request) -> Response:
    """Return the names and numbers of items of the collections that exist for this key."""
    service, key = service_of(request), caller(request)

    def read() -> list[dict[str, Any]]:
        found = [service.catalogue.get(name, key) for name in service.catalogue.names(key)]
        return [
            {"name": each.name, "items": each.collection.count(key.condition), "version": each.version}
            for each in found
        ]

    return answered({"collections": await service.off(read)})


@router.get("/{collection}", summary="Describe a collection", responses=errors(404))
async def collection(request: Request, collection: Name) -> Response:
    """Return what a collection holds: items by medium, vector columns with indexes, encoders, metadata columns."""
    service = service_of(request)
    served = service.collection(request)
    found = await service.heavy(describe, served, caller(request))
    return answered(found, version=found["version"])


def describe(served: Served, key: Key) -> dict[str, Any]:
    """Return the summary of a collection for a key: without paths; a key with a condition sees its own counts alone."""
    info = served.collection.info().to_dict()
    info["uri"] = served.name
    info["quarantine"] = len(info["quarantine"])
    info["encoders"] = {_PATH.sub("", spec): keys for spec, keys in info["encoders"].items()}
    for column in info["columns"]:
        column["encoder"] = None if column["encoder"] is None else _PATH.sub("", column["encoder"])
    for threshold in info["thresholds"]:  # its questions may come from a file
        threshold["source"] = threshold["source"].replace("\\", "/").rpartition("/")[2]
    info["scorers"] = [_PATH.sub("", each) for each in info["scorers"]]
    if key.condition is not None:
        info["items"], info["media"], info["windows"] = served.collection.count(key.condition), {}, {}
        info["quarantine"], info["thresholds"] = 0, []
        for column in info["columns"]:  # both count all items
            column["behind"], column["promises"] = {}, {}
    return {"name": served.name, **info}
