"""``quiver delete``: remove items."""

from typing import Annotated

import typer


def delete(
    collection: Annotated[str, typer.Argument(help="Folder or object-store URI of the collection.")],
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of items.")] = None,
    where: Annotated[str | None, typer.Option(help="SQL condition: delete all matching items.")] = None,
) -> None:
    """Delete items by id or by condition. Earlier versions keep them."""
    import quiver

    count = quiver.open(collection).delete(ids or None, where=where)
    print(f"{count:,} deleted")
