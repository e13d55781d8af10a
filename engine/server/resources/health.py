"""Health: whether the process lives, whether it takes requests, and its metrics."""

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from quiver.engine.server.examples import errors
from quiver.engine.server.problems import Problem
from quiver.engine.server.service import Service, caller, service_of
from quiver.errors import QuiverError

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Whether the process lives", response_class=PlainTextResponse)
async def livez() -> Response:
    """Answer as long as the process can."""
    return PlainTextResponse("ok\n")


@router.get("/readyz", summary="Whether it takes requests", response_class=PlainTextResponse, responses=errors(503))
async def readyz(request: Request) -> Response:
    """Answer 200 if every collection can be read, and 503 if not, or while the service begins or ends."""
    return await ready(service_of(request))


async def ready(service: Service) -> Response:
    """Return whether a service takes requests.

    Raises:
        Problem: it is ending, still loads its collections, or cannot read one.
    """
    if not service.ready:
        raise Problem(503, "the service is ending", headers={"Retry-After": "5"}, kind="ending")
    if service.warming:
        detail = "the service loads its collections; it answers, but the first searches are slow"
        raise Problem(503, detail, headers={"Retry-After": "1"}, kind="loading")
    for served in service.catalogue.all():
        try:
            await service.off(served.look)
        except QuiverError:
            raise Problem(503, f"{served.name} cannot be read now", kind="unreadable") from None
    return PlainTextResponse("ready\n")


@router.get("/metrics", summary="Metrics", response_class=PlainTextResponse, responses=errors())
async def metrics(request: Request) -> Response:
    """Return metrics in the text format of Prometheus. Where keys exist, this needs the scope `admin`."""
    if not caller(request).may("admin"):
        raise Problem(403, "metrics need a key with the scope admin", scope="admin")
    service, key = service_of(request), caller(request)
    if key.where is not None or not all(key.reaches(each.name) for each in service.catalogue.all()):
        raise Problem(403, "metrics tell of all items of all collections: use a key that is bound to none")
    return await metrics_of(service)


async def metrics_of(service: Service) -> Response:
    """Return the metrics of a service."""
    found = await service.off(service.watching.describe, list(service.catalogue.all()))
    return Response(found, media_type="text/plain; version=0.0.4; charset=utf-8")
