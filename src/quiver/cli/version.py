"""``quiver versions``: the history of a collection."""

from typing import Annotated

import typer

from quiver.cli import place, show


def versions(
    collection: place.Place,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the versions: number, time, number of items."""
    found = place.opened(collection).versions()
    if json:
        show.write_json(found)
        return
    show.write_table(("version", "at", "items"), [(v.version, v.at, f"{v.items:,}") for v in found])
