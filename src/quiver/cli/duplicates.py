"""``quiver duplicates``: groups of near-duplicate items."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quiver.cli import place, show

if TYPE_CHECKING:
    from quiver.records import DuplicateGroup


def duplicates(
    collection: place.Place,
    space: Annotated[
        str | None, typer.Option(help="Compare vectors of this space; by default the default one.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Compare vectors of this medium: text, image, audio, video or pair.")
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(help="Least cosine similarity to the first item of a group; it depends on the encoder."),
    ] = 0.98,
    where: Annotated[
        str | None, typer.Option(help='SQL condition, such as "price < 5": compare the matching items only.')
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(help="Value of a :name in --where, such as most=50; a name repeated is a list for IN."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the groups as an HTML page with thumbnails.")] = None,
    trust: show.Trust = False,
) -> None:
    """Find near-duplicates: files with equal content, and vectors that are almost equal. Nothing is changed.

    One line per item: number of its group, similarity of the group, id. The first item of a group is the one that the
    others are compared with.
    """
    opened = place.opened(collection, trust=trust)
    found = opened.duplicates(where, show.params(param), space=space, target=target, threshold=threshold)
    if html is not None:
        from quiver.engine.contact_sheet import write_groups

        titles = [f"{len(group.ids)} items, {_near(group)}" for group in found.groups]
        write_groups(html, [group.ids for group in found.groups], titles, collection=opened, title="Near-duplicates")
    if json:
        show.write_json(found.to_dict())
        return
    rows = [(n, _near(group), id) for n, group in enumerate(found.groups, 1) for id in group.ids]
    if rows:
        show.write_table(("group", "similarity", "id"), rows, header=False)
    vectors = "" if found.space is None else f", and cosine {found.threshold:g} of {found.key} in {found.space}"
    counts = f"{len(found.groups):,} groups with {found.extra:,} extra items among {found.items:,} items"
    show.warn(f"{counts} (equal files{vectors})")


def _near(group: "DuplicateGroup") -> str:
    return "equal files" if group.exact or group.similarity is None else f"{group.similarity:.4f}"
