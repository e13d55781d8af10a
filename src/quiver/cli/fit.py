"""``quiver fit``: learn the weights of a reranker, or of fused result lists, from labelled queries."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from quiver.cli import place, show, table


def fit(
    collection: place.Place,
    questions: Annotated[
        Path,
        typer.Argument(
            help="Table of queries (CSV, TSV, JSONL, Parquet): media, like, where ..., and the id of a right answer;"
            " or a folder of media to search with, and --meta with their answers."
        ),
    ],
    answer: Annotated[
        str,
        typer.Option(
            help="Column with the id of the right answer; equal queries in several rows have several answers."
        ),
    ] = "answer",
    relevant: table.Relevant = None,
    meta: table.Meta = None,
    key: table.Key = None,
    media: table.Media = None,
    text: table.Text = None,
    image: table.Image = None,
    id_column: table.IdColumn = None,
    path_column: table.PathColumn = None,
    target: Annotated[str | None, typer.Option(help="Medium to find: text, image, audio, video or pair.")] = None,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Combine vector search and full-text search.")] = False,
    space: Annotated[
        list[str] | None,
        typer.Option(help="Search this vector space instead of the default; repeated: fuse the lists by rank."),
    ] = None,
    fuse: Annotated[
        bool, typer.Option("--fuse", help="Search every space that can answer, and fuse the lists by rank.")
    ] = False,
    scorer: Annotated[str | None, typer.Option(help="Reranker to fit; default: the one a search would use.")] = None,
    depth: Annotated[int, typer.Option(help="Candidates per query.")] = 100,
    trust: show.Trust = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn the weight of a reranker against recall, or of each fused list. Later searches use the learned weights."""
    from quiver.engine.tasks.labelled_queries import read

    columns = table.given(
        meta=meta, key=key, media=media, text=text, image=image, id_column=id_column, path_column=path_column
    )
    asked = read(questions, relevant=relevant or (), answer=answer, options=columns)
    for note in asked.notes:
        show.warn(note)
    queries = asked.queries(target=target, hybrid=hybrid, scorer=scorer, spaces=tuple(space or ()), fuse=fuse)
    learnt = place.opened(collection, command="fit", others=[str(questions)], trust=trust).fit(
        queries, asked.answers, scorer=scorer, depth=depth, source=questions.name
    )
    show.write_json(asdict(learnt)) if json else print(learnt)
