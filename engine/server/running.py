"""Running the service: checks before it listens, and an orderly end."""

import asyncio
import logging
import socket
import sys
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress

from quiver.engine.server.app import app_of
from quiver.engine.server.keys import Keys
from quiver.engine.server.served import Catalogue
from quiver.engine.server.service import Service
from quiver.engine.server.settings import Settings
from quiver.errors import BadSpec, optional

#: Seconds in which running requests may end after the service was told to stop.
GRACE = 20


def run(
    places: Sequence[str], settings: Settings, *, trust: bool = False, browser: bool = False,
    started: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Serve collections until the process is told to stop (SIGINT, SIGTERM).

    Args:
        places: folders or URIs of the collections.
        settings: how to serve them.
        trust: see ``quiver.open``.
        browser: open the page in a browser.
        started: called with the address once the service listens.

    Raises:
        BadSpec: it may not listen at this address, or cannot.
        MissingExtra: the extra ``serve`` is not installed.
    """
    with optional():
        import uvicorn

    keys = Keys()
    settings.check(keys=bool(keys.all()))
    bound = _listening(settings)
    _one_thread_each()
    service = Service(Catalogue(places, trust=trust), settings, keys=keys, trust=trust)
    _log_to_stderr()
    config = uvicorn.Config(
        app_of(service),
        host=settings.host,
        port=settings.port,
        log_level="critical",  # what a user can mend is one line of ours; what strangers send is no news
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=4 * settings.limits.waiting,
        lifespan="on",
    )
    server = uvicorn.Server(config)

    async def serve() -> None:
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            address = address_of(server)
            started(address)
            if browser:
                webbrowser.open(address)
        await serving

    with suppress(KeyboardInterrupt):
        asyncio.run(serve())


def _listening(settings: Settings) -> socket.socket:
    """Return a socket that is bound to the address of the service.

    Raises:
        BadSpec: it cannot be.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol named, asyncio sends what is written at once; without, a client waits 40 ms for the second half.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((settings.host, settings.port))
    except OSError as error:
        made.close()
        place = f"{settings.host}:{settings.port}"
        raise BadSpec(f"cannot listen at {place}: {error.strerror or error}; choose another --host or --port") from None
    return made


def run_tools(places: Sequence[str], *, trust: bool = False) -> None:
    """Serve the tools for assistants over standard input and output, until it ends.

    Raises:
        MissingExtra: the extra ``mcp`` is not installed.
    """
    from quiver.engine.server.mcp_tools import tools_of

    service = Service(Catalogue(places, trust=trust), Settings(shadow=0), trust=trust)
    try:
        tools_of(service).run("stdio")
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
