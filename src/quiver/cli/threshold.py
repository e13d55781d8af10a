"""``quiver threshold``: learn the score that tells sure hits from unsure ones."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from quiver.cli import show


def threshold(
    collection: Annotated[str, typer.Argument(help="Folder or object-store URI of the collection.")],
    questions: Annotated[
        Path,
        typer.Argument(help="Table of labelled queries: query media and the id of a right answer, one answer per row."),
    ],
    answer: Annotated[str, typer.Option(help="Column with the id of the right answer.")] = "answer",
    target: Annotated[str | None, typer.Option(help="Medium to find: text, image, audio, video or pair.")] = None,
    rate: Annotated[
        float, typer.Option(help="Share of questions without an answer in the collection that may still have a hit.")
    ] = 0.1,
    trust: show.Trust = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn a score threshold for `quiver search --min-score`: below it, hits are as near as items that do not fit.

    List all right answers of each question, in several rows: they are taken out to see which scores the other items
    reach.
    """
    import quiver
    from quiver.engine.tasks.labelled_queries import read
    from quiver.types import Query

    asked = read(questions, answer=answer)
    for note in asked.notes:
        show.warn(note)
    queries = [Query(media, target=target) for media in asked.media]
    found = quiver.open(collection, trust=trust).threshold(queries, asked.answers, rate=rate)
    show.write_json(asdict(found)) if json else print(found)
