"""Run a plan: every stage in turn, timed. What the hits are is read when they are looked at."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from quiver.engine import rank
from quiver.engine.composed import references
from quiver.engine.hit import Found, Hits
from quiver.engine.library import Library
from quiver.engine.plan import Actual, Plan, Result
from quiver.engine.rank import Ranked
from quiver.engine.run import Run
from quiver.engine.table import Example
from quiver.types import Query


def execute(library: Library, queries: Sequence[Query], plan: Plan, *, examples: Mapping[str, Example]) -> list[Result]:
    """Answer a batch of queries that hold and want the same kinds of thing, by one plan."""
    run = Run(library, queries, {id: examples[id] for query in queries for id in query.like})
    actual = []
    for stage in plan.stages:
        started = perf_counter()
        rows = stage.run(run)
        actual.append(Actual(stage.label, rows, (perf_counter() - started) * 1e3))
    found, done = _found(library, run), tuple(actual)
    return [Result(Hits(found, n), plan, done) for n in range(len(queries))]


def _found(library: Library, run: Run) -> Found:
    """Return the best k of each query, not yet read."""
    final, k = run.lists[0], run.queries[0].k
    if run.composer is None:
        final = final.cut(k)
        return Found(library.shelf, library.view, final.rows, final.scores, partial(rank.traces, run.trail))
    final = _others(library, run, final).cut(k)
    traces = [_terms(run, n, rows[rows >= 0].tolist()) for n, rows in enumerate(final.rows)]
    return Found(library.shelf, library.view, final.rows, final.scores, lambda n, rows: traces[n])


def _terms(run: Run, n: int, rows: Sequence[int]) -> list[Mapping[str, Any]]:
    """Trace rows of query n, with what a scorer's scores are made of."""
    assert run.composer is not None, "only a scorer has terms"
    traces, terms = rank.traces(run.trail, n, rows), run.composer.terms(n, rows)
    return [{**trace, run.composer.label: each} for trace, each in zip(traces, terms, strict=True)]


def _others(library: Library, run: Run, final: Ranked) -> Ranked:
    """Leave out the items whose references are those that a scorer composed."""
    assert run.composition is not None, "a scorer was asked"
    held = [references(query, run.composition) for query in run.queries]
    if not any(held):
        return final
    items = library.shelf.items(library.view, final.rows[final.rows >= 0])
    spelt = [each | {os.path.abspath(os.path.expanduser(path)) for path in each if "://" not in path} for each in held]
    own = [
        np.array(
            [row for row in rows[rows >= 0].tolist() if not spelt[n].isdisjoint(items[row]["media"].values())], np.int64
        )
        for n, rows in enumerate(final.rows)
    ]
    return final.without(own, final.rows.shape[1])
