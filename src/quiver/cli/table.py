"""Options that name the columns of the user's own tables: the same for all commands that read tables."""

from pathlib import Path
from typing import Annotated

import typer

Meta = Annotated[
    str | None, typer.Option(help="Table of metadata to join to the files (CSV, TSV, JSONL, Parquet).", metavar="TABLE")
]
Key = Annotated[str | None, typer.Option(help="Column of the --meta table that names the files.", metavar="COLUMN")]
Media = Annotated[str | None, typer.Option(help="Media to take ('video'), and columns of media ('audio=sound').")]
IdColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of ids; by default 'id' if its values are unique. 'none' makes ids from paths.",
        metavar="COLUMN",
    ),
]
PathColumn = Annotated[str | None, typer.Option(help="Column of file paths, of any medium.", metavar="COLUMN")]
Text = Annotated[str | None, typer.Option(help="Column of text.", metavar="COLUMN")]
Image = Annotated[str | None, typer.Option(help="Column of image files.", metavar="COLUMN")]
Relevant = Annotated[
    list[Path] | None,
    typer.Option(
        help="File of relevance judgements: TREC qrels, or a table with query ids, item ids and grades; may be"
        " repeated, and a later file corrects the earlier ones. Default: the table's column of answers."
    ),
]


def given(**named: str | None) -> dict[str, str | None]:
    """Return the options of tables that were given, by name."""
    return {name: value for name, value in named.items() if value is not None}
