"""``quiver relocate``: tell a collection that its files have moved."""

from typing import Annotated

import typer

from quiver.cli import place, show


def relocate(
    collection: place.Place,
    old: Annotated[str, typer.Argument(help="Folder where the files were, or the start of their URIs.")],
    new: Annotated[str, typer.Argument(help="Folder where the files are now, or the start of their URIs.")],
    check: Annotated[bool, typer.Option(help="Look for some of the files at the new place first.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell a collection that its files have moved. Ids, vectors and metadata stay."""
    done = place.opened(collection).relocate(old, new, check=check)
    if json:
        show.write_json(done)
        return
    print(f"{done.items:,} items moved")
    if done.missing:
        show.warn(f"{done.missing} of {done.looked} files that were looked up are not in {new}")
