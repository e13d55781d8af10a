"""``quiver threshold``: learn the score that tells sure hits from unsure ones."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quiver.cli import show, table
from quiver.errors import BadSpec

if TYPE_CHECKING:
    from quiver.engine.statistics.score_thresholds import ScoreThreshold


def threshold(
    collection: Annotated[str, typer.Argument(help="Folder or object-store URI of the collection.")],
    questions: Annotated[
        Path | None,
        typer.Argument(
            help="Table of labelled queries: query media and the id of a right answer, one answer per row. Without it,"
            " the collection asks itself: its texts find their items, or see --by."
        ),
    ] = None,
    answer: Annotated[str, typer.Option(help="Column with the id of the right answer.")] = "answer",
    relevant: table.Relevant = None,
    meta: table.Meta = None,
    key: table.Key = None,
    media: table.Media = None,
    text: table.Text = None,
    image: table.Image = None,
    id_column: table.IdColumn = None,
    path_column: table.PathColumn = None,
    target: Annotated[str | None, typer.Option(help="Medium to find: text, image, audio, video or pair.")] = None,
    rate: Annotated[
        float, typer.Option(help="Share of questions without an answer in the collection that may still have a hit.")
    ] = 0.1,
    confidence: Annotated[float, typer.Option(help="Probability that the rate holds for new questions.")] = 0.95,
    by: Annotated[
        str | None,
        typer.Option(help="Without a table: stored items find the items with the same value in this metadata column."),
    ] = None,
    trust: show.Trust = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn a score threshold for `quiver search --min-score auto`, and store it with the collection.

    Below it, hits are as near as items that do not fit. It is learned for one kind of query, such as text that finds
    images. List all right answers of each question, in several rows: they are taken out to see which scores the other
    items reach.
    """
    import quiver
    from quiver.engine.tasks.labelled_queries import read

    opened = quiver.open(collection, trust=trust)
    columns = table.given(
        meta=meta, key=key, media=media, text=text, image=image, id_column=id_column, path_column=path_column
    )
    if questions is None:
        if columns:
            raise BadSpec(
                f"--{next(iter(columns)).replace('_', '-')} is for a table of questions: name it, or leave this out"
            )
        found = opened.threshold(by=by, target=target, rate=rate, confidence=confidence)
    else:
        if by is not None:
            raise BadSpec("--by is for a collection that asks itself: leave it out, or leave out the table")
        asked = read(questions, relevant=relevant or (), answer=answer, options=columns)
        for note in asked.notes:
            show.warn(note)
        found = opened.threshold(
            asked.queries(target=target), asked.answers, rate=rate, confidence=confidence, source=questions.name
        )
    show.write_json(_told(found)) if json else print(found)


def _told(found: "ScoreThreshold") -> dict[str, Any]:
    """Return a threshold as values, without the sample of vectors that shows later changes."""
    values = {name: value for name, value in asdict(found).items() if name not in ("sample", "changed")}
    return {**values, "precision": found.precision()}
