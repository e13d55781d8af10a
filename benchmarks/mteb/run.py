"""Run mteb on Quiver's systems: encoders, rerankers, and the whole engine."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quiver import registry
from quiver.benchmarks import datasets, machine
from quiver.benchmarks.mteb.encoder import QuiverEncoder
from quiver.benchmarks.mteb.export import as_task
from quiver.benchmarks.mteb.reranker import QuiverReranker
from quiver.benchmarks.mteb.search import QuiverSearch
from quiver.benchmarks.recall import own_questions
from quiver.benchmarks.recall.setup import specs_of
from quiver.errors import BadData, BadSpec, NoRoute, QuiverError, optional

#: Measures of a retrieval task that the table shows beside the main one, where the task has them.
SHOWN = ("ndcg_at_10", "recall_at_10", "hit_rate_at_1", "mrr_at_10", "map_at_10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What to measure.

    Attributes:
        encoders: specs; those joined by ``" + "`` search together, which needs the engine.
        rerankers: specs of rerankers, for tasks with candidates.
        engine: whether to measure the whole engine, not the encoder alone.
        folder: where the engine's collections stay; None for a temporary folder. Implies ``engine``.
        index: spec of an index that the engine builds.
        recall: recall target of that index.
        options: arguments of ``Query`` for all of the engine's queries.
        predictions: folder for mteb's files of predictions.
        batch: batch size of mteb's data loaders.
    """

    encoders: Sequence[str] = ()
    rerankers: Sequence[str] = ()
    engine: bool = False
    folder: str | None = None
    index: str | None = None
    recall: float | None = None
    options: Mapping[str, Any] | None = None
    predictions: Path | None = None
    batch: int = 32


def evaluate(task: Any, run: Run, *, command: str = "") -> dict[str, Any]:
    """Measure systems on a task of mteb.

    Args:
        task: an object of mteb, the name of one of its tasks, the spec of a data set of Quiver, or a folder of own
            questions in the layout of BEIR or MTEB.
        run: what to measure.
        command: the command line, for the report.

    Returns:
        JSON-able values: task, main score, and the scores of every system by split, as mteb gives them.

    Raises:
        BadSpec: no system is named, or there is no such task.
        BadData: the data of the task cannot be loaded.
        NoRoute: a system cannot do the task.
        MissingExtra: mteb is not installed.
    """
    systems = list(_systems(run))
    if not systems:
        raise BadSpec("give --encoder or --reranker, such as --encoder classic")
    with optional():
        import mteb
    made = find(task) if isinstance(task, str) else task
    found = []
    for name, model in systems:
        with _explained(made.metadata.name, name):
            result = mteb.evaluate(
                model,
                made,
                co2_tracker=False,
                cache=None,
                overwrite_strategy="always",
                prediction_folder=run.predictions,
                encode_kwargs={"batch_size": run.batch, "show_progress_bar": False},
                show_progress_bar=False,
            )
        if not result.task_results:
            raise BadData(f"mteb gives no result of {made.metadata.name} for {name}")
        found.append({"name": name, "model": model.mteb_model_meta.name, "scores": result.task_results[0].scores})
    return {
        "task": made.metadata.name,
        "type": made.metadata.type,
        "category": made.metadata.category,
        "main_score": made.metadata.main_score,
        "command": command,
        "versions": {**machine.versions(), "mteb": mteb.__version__},
        "systems": found,
    }


def find(text: str) -> Any:
    """Return a task by name: a data set of Quiver, own questions, or a task of mteb.

    Raises:
        BadSpec: there is none.
    """
    if own_questions.is_own(text):
        return as_task(own_questions.load(text, own_questions.Own()))
    name, _ = registry.split(text)
    if name in datasets.names() and hasattr(datasets.module(name), "load"):
        return as_task(datasets.load(text))
    with optional():
        import mteb
    try:
        return mteb.get_task(text)
    except KeyError as error:  # it names the nearest task
        raise BadSpec(
            f"mteb has no task {text!r} ({error.args[0]}), and `quiver bench list` lists Quiver's data sets"
        ) from None


def table(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return column titles, and a row for every system, split and subset."""
    rows = [
        (system["name"], split, scores["hf_subset"], scores)
        for system in report["systems"]
        for split, subsets in system["scores"].items()
        for scores in subsets
    ]
    main = report["main_score"]
    shown = [name for name in SHOWN if name != main and any(name in scores for *_, scores in rows)]
    titles = ["system", "split", "subset", f"{main} (main)", *shown]
    return titles, [
        [name, split, subset, *(_figure(scores.get(each)) for each in ("main_score", *shown))]
        for name, split, subset, scores in rows
    ]


def _figure(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}"


def _systems(run: Run) -> Iterator[tuple[str, Any]]:
    """Yield the systems with their names."""
    whole = run.engine or run.folder is not None or run.index is not None or run.recall is not None
    for spec in run.encoders:
        parts = list(specs_of(spec))
        if whole:
            search = QuiverSearch(parts, folder=run.folder, index=run.index, recall=run.recall, options=run.options)
            yield f"engine {spec}" + (f" | {run.index}" if run.index else ""), search
        elif len(parts) > 1:
            raise BadSpec(f"--encoder {spec!r} joins encoders, which only the engine can: add --engine")
        else:
            yield spec, QuiverEncoder(parts[0])
    for spec in run.rerankers:
        yield spec, QuiverReranker(specs_of(spec)[0])


@contextmanager
def _explained(task: str, name: str) -> Iterator[None]:
    """Turn errors of mteb and of the Hub into one line, and keep mteb quiet."""
    log = logging.getLogger("mteb")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    except QuiverError:
        raise
    except ValueError as error:
        raise NoRoute(f"{name} cannot do {task}: {_line(error)}") from error
    except Exception as error:  # the Hub, datasets and mteb each have errors of their own
        raise BadData(f"mteb cannot run {task} on {name}: {type(error).__name__}: {_line(error)}") from error
    finally:
        log.setLevel(level)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
