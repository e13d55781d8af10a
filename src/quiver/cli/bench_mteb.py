"""``quiver bench mteb``: run tasks of mteb on encoders, rerankers and the whole engine."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from quiver.cli import show


def mteb(
    task: Annotated[
        str,
        typer.Argument(
            help="Task of mteb, such as NFCorpus; a data set of `quiver bench list`; or a folder in the layout of BEIR."
        ),
    ],
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="Encoder spec; may be repeated. Specs joined by ' + ' are searched together by the engine."),
    ] = None,
    reranker: Annotated[
        list[str] | None, typer.Option(help="Spec of a reranker, for tasks with candidates; may be repeated.")
    ] = None,
    engine: Annotated[
        bool, typer.Option("--engine", help="Measure the whole engine: the corpus becomes a collection.")
    ] = False,
    collection: Annotated[
        str | None, typer.Option(help="Folder that keeps the engine's collections for the next run; implies --engine.")
    ] = None,
    index: Annotated[
        str | None, typer.Option(help="Index that the engine builds, such as 'faiss factory=HNSW32'.")
    ] = None,
    recall_target: Annotated[
        float | None, typer.Option("--recall", help="Recall target of the engine's index, such as 0.95.")
    ] = None,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Engine: combine vector and full-text search.")] = False,
    scorer: Annotated[
        str | None, typer.Option(help="Engine: composer or reranker to rank with; none uses none.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Batch size of mteb's data loaders.")] = 32,
    predictions: Annotated[Path | None, typer.Option(help="Folder for mteb's files of predictions.")] = None,
    json: Annotated[str | None, typer.Option(help="Write mteb's scores as JSON to this file; - prints them.")] = None,
) -> None:
    """Run a task of mteb on encoders, rerankers or the whole engine (needs the extra mteb)."""
    from quiver.benchmarks import mteb as measured
    from quiver.files import write_json

    options = {"hybrid": hybrid, **({} if scorer is None else {"scorer": scorer})}
    run = measured.Run(
        encoders=tuple(encoder or ()),
        rerankers=tuple(reranker or ()),
        engine=engine or hybrid or scorer is not None,
        folder=collection,
        index=index,
        recall=recall_target,
        options=options,
        predictions=predictions,
        batch=batch,
    )
    report = measured.evaluate(task, run, command=shlex.join(["quiver", *sys.argv[1:]]))
    if json is not None and json != "-":
        write_json(Path(json), report, indent=1)
    if json == "-":
        show.write_json(report)
    else:
        show.write_table(*measured.table(report))
