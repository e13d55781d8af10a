"""``quiver serve``: collections over HTTP."""

from typing import Annotated

import typer

from quiver.cli import show


def serve(
    collections: Annotated[
        list[str],
        typer.Argument(metavar="COLLECTION...", help="Folders or URIs; NAME=FOLDER serves one under another name."),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen at. Others than this machine's own need keys: `quiver key add`.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65_535)] = 8000,
    name: Annotated[
        list[str] | None, typer.Option(help="A name by which others reach this machine; may be repeated.")
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    slow_ms: Annotated[float, typer.Option(help="Log searches that take longer, in milliseconds.")] = 1_000,
    shadow: Annotated[
        int, typer.Option(help="Compare one answer in so many with an exact search, in idle time; 0: none.", min=0)
    ] = 1_000,
    warm: Annotated[
        bool, typer.Option(help="Load indexes and encoders at once; /readyz says when. Else the first searches do.")
    ] = True,
    refresh: Annotated[
        float,
        typer.Option(
            help="Look for changes by other programs every so many seconds. New versions of a folder are seen at once."
        ),
    ] = 2.0,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Answer /metrics, /livez and /readyz at this port too, without a key.", min=0, max=65_535),
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Address of the metrics port.")] = "127.0.0.1",
    trust: show.Trust = False,
) -> None:
    """Serve collections over HTTP: a page to search with, and an interface for programs (/docs).

    Without --host only this machine can reach it, and it needs no key. Once a key exists, every request needs one.
    """
    from quiver.engine.server.running import run
    from quiver.engine.server.settings import Settings
    from quiver.errors import optional

    with optional():
        settings = Settings(
            host=host, port=port, names=tuple(name or ()), slow_ms=slow_ms, shadow=shadow, warm=warm, refresh=refresh,
            metrics_port=metrics_port, metrics_host=metrics_host,
        )  # fmt: skip
        run(collections, settings, trust=trust, browser=open, started=_say)


def _say(address: str, metrics: str | None) -> None:
    print(f"serving at {address} (the interface: {address}/docs); Ctrl-C ends it", flush=True)
    if metrics is not None:
        print(f"metrics at {metrics}", flush=True)
