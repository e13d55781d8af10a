"""``quiver get``: items by id."""

from typing import Annotated

import typer

from quiver.cli import show
from quiver.errors import BadSpec


def get(
    collection: Annotated[str, typer.Argument(help="Folder or object-store URI of the collection.")],
    ids: Annotated[list[str], typer.Argument(help="Ids of items.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON; numbers that are not finite are null.")] = False,
) -> None:
    """Show the media and metadata of items."""
    import quiver

    items = quiver.open(collection).get(ids)
    if absent := sorted(set(ids).difference(item.id for item in items)):
        raise BadSpec(f"no item has the id {absent[0]!r}")
    if json:
        show.write_json(items)
        return
    for item in items:
        print(show.escaped(item.id))
        for name, value in (*item.media.items(), *item.meta.items()):
            print(f"  {show.escaped(name)}: {show.escaped(value)}")
