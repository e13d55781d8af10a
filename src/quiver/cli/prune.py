"""``quiver prune``: remove old versions of a collection."""

from dataclasses import asdict
from typing import Annotated

import typer

from quiver.cli import place, show


def prune(
    collection: place.Place,
    days: Annotated[float, typer.Option(help="Keep versions that are younger than this many days.")] = 7,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove old versions and free their disk space. The newest version always stays."""
    pruned = place.opened(collection).prune(days=days)
    if json:
        show.write_json(asdict(pruned))
        return
    print(f"{pruned.versions:,} versions removed, {pruned.bytes / 1e6:,.1f} MB freed")
