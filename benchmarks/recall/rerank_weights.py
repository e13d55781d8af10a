"""Learn the weight of a reranker's scores against the scores of recall, on a split without reported figures.

Shapes: q questions, n candidates of each.
"""

import shlex
from collections.abc import MutableMapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from quiver import registry
from quiver.benchmarks.recall.indexes import ready
from quiver.benchmarks.recall.prepare import prepare
from quiver.benchmarks.recall.scorer_cache import Holding, Key
from quiver.benchmarks.recall.search import candidates
from quiver.benchmarks.recall.setup import Setup
from quiver.benchmarks.recall.task_store import Stock
from quiver.engine.planning.rerank_plan import names
from quiver.engine.statistics.rerank_weights import Blend, learn
from quiver.errors import BadData, NoRoute
from quiver.task import Task

#: Default number of candidates to score per question.
DEPTH = 100


def other(dataset: str, split: str) -> str:
    """Return the spec of another split of a data set.

    >>> other("esc track=audio split=test", "validation")
    'esc track=audio split=validation'
    """
    name, options = registry.split(dataset)
    return shlex.join([name, *(f"{key}={value}" for key, value in {**options, "split": split}.items())])


def tune(
    task: Task,
    stock: Stock,
    setup: Setup,
    *,
    folder: Path,
    kept: MutableMapping[Key, Holding],
    progress: bool | None = None,
) -> Blend:
    """Search the questions of a split, and learn from their right answers.

    Args:
        task: the split, right answers included.
        stock: its items.
        setup: the search configuration.
        folder: folder of the split's vectors.
        kept: cache of inputs that scorers prepared from the split's questions; grows.
        progress: whether to show progress bars; None shows them on a terminal.

    Raises:
        NoRoute: the plan has no reranker, or no right answer is recalled.
    """
    depth = setup.depth or DEPTH
    stock, _ = ready(task, stock, setup)
    plain = replace(setup, fuse="", budget_ms=None, depth=depth, name="")
    asked = prepare(task, stock, plain, folder=folder, kept=kept, progress=progress)
    recall, match, right = [], [], []
    lists: tuple[str, ...] = ()
    for numbers, found in candidates(asked, depth, progress=progress):
        lists = lists or names(asked.plan(numbers[0], depth).stages)
        for n, scores, rows, theirs in zip(
            numbers, found.given.scores, found.given.rows, found.matched.scores, strict=True
        ):
            pad = depth - len(rows)
            recall.append(np.pad(scores, (0, max(pad, 0)), constant_values=-np.inf)[:depth])
            match.append(np.pad(theirs, (0, max(pad, 0)), constant_values=np.nan)[:depth])
            answers = stock.numbers(task.questions[n].relevant)
            right.append(np.pad(np.isin(rows, answers), (0, max(pad, 0)))[:depth])
    if not recall:
        raise NoRoute(f"plan: fuse={setup.fuse} needs a scorer that reranks, and this plan has none")
    try:
        return learn(np.stack(recall), np.stack(match), np.stack(right), source=task.name, lists=lists)
    except BadData as error:
        raise NoRoute(f"plan: fuse={setup.fuse}: {error}") from error
