"""``quiver facets``: the values of a metadata column with their counts."""

from typing import TYPE_CHECKING, Annotated

import typer

from quiver.cli import place, show

if TYPE_CHECKING:
    from quiver.records import Facets


def facets(
    collection: place.Place,
    column: Annotated[str, typer.Argument(help="Metadata column, or text.")],
    where: Annotated[
        str | None, typer.Option(help='SQL condition, such as "price < 5": count the matching items only.')
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(help="Value of a :name in --where, such as most=50; a name repeated is a list for IN."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Largest number of values.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; numbers that are not finite are null.")] = False,
) -> None:
    """Count the values of a metadata column; numbers and dates by range too.

    Items without a value are counted apart. An item counts once for each different member of a list.
    """
    found = place.opened(collection).facets(column, where, show.params(param), limit=limit)
    if json:
        show.write_json(found.to_dict())
    else:
        _print(found)


def _print(found: "Facets") -> None:
    rows = [(each.value, each.count) for each in found.values]
    show.write_table((found.column, "items"), rows)
    if found.ranges:
        ranges = [(f"{each.low} to {each.high}", each.count) for each in found.ranges]
        show.write_table((f"{found.column} (from, up to but without)", "items"), ranges)
    more = found.distinct - len(found.values)
    rest = f", {more:,} not shown" if more else ""
    show.warn(
        f"{found.items:,} items, {found.missing:,} without a value; {found.distinct:,} different values{rest}"
        f" ({found.kind})"
    )
