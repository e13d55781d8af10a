"""Metrics and health at an address of their own, so that a scrape needs no key and the public address tells nothing.

Nothing else is answered there. The host of a request is checked as everywhere, since a page in a browser on this
machine could reach the address under another name.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from quiver.engine.server.problems import Problem
from quiver.engine.server.resources.health import metrics_of, ready
from quiver.engine.server.service import Service
from quiver.engine.server.shield import Receive, Scope, Send, Sender, check_host

_PATHS = ("/metrics", "/livez", "/readyz")


class Metrics:
    """The ASGI application of the metrics port.

    Args:
        service: what is measured.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        sender, request = Sender(send), Request(scope)
        try:
            check_host(self._service.settings, request.headers.get("host", ""))
            answer = await self._answer(request)
        except Problem as problem:
            answer = problem.response()
        await answer(scope, receive, sender)

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        if path not in _PATHS:
            raise Problem(404, f"this address has {', '.join(_PATHS)} only")
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, f"{request.method} is not answered here", headers={"Allow": "GET, HEAD"})
        if path == "/metrics":
            return await metrics_of(self._service)
        return PlainTextResponse("ok\n") if path == "/livez" else await ready(self._service)


class _Beside(uvicorn.Server):
    """A server that leaves signals to the main one."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle none."""
        yield


def beside(service: Service, bound: socket.socket) -> "tuple[uvicorn.Server, asyncio.Task[None]]":
    """Start to serve the metrics at a socket, in the running event loop; returns the server and its task."""
    config = uvicorn.Config(
        Metrics(service), log_level="critical", access_log=False, server_header=False, lifespan="off"
    )
    server = _Beside(config)
    return server, asyncio.create_task(server.serve(sockets=[bound]))
