"""``quiver export``: write items and vectors for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from quiver.cli import place, show


def export(
    collection: place.Place,
    file: Annotated[
        Path,
        typer.Argument(
            help="FILE.parquet (items and vectors), FILE.npy (vectors) or FILE.faiss (a FAISS index). Beside the last"
            " two, FILE.parquet has the items: row n describes vector n."
        ),
    ],
    space: Annotated[str | None, typer.Option(help="The space of the vectors; by default the only one.")] = None,
    where: Annotated[str | None, typer.Option(help='SQL condition, such as "price < 50".')] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(help="Value of a :name in --where, such as most=50; a name repeated is a list for IN."),
    ] = None,
    factory: Annotated[str, typer.Option(help="FAISS factory string, such as IVF256,Flat.")] = "Flat",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write items and vectors to a file that other programs, and ``quiver add``, read."""
    opened = place.opened(collection)
    done = opened.export(file, space=space, where=where, params=show.params(param), factory=factory)
    if json:
        show.write_json(done)
        return
    print(f"{done.items:,} items in {' and '.join(done.files)}")
