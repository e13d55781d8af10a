"""Executor: run the stages of a plan in order and time them. Metadata of hits is read on first access."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

from quiver.engine.core import ranking
from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.context import Context
from quiver.engine.execution.left_out import rows_left_out, without_references
from quiver.engine.execution.plan import Actual, Plan, Result, Stage
from quiver.engine.execution.results import BatchHits, Hits, Results, Traces
from quiver.engine.execution.session import Session
from quiver.engine.storage.dataset import Example
from quiver.types import Query


def run_stages(stages: Sequence[Stage], context: Context) -> tuple[Actual, ...]:
    """Run stages in order; return rows and milliseconds of each. Results stay in the context."""
    actual = []
    for stage in stages:
        began = perf_counter()
        rows = stage.run(context)
        context.done.append(stage)
        actual.append(Actual(stage.label, rows, (perf_counter() - began) * 1e3))
    return tuple(actual)


def begin(
    session: Session, queries: Sequence[Query], examples: Mapping[str, Example], *, started: float | None = None
) -> Context:
    """Return the initial context of a plan for a batch of queries; see ``execute``."""
    own = {id: examples[id] for query in queries for id in query.examples} if examples else {}
    return Context(session, queries, own, left_out=rows_left_out(session, queries, own), started=started)


def execute(
    session: Session,
    queries: Sequence[Query],
    plan: Plan,
    *,
    examples: Mapping[str, Example],
    started: float | None = None,
) -> Results:
    """Run one plan for a batch of queries with the same inputs and settings.

    Args:
        session: the collection to search.
        queries: the batch.
        plan: the plan.
        examples: stored items used as examples by the queries, by id.
        started: start of the latency budget, in seconds of ``perf_counter``; None for now.
    """
    context = begin(session, queries, examples, started=started)
    actual = run_stages(plan.stages, context)
    found = _found(session, context)
    if context.query.budget_ms is not None:
        _ = found.items  # the time budget covers reading the hits
    for finish in context.at_end:
        finish()
    notes, partial = context.notes, context.partial

    def make(n: int) -> Result:
        noted = replace(plan, notes=(*plan.notes, *notes[n])) if notes[n] else plan
        return Result(Hits(found, n), noted, actual, n in partial, session.rules)

    return Results(len(queries), make, lambda: found.ids)


def final(context: Context) -> Ranked:
    """Return the hits of each query after all stages: the requested page of the final list."""
    query, ranked = context.query, without_references(context, context.lists[0])
    if query.group_by is not None or query.order_by is not None:  # their stages skip the offset
        return ranked
    return ranked.cut(query.offset + query.k, start=query.offset)


def _found(session: Session, context: Context) -> BatchHits:
    hits = final(context)
    trace: Traces = functools.partial(ranking.traces, context.trail)
    if context.composer is not None:
        known = [_terms(context, n, rows[rows >= 0].tolist()) for n, rows in enumerate(hits.rows)]
        trace = functools.partial(_known, known)
    if context.folded is not None:
        trace = functools.partial(_folded, trace, context.folded)
    return BatchHits(session.shelf, session.view, hits.rows, hits.scores, trace)


def _known(traces: Sequence[list[Mapping[str, Any]]], n: int, rows: Sequence[int]) -> list[Mapping[str, Any]]:
    """Return the traces of query n, made beforehand."""
    return traces[n]


def _folded(trace: Traces, folded: Sequence[Mapping[int, int]], n: int, rows: Sequence[int]) -> list[Mapping[str, Any]]:
    """Trace rows of query n, with the number of near-duplicates of each."""
    found: list[Mapping[str, Any]] = []
    for row, each in zip(rows, trace(n, rows), strict=True):
        own = {**each.get("deduplicate", {}), "folded": folded[n].get(row, 0)}
        found.append({**each, "deduplicate": own})
    return found


def _terms(context: Context, n: int, rows: Sequence[int]) -> list[Mapping[str, Any]]:
    """Trace rows of query n, with the terms of their scores."""
    composer, traces = context.scored_by, ranking.traces(context.trail, n, rows)
    if context.reranked is None:
        terms = composer.terms(n, rows)
        return [{**trace, composer.label: each} for trace, each in zip(traces, terms, strict=True)]
    known = context.reranked.matched.terms[n]  # candidates outside the reranker's budget have no terms
    return [
        {**trace, composer.label: known[row]} if row in known else trace
        for trace, row in zip(traces, rows, strict=True)
    ]
