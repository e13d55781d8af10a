"""``quiver index``: build an index of a collection's vectors."""

from typing import Annotated

import typer

from quiver.engine.cli import show


def index(
    collection: Annotated[str, typer.Argument(help="Folder or object-store URI of the collection.")],
    spec: Annotated[str, typer.Argument(help="Kind and options, such as 'faiss factory=IVF256,Flat'.")] = "faiss",
    space: Annotated[list[str] | None, typer.Option(help="Only vectors of this space; may be repeated.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build an index. Searches go on meanwhile, and find items added afterwards too."""
    import quiver

    built = quiver.open(collection).index(spec, spaces=space or ())
    if json:
        show.write_json(built)
        return
    for each in built:
        print(f"{each['kind']} index of {each['vectors']:,} vectors ({each['column']}) in {each['seconds']} s")
