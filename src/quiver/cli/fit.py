"""``quiver fit``: learn from known answers how much a reranker, or each list of a fusion, counts."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from quiver.cli import show


def fit(
    collection: Annotated[str, typer.Argument(help="Folder or object-store URI of the collection.")],
    questions: Annotated[
        Path, typer.Argument(help="CSV, TSV, JSON lines or Parquet: media to ask with, and the id that answers.")
    ],
    answer: Annotated[str, typer.Option(help="The column of ids; rows that ask the same are one question.")] = "answer",
    target: Annotated[str | None, typer.Option(help="What is to be found: text, image, audio, video or pair.")] = None,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Questions search text as words too.")] = False,
    scorer: Annotated[str | None, typer.Option(help="The reranker; by default what a search would use.")] = None,
    depth: Annotated[int, typer.Option(help="Candidates of each question.")] = 100,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn how much a reranker counts against recall, or each of several lists. Searches go by it from then on."""
    import quiver
    from quiver.engine.tasks.labelled_queries import read
    from quiver.types import Query

    asked = read(questions, answer=answer)
    for note in asked.notes:
        show.warn(note)
    queries = [Query(media, target=target, hybrid=hybrid, scorer=scorer) for media in asked.media]
    learnt = quiver.open(collection).fit(queries, asked.answers, scorer=scorer, depth=depth, source=questions.name)
    show.write_json(asdict(learnt)) if json else print(learnt)
