"""``quiver count``: count items."""

from typing import Annotated

import typer

from quiver.cli import place, show


def count(
    collection: place.Place,
    where: Annotated[
        str | None, typer.Option(help='SQL condition, such as "price < 5": count the matching items.')
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(help="Value of a :name in --where, such as most=50; a name repeated is a list for IN."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count all items, or those that match a condition."""
    found = place.opened(collection).count(where, show.params(param))
    if json:
        show.write_json({"items": found})
    else:
        print(found)
