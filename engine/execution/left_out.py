"""Which stored items a query's answer leaves out: its own examples, and references that a scorer composed."""

import os

import numpy as np

from quiver.engine.core.graph import references
from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.context import Context


def spare(context: Context) -> int:
    """Return how many hits more than k to ask for, since so many may be left out."""
    return max(len(query.examples) for query in context.queries) if context.examples else 0


def record(context: Context, ranked: Ranked, k: int) -> Ranked:
    """Drop each query's own examples from a list that was made, keep the best k, and remember it for the trace."""
    if spare(context):
        examples = context.examples
        own = [np.array([examples[id].row for id in query.examples], np.int64) for query in context.queries]
        ranked = ranked.without(own, k)
    context.trail.append(ranked)
    return ranked


def without_references(context: Context, ranked: Ranked) -> Ranked:
    """Drop the items whose files are the references that a scorer composed."""
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
