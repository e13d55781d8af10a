"""Run a plan: every stage in turn, timed. What the hits are is read when they are looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

from quiver.engine.core import ranking
from quiver.engine.execution.context import Run
from quiver.engine.execution.plan import Actual, Plan, Result
from quiver.engine.execution.results import Found, Hits, Results
from quiver.engine.execution.session import Session
from quiver.engine.storage.dataset import Example
from quiver.types import Query


def execute(
    session: Session,
    queries: Sequence[Query],
    plan: Plan,
    *,
    examples: Mapping[str, Example],
    started: float | None = None,
) -> Results:
    """Answer a batch of queries that hold and want the same kinds of thing, by one plan.

    Args:
        session: where to search.
        queries: the batch.
        plan: how.
        examples: the stored items that queries take as examples, by id.
        started: when the budget of the queries began, as ``perf_counter`` counts; now if not said.
    """
    own = {id: examples[id] for query in queries for id in query.examples} if examples else {}
    run = Run(session, queries, own, started=started)
    actual = []
    for stage in plan.stages:
        started = perf_counter()
        rows = stage.run(run)
        run.done.append(stage)
        actual.append(Actual(stage.label, rows, (perf_counter() - started) * 1e3))
    found, done = _found(session, run), tuple(actual)
    if run.query.budget_ms is not None:
        _ = found.items  # reading what the hits are is part of what was asked for in time
    run.finish()
    notes = run.notes

    def make(n: int) -> Result:
        return Result(Hits(found, n), replace(plan, notes=(*plan.notes, *notes[n])) if notes[n] else plan, done)

    return Results(len(queries), make, lambda: found.ids)


def _found(session: Session, run: Run) -> Found:
    """Return what each query asked for of the list that is left, not yet read."""
    query, final = run.query, run.others(run.lists[0])
    if query.group is None:
        final = final.cut(query.offset + query.k, start=query.offset)
    if run.composer is None:
        return Found(session.shelf, session.view, final.rows, final.scores, partial(ranking.traces, run.trail))
    traces = [_terms(run, n, rows[rows >= 0].tolist()) for n, rows in enumerate(final.rows)]
    return Found(session.shelf, session.view, final.rows, final.scores, lambda n, rows: traces[n])


def _terms(run: Run, n: int, rows: Sequence[int]) -> list[Mapping[str, Any]]:
    """Trace rows of query n, with what a scorer's scores are made of."""
    assert run.composer is not None, "only a scorer has terms"
    traces, label = ranking.traces(run.trail, n, rows), run.composer.label
    if run.matched is not None:  # what a reranker had no time for has no terms
        known = run.matched.terms[n]
        return [
            {**trace, label: known[row]} if row in known else trace for trace, row in zip(traces, rows, strict=True)
        ]
    return [{**trace, label: each} for trace, each in zip(traces, run.composer.terms(n, rows), strict=True)]
