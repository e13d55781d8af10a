"""Running the service: checks before it listens, and an orderly end."""

import asyncio
import logging
import socket
import sys
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from quiver.engine.server.app import app_of
from quiver.engine.server.keys import Keys
from quiver.engine.server.served import Catalogue
from quiver.engine.server.service import Service
from quiver.engine.server.settings import Settings
from quiver.errors import BadSpec, optional
from quiver.wording import programs

if TYPE_CHECKING:
    import uvicorn

#: Seconds in which running requests may end after the service was told to stop.
GRACE = 20


def run(
    places: Sequence[str], settings: Settings, *, trust: bool = False, browser: bool = False,
    started: Callable[[str, str | None], None] = print,
) -> None:  # fmt: skip
    """Serve collections until the process is told to stop (SIGINT, SIGTERM).

    Args:
        places: folders or URIs of the collections.
        settings: how to serve them.
        trust: see ``quiver.open``.
        browser: open the page in a browser.
        started: called once the service listens, with its address, and the one of its metrics or None.

    Raises:
        BadSpec: it may not listen at this address, or cannot.
        MissingExtra: the extra ``serve`` is not installed.
    """
    with optional():
        import uvicorn

    keys = Keys()
    settings.check(keys=bool(keys.all()))
    with ExitStack() as stack:
        bound = stack.enter_context(_listening(settings.host, settings.port, "--host or --port"))
        watched = None
        if settings.metrics_port is not None:
            where = settings.metrics_host, settings.metrics_port
            watched = stack.enter_context(_listening(*where, "--metrics-host or --metrics-port"))
        _one_thread_each()
        service = Service(Catalogue(places, trust=trust), settings, keys=keys, trust=trust)
        _log_to_stderr()
        server = uvicorn.Server(_config(service))

        def told(metrics: str | None) -> None:
            address = address_of(server)
            started(address, metrics)
            if browser:
                webbrowser.open(address)

        with (
            programs(),
            suppress(KeyboardInterrupt),
            asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner,
        ):
            runner.run(_serve(service, server, bound, watched, told))


def _config(service: Service) -> "uvicorn.Config":
    import uvicorn

    return uvicorn.Config(
        app_of(service),
        log_level="critical",  # what a user can mend is one line of ours; what strangers send is no news
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=4 * service.settings.limits.waiting,
        lifespan="on",
    )


async def _serve(
    service: Service, server: "uvicorn.Server", bound: socket.socket, watched: socket.socket | None,
    told: Callable[[str | None], None],
) -> None:  # fmt: skip
    """Serve until the process is told to stop; the metrics are answered until the last search has ended."""
    from quiver.engine.server.metrics_port import beside

    serving, metrics = asyncio.create_task(server.serve(sockets=[bound])), None
    other = None if watched is None else beside(service, watched)
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if other is not None and server.started:
            while not other[0].started and not other[1].done():
                await asyncio.sleep(0.01)
            metrics = f"{address_of(other[0])}/metrics"
        if server.started:
            told(metrics)
        await serving
    finally:
        if other is not None:
            other[0].should_exit = True
            await other[1]


def _listening(host: str, port: int, options: str) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        BadSpec: it cannot be; the message names the options to change.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends what is written at once; without, a client waits 40 ms for the second half.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen()  # two sockets may be bound to one port, but only one may listen
    except OSError as error:
        made.close()
        raise BadSpec(f"cannot listen at {host}:{port}: {error.strerror or error}; choose another {options}") from None
    return made


def run_tools(places: Sequence[str], *, roots: Sequence[str] = (), trust: bool = False) -> None:
    """Serve the tools for assistants over standard input and output, until it ends.

    Args:
        places: folders or URIs of the collections.
        roots: folders from which the assistant may name pictures.
        trust: see ``quiver.open``.

    Raises:
        MissingExtra: the extra ``mcp`` is not installed.
        BadSpec: a root is no folder.
    """
    from quiver.engine.server.mcp_media import roots_of
    from quiver.engine.server.mcp_tools import tools_of

    allowed = roots_of(roots)
    service = Service(Catalogue(places, trust=trust), Settings(shadow=0), trust=trust)
    try:
        with programs():
            tools_of(service, roots=allowed).run("stdio")
    finally:
        service.close()


def address_of(server: "object") -> str:
    """Return the address of a running uvicorn server."""
    (listening, *_) = (line for each in server.servers for line in each.sockets)  # type: ignore[attr-defined]
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _one_thread_each() -> None:
    """Let each search compute in one thread: several run at once, and their threads would wait for each other."""
    import faiss

    faiss.omp_set_num_threads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _log_to_stderr() -> None:
    """Show the service's own lines: slow searches, and writes."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every broken form
    logger = logging.getLogger("quiver.server")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
