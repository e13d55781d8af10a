"""Answers to queries: queries of one shape are planned once, and embedded and searched together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from time import perf_counter
from typing import Any

import numpy as np

from quiver.engine.execution.executor import execute
from quiver.engine.execution.plan import Plan, Result
from quiver.engine.execution.query_batch import alike, one_of, with_space
from quiver.engine.execution.results import Results
from quiver.engine.execution.session import EXCLUDED, Session, example_columns
from quiver.engine.planning.planner import plan
from quiver.engine.storage.dataset import Example
from quiver.types import Query, keys_of, sources_of

#: Fields in which the queries of a group may differ.
_CONTENTS = ("media", "like", "unlike", "unlike_media", "vectors", "weights", "exclude")
#: Fields that the queries of a group share.
_WANTED = attrgetter(*(each.name for each in fields(Query) if each.name not in _CONTENTS))


@dataclass(frozen=True, slots=True)
class QueryGroup:
    """A group of queries answered by one plan.

    Attributes:
        places: positions of the queries in the request.
        queries: the queries.
        plan: their common plan.
        examples: stored items that they use as examples, by id.
    """

    places: Sequence[int]
    queries: Sequence[Query]
    plan: Plan
    examples: Mapping[str, Example]


def answer(session: Session, queries: Sequence[Query], *, started: float | None = None) -> Results:
    """Answer queries, in their order; ``started`` is the start of their budgets, in seconds of ``perf_counter``."""
    results: dict[int, Result] = {}
    for group in query_groups(session, queries):
        found = execute(session, group.queries, group.plan, examples=group.examples, started=started)
        if len(group.queries) == len(queries):
            return found
        started = perf_counter()
        results |= dict(zip(group.places, found, strict=True))
    return Results.of([results[n] for n in range(len(queries))])


def query_groups(session: Session, queries: Sequence[Query]) -> Iterator[QueryGroup]:
    """Group queries by shape, and plan each group just before it runs."""
    if not len(queries):
        return
    queries = with_space(queries, session.only_space)
    batch = alike(queries)
    if batch is not None:
        yield QueryGroup(range(len(batch)), batch, _plan(session, batch, (_shape(batch.query), frozenset()), {}), {})
        return
    examples = _examples(session, queries)
    shapes: dict[Any, list[int]] = {}
    for n, query in enumerate(queries):
        shapes.setdefault((_shape(query), example_columns(query, examples)), []).append(n)
    for shape, places in shapes.items():
        some = [queries[n] for n in places]
        yield QueryGroup(places, some, _plan(session, some, shape, examples), examples)


def explain(session: Session, query: Query) -> Plan:
    """Plan a query."""
    query = with_space([query], session.only_space)[0]
    return plan(query, session.facts(query, _examples(session, [query])))


def _plan(session: Session, batch: Sequence[Query], shape: Any, examples: Mapping[str, Example]) -> Plan:
    """Return a cached plan or make one; plans that depend on contents or latency estimates are not cached."""
    query = one_of(batch)
    many = 1 << (len(batch) - 1).bit_length()  # so that few plans serve all batch sizes

    def make() -> Plan:
        return plan(query, session.facts(query, examples, queries=many))

    fresh = query.media or query.like or query.has_negatives or query.budget_ms is not None
    return make() if fresh else session.planned((shape, many), make)


def _examples(session: Session, queries: Sequence[Query]) -> dict[str, Example]:
    ids = sorted({id for query in queries for id in query.examples})
    return session.table.examples(ids) if ids else {}


def _shape(query: Query) -> Any:
    """Return the shape of a query: queries of one shape share a plan."""
    counts = tuple(len(sources_of(query.media, key)) for key in keys_of(query.media)) if query.media else ()
    vectors = tuple(sorted([(name, np.shape(vector)) for name, vector in query.vectors.items()]))
    weights = tuple(sorted(query.weights.items())) if query.weights else ()
    likes = len(query.like) if query.reduce == "max" else bool(query.like)
    keys = keys_of(query.media) if query.media else ()
    excluded = query.exclude if len(query.exclude) > EXCLUDED else ()
    away = (bool(query.unlike), keys_of(query.unlike_media)) if query.has_negatives else ()
    return keys, counts, likes, away, vectors, weights, excluded, _WANTED(query)
