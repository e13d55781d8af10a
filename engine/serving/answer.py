"""From queries to answers: those of one shape are planned once, embedded and searched together."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from time import perf_counter
from typing import Any

import numpy as np

from quiver.engine.execution.executor import execute
from quiver.engine.execution.plan import Plan, Result
from quiver.engine.execution.query_batch import alike, one_of
from quiver.engine.execution.results import Results
from quiver.engine.execution.session import EXCLUDED, Session, held
from quiver.engine.planning.planner import plan
from quiver.engine.storage.dataset import Example
from quiver.types import Query, keys_of, sources_of

#: What queries that are answered together may differ in, in part.
_CONTENTS = ("media", "like", "unlike", "vectors", "weights", "exclude")
#: What they have in common.
_WANTED = attrgetter(*(each.name for each in fields(Query) if each.name not in _CONTENTS))


def answer(session: Session, queries: Sequence[Query], *, started: float | None = None) -> Results:
    """Answer queries, in their order; ``started`` is when their budgets began, as ``perf_counter`` counts."""
    if not len(queries):
        return Results.none()
    batch = alike(queries)
    if batch is not None:
        chosen = _plan(session, batch, (_shape(batch.query), frozenset()), {})
        return execute(session, batch, chosen, examples={}, started=started)
    examples = _examples(session, queries)
    results: dict[int, Result] = {}
    shapes: dict[Any, list[int]] = {}
    for n, query in enumerate(queries):
        shapes.setdefault((_shape(query), held(query, examples)), []).append(n)
    for shape, members in shapes.items():
        some = [queries[n] for n in members]
        chosen = _plan(session, some, shape, examples)
        found = execute(session, some, chosen, examples=examples, started=started)
        started = perf_counter()
        results |= dict(zip(members, found, strict=True))
    return Results.of([results[n] for n in range(len(queries))])


def explain(session: Session, query: Query) -> Plan:
    """Plan a query."""
    return plan(query, session.facts(query, _examples(session, [query])))


def _plan(session: Session, batch: Sequence[Query], shape: Any, examples: Mapping[str, Example]) -> Plan:
    """Plan, or take the plan of a batch like it; not where contents or a pace, which no shape tells, decide."""
    query = one_of(batch)
    many = 1 << (len(batch) - 1).bit_length()  # so that few plans serve all numbers of queries

    def make() -> Plan:
        return plan(query, session.facts(query, examples, queries=many))

    fresh = query.media or query.like or query.budget_ms is not None
    return make() if fresh else session.planned((shape, many), make)


def _examples(session: Session, queries: Sequence[Query]) -> dict[str, Example]:
    ids = sorted({id for query in queries for id in query.examples})
    return session.table.examples(ids) if ids else {}


def _shape(query: Query) -> Any:
    """Return what tells queries that are answered by one plan from others."""
    counts = tuple(len(sources_of(query.media, key)) for key in keys_of(query.media)) if query.media else ()
    vectors = tuple(sorted([(name, np.shape(vector)) for name, vector in query.vectors.items()]))
    weights = tuple(sorted(query.weights.items())) if query.weights else ()
    likes = len(query.like) if query.reduce == "max" else bool(query.like)
    keys = keys_of(query.media) if query.media else ()
    excluded = query.exclude if len(query.exclude) > EXCLUDED else ()
    return keys, counts, likes, bool(query.unlike), vectors, weights, excluded, _WANTED(query)
