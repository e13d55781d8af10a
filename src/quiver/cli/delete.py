"""``quiver delete``: remove items."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quiver.cli import place, show
from quiver.errors import BadSpec

if TYPE_CHECKING:
    from quiver.engine.collection import Collection


def delete(
    collection: place.Place,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of items.")] = None,
    where: Annotated[
        str | None, typer.Option(help='SQL condition, such as "price < 5": delete all matching items.')
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(help="Value of a :name in --where, such as most=50; a name repeated is a list for IN."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Delete the items that match --where without asking.")
    ] = False,
    expect: Annotated[
        int | None, typer.Option(help="Delete only if exactly this many items match; do not ask.")
    ] = None,
) -> None:
    """Delete items by id or by condition. Earlier versions keep them.

    With --where, the number of matching items is shown and confirmed first.
    """
    opened, params = place.opened(collection, command="delete", others=ids or ()), show.params(param)
    if where is not None and not ids and not yes and expect is None:
        expect = _confirmed(opened, where, params)
        if expect is None:
            return
    count = opened.delete(ids or None, where=where, params=params, expect=expect)
    print(f"{count:,} deleted")


def _confirmed(opened: "Collection", where: str, params: dict[str, Any]) -> int | None:
    """Show the number of matching items and ask; returns it, or None if nothing is to be deleted.

    Raises:
        BadSpec: standard input is not a terminal, so nobody can confirm.
    """
    count, items = opened.count(where, params), len(opened)
    if not count:
        print(f"none of {items:,} items matches: nothing is deleted")
        return None
    if not sys.stdin.isatty():
        raise BadSpec(f"{count:,} of {items:,} items match: add --yes to delete them, or --expect {count}")
    if typer.confirm(f"{count:,} of {items:,} items match. Delete them?", err=True):
        return count
    print("nothing is deleted")
    return None
