"""``quiver quarantine``: the items that could not be added, with reasons."""

from typing import Annotated

import typer

from quiver.cli import place, show


def quarantine(
    collection: place.Place,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the items that could not be added: id, file, time and reason."""
    found = place.opened(collection).info().quarantine
    if json:
        show.write_json(found)
        return
    show.write_table(("id", "file", "at", "reason"), [(q.id, q.uri or "-", q.at, q.reason) for q in found])
