"""Items left out of an answer: the query's examples, excluded ids, and references used by a scorer."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from quiver.engine.core.graph import references
from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.context import Context
from quiver.engine.execution.query_batch import Batch, one_of
from quiver.engine.execution.session import EXCLUDED, Session
from quiver.engine.storage.dataset import Example
from quiver.types import Query, Rows


def rows_left_out(session: Session, queries: Sequence[Query], examples: Mapping[str, Example]) -> tuple[Rows, ...]:
    """Return the row numbers to leave out of each query's lists: its examples, and the ids that it excludes.

    The result is empty if no query leaves any out. Many excluded ids become a filter instead (``Session.allowed``).
    """
    first = one_of(queries)
    if len(first.exclude) > EXCLUDED:  # then all queries of the batch exclude the same ids
        known: Mapping[str, int] = {}
    elif isinstance(queries, Batch):
        if not first.exclude:
            return ()
        rows = np.array(list(session.numbers(first.exclude).values()), np.int64)
        return (rows,) * len(queries) if len(rows) else ()
    else:
        known = session.numbers(id for query in queries for id in query.exclude)
    if not examples and not known:
        return ()
    own = [[examples[id].row for id in query.examples] for query in queries]
    more = [[known[id] for id in query.exclude if id in known] for query in queries]
    return tuple(np.array([*left, *right], np.int64) for left, right in zip(own, more, strict=True))


def spare(context: Context) -> int:
    """Return the number of extra hits to request, since that many may be left out."""
    return max(map(len, context.left_out), default=0)


def record(context: Context, ranked: Ranked, k: int) -> Ranked:
    """Drop the left-out rows of each query from a new list, keep the best k, and add the list to the trail."""
    if context.left_out:
        ranked = ranked.without(context.left_out, k)
    context.trail.append(ranked)
    return ranked


def without_references(context: Context, ranked: Ranked) -> Ranked:
    """Drop the items whose files were given as references to a scorer."""
    if context.composition is None:
        return ranked
    given = [references(query, context.composition) for query in context.queries]
    if not any(given):
        return ranked
    items = context.session.items(ranked.rows[ranked.rows >= 0])
    own = []
    for paths, rows in zip(given, ranked.rows, strict=True):
        spelt = paths | {os.path.abspath(os.path.expanduser(path)) for path in paths if "://" not in path}
        theirs = [row for row in rows[rows >= 0].tolist() if not spelt.isdisjoint(items[row]["media"].values())]
        own.append(np.array(theirs, np.int64))
    return ranked.without(own, ranked.rows.shape[1])
