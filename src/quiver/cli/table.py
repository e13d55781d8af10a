"""Options that say which columns of the user's own tables hold what; the same for every command that reads tables."""

from typing import Annotated

import typer

Meta = Annotated[
    str | None, typer.Option(help="Table of metadata to join to the files (CSV, TSV, JSONL, Parquet).", metavar="TABLE")
]
Key = Annotated[str | None, typer.Option(help="Column of the --meta table that names the files.", metavar="COLUMN")]
Media = Annotated[
    str | None, typer.Option(help="Media to take ('video'), and columns that hold media ('audio=sound').")
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        help="Column that holds the ids; by default 'id', where it tells all rows apart. 'none' makes ids of paths.",
        metavar="COLUMN",
    ),
]
PathColumn = Annotated[
    str | None, typer.Option(help="Column that holds the paths of files, of whatever medium.", metavar="COLUMN")
]
Text = Annotated[str | None, typer.Option(help="Column that holds the items' text.", metavar="COLUMN")]
Image = Annotated[str | None, typer.Option(help="Column that names the items' pictures.", metavar="COLUMN")]
