"""``quiver get``: items by id."""

from typing import Annotated

import typer

from quiver.cli import place, show


def get(
    collection: place.Place,
    ids: Annotated[list[str], typer.Argument(help="Ids of items.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON; numbers that are not finite are null.")] = False,
) -> None:
    """Show the media and metadata of items."""
    items = place.opened(collection, command="get", others=ids).get(ids, missing_ok=False)
    if json:
        show.write_json(items)
        return
    for item in items:
        print(show.escaped(item.id))
        # The text of an item is read as a metadata column too: it is one thing to the reader.
        for name, value in {**item.media, **item.meta}.items():
            print(f"  {show.escaped(name)}: {show.escaped(value)}")
