"""The application: all parts of the service put together, and how it is run."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

import quiver
from quiver.engine.server.direct import Direct, Handler
from quiver.engine.server.problems import Problem, problem_of
from quiver.engine.server.resources import (
    changes,
    collections,
    docs,
    duplicates,
    facets,
    health,
    items,
    jobs,
    media,
    page,
    pages,
    search,
    versions,
)
from quiver.engine.server.service import Service, without_paths
from quiver.engine.server.shield import App, Shield
from quiver.errors import QuiverError, explained

_LOG = logging.getLogger("quiver.server")
#: Order matters only where a path could be matched twice.
_RESOURCES = (
    search, pages, versions, facets, duplicates, collections, media, changes, items, jobs, health, docs, page,
)  # fmt: skip
_ABOUT = """Find anything with anything: text, pictures, sounds and videos in typed vector spaces.

The words of a search are those of `Collection.search` in Python. Errors are RFC 9457 problem documents whose detail
says what to do. `Quiver-Version` in an answer names its version; a request that sends it asks for that version.
"""


def app_of(service: Service) -> App:
    """Return the ASGI application of a service, with the shield around it."""
    api = FastAPI(
        title="Quiver",
        version=quiver.__version__,
        description=_ABOUT,
        lifespan=_lifespan,
        docs_url=None,  # its script would come from elsewhere: resources/docs is ours
        redoc_url=None,
        generate_unique_id_function=lambda route: f"{route.tags[0] if route.tags else 'page'}-{route.name}",
    )
    api.state.service = service
    for resource in _RESOURCES:
        api.include_router(resource.router)
    _add_tools(api, service)
    for kind, handler in _HANDLERS.items():
        api.add_exception_handler(kind, handler)
    return Shield(Direct(api, _failed), settings=service.settings, keys=service.keys, tokens=service.tokens)


def _add_tools(api: FastAPI, service: Service) -> None:
    """Add ``/mcp`` if its extra is installed; the shield has checked host, origin and key before."""
    api.state.tools = None
    if find_spec("mcp") is None:
        return
    from mcp.server.transport_security import TransportSecuritySettings

    from quiver.engine.server.mcp_tools import tools_of

    api.state.tools = tools = tools_of(service)
    open_security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    made = tools.streamable_http_app(json_response=True, stateless_http=True, transport_security=open_security)
    api.router.routes.extend(made.routes)


@asynccontextmanager
async def _lifespan(api: FastAPI) -> AsyncIterator[None]:
    """Load what searches need, compare answers, look for changes, and release all parts at the end."""
    service: Service = api.state.service
    async with AsyncExitStack() as stack:
        stack.callback(service.close)
        await service.jobs.start()
        stack.push_async_callback(service.jobs.stop)
        if api.state.tools is not None:
            await stack.enter_async_context(api.state.tools.session_manager.run())
        service.warm()
        beside = [
            asyncio.create_task(service.watching.compare(lambda: service.gate.idle, service.off)),
            asyncio.create_task(service.follow()),
        ]
        try:
            yield
        finally:
            service.ready = False
            for each in beside:
                each.cancel()
            await asyncio.gather(*beside, return_exceptions=True)


async def _problem(request: Request, error: Any) -> Response:
    return error.response()


async def _error(request: Request, error: Any) -> Response:
    problem = problem_of(error)
    problem.detail = without_paths(request, problem.detail)
    return problem.response()


async def _http(request: Request, error: Any) -> Response:
    detail = str(error.detail)
    if error.status_code == 404 and detail == "Not Found":
        detail = f"there is nothing at {request.url.path[:200]}: /docs lists what there is"
    if error.status_code == 405:
        detail = f"{request.method} is not answered here; allowed: {(error.headers or {}).get('Allow', 'see /docs')}"
    return Problem(error.status_code, detail, headers=error.headers).response()


async def _invalid(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    place = ".".join(str(each) for each in first["loc"][1:])
    return Problem(422, f"{place}: {first['msg']}", kind="bad-parameter").response()


async def _failed(request: Request, error: Exception) -> Response:
    """Answer an error by the handler of its kind, as FastAPI does."""
    handler = next(_HANDLERS[kind] for kind in type(error).__mro__ if kind in _HANDLERS)
    return await handler(request, error)


async def _fault(request: Request, error: Exception) -> Response:
    told = explained(error)
    if isinstance(told, QuiverError):
        return await _error(request, told)
    _LOG.error("a request failed: %s %s", request.method, request.url.path, exc_info=error)
    return Problem(500, "Quiver failed to answer: its log has the reason").response()


_HANDLERS: dict[type[Exception], Handler] = {
    Problem: _problem,
    QuiverError: _error,
    HTTPException: _http,
    RequestValidationError: _invalid,
    Exception: _fault,
}
