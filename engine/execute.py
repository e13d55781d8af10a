"""Run a plan: every stage in turn, timed, then fetch what the hits are."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

from quiver.engine.composed import references
from quiver.engine.ingest import uri_of
from quiver.engine.library import Library
from quiver.engine.plan import Actual, Plan, Result
from quiver.engine.run import Run
from quiver.engine.table import Example
from quiver.types import MEDIA, Hit, Query


def execute(
    library: Library,
    queries: Sequence[Query],
    plan: Plan,
    *,
    examples: Mapping[str, Example],
    started: float | None = None,
) -> list[Result]:
    """Answer a batch of queries that hold and want the same kinds of thing, by one plan.

    Args:
        library: where to search.
        queries: the batch.
        plan: how.
        examples: the stored items that queries take as examples, by id.
        started: when the budget of the queries began, as ``perf_counter`` counts; now if not said.
    """
    run = Run(library, queries, {id: examples[id] for query in queries for id in query.like}, started=started)
    actual = []
    for stage in plan.stages:
        started = perf_counter()
        rows = stage.run(run)
        actual.append(Actual(stage.label, rows, (perf_counter() - started) * 1e3))
    started = perf_counter()
    answers = _fetch(library, run)
    actual.append(Actual("fetch", sum(map(len, answers)), (perf_counter() - started) * 1e3))
    run.finish()
    plans = [replace(plan, notes=(*plan.notes, *notes)) if notes else plan for notes in run.notes]
    return [Result(tuple(hits), plan, tuple(actual)) for hits, plan in zip(answers, plans, strict=True)]


def _fetch(library: Library, run: Run) -> list[list[Hit]]:
    """Read the items of all hits at once, and make the hits of each query."""
    final, held = run.lists[0], _held(run)
    wanted = sorted({row for rows in final.rows.tolist() for row in rows if row >= 0})
    items = describe(library, wanted)
    answers = []
    for n in range(len(run.queries)):
        pairs = zip(final.rows[n].tolist(), final.scores[n].tolist(), strict=True)
        others = [(row, score) for row, score in pairs if row >= 0 and held[n].isdisjoint(items[row]["media"].values())]
        found = others[: run.queries[n].k]
        traces = run.traces(n, [row for row, _ in found])
        answers.append(
            [
                Hit(items[row]["id"], score, uri_of(items[row]["media"]), items[row]["meta"], trace)
                for (row, score), trace in zip(found, traces, strict=True)
            ]
        )
    return answers


def _held(run: Run) -> list[frozenset[str]]:
    """Return the references of each query that a scorer composed, as an item found may spell them."""
    if run.composition is None:
        return [frozenset()] * len(run.queries)
    held = [references(query, run.composition) for query in run.queries]
    return [each | {os.path.abspath(os.path.expanduser(path)) for path in each if "://" not in path} for each in held]


def describe(library: Library, rows: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Read id, media and metadata of rows, by row number."""
    if not rows:
        return {}
    meta = library.table.meta
    where = f"_rowid IN ({', '.join(map(str, rows))})"
    found = library.table.read(["id", *MEDIA, *meta], where=where).to_pylist()
    return {
        row["_rowid"]: {
            "id": row["id"],
            "media": {name: row[name] for name in MEDIA if row[name] is not None},
            "meta": {name: row[name] for name in ("text", *meta) if row[name] is not None},
        }
        for row in found
    }
