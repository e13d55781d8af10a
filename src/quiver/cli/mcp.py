"""``quiver mcp``: tools for assistants, over standard input and output."""

from typing import Annotated

import typer

from quiver.cli import show


def mcp(
    collections: Annotated[
        list[str],
        typer.Argument(metavar="COLLECTION...", help="Folders or URIs; NAME=FOLDER serves one under another name."),
    ],
    root: Annotated[
        list[str] | None, typer.Option(help="A folder from which the assistant may name pictures; may be repeated.")
    ] = None,
    trust: show.Trust = False,
) -> None:
    """Let an assistant search collections, by the Model Context Protocol over standard input and output.

    Its tools are read-only: list_collections, describe, search, similar, get. `quiver serve` has them too, at /mcp.
    """
    from quiver.errors import optional

    with optional():
        from quiver.engine.server.running import run_tools

        run_tools(collections, roots=root or (), trust=trust)
