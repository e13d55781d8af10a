"""Recall: the k stored vectors of one column nearest to the query."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from quiver.engine.core.graph import VECTOR, Route
from quiver.engine.core.ranking import Ranked, combine
from quiver.engine.core.vector_check import faults
from quiver.engine.execution.context import Context
from quiver.engine.execution.left_out import record, spare
from quiver.engine.execution.query_batch import vectors_in
from quiver.errors import BadSpec, SpaceMismatch
from quiver.types import LIKE, UNLIKE, Floats, Query


@dataclass(frozen=True, slots=True)
class Recall:
    """Search one column along one route.

    Attributes:
        route: path from the query input to the column.
        index: the kind of index.
        k: number of hits.
        reason: reason for the stage.
        spend: index settings that differ from the build settings.
        depth: number of hits requested from the index, if more than k; recall was measured at this depth.
        ms: expected milliseconds per query; None if unknown.
        recall: expected recall; None if unknown.
    """

    route: Route
    index: str
    k: int
    reason: str
    spend: Mapping[str, int] = field(default_factory=dict)
    depth: int = 0
    ms: float | None = None
    recall: float | None = None

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"recall {self.route}"

    def run(self, context: Context) -> int:
        """Search, and add the list."""
        session, route = context.session, self.route
        probes = self._probes(context)
        count, width, dim = probes.shape
        vectors = session.cross(route.bridges, probes.reshape(-1, dim))
        wide = self.k + spare(context)
        resident, most = session.resident(route.column), max(self.depth, wide)
        scores, rows = resident.search(self.index, vectors, most, allow=context.allow, spend=self.spend)
        found = Ranked(self.label, scores[:, :wide], rows[:, :wide], route.column.space, route.origin)
        ranked = record(context, _best_of(found, count, width), self.k)
        context.lists.append(ranked)
        return ranked.count

    def _probes(self, context: Context) -> Floats:
        """Return (q, m, dim) vectors in the start space of the route."""
        origin, start = self.route.origin, self.route.start
        if origin in context.probes:
            return context.probes[origin]
        if origin == LIKE:
            return self._stored(context)
        if origin == VECTOR:
            return self._given(context)
        encoded = context.encoded[origin, start]
        return encoded[:, None] if encoded.ndim == 2 else encoded

    def _given(self, context: Context) -> Floats:
        start = self.route.start
        given = vectors_in(context.queries, start.name)
        if given.ndim < 2 or given.shape[-1] != start.dim:
            width = given.shape[-1] if given.ndim > 1 else 1
            raise SpaceMismatch(f"{start} takes vectors of dimension {start.dim}, not {width}")
        if given.ndim > 3:
            raise SpaceMismatch(f"{start} takes one vector or several, not an array of shape {given.shape[1:]}")
        if bad := faults(given.reshape(-1, start.dim), start.metric):
            first, many = min(bad), given[0].size // start.dim
            which = f"query {first // many}" if len(given) > 1 else "the query"
            raise BadSpec(f"{which} in {start.name}: {bad[first]}")
        return given[:, None] if given.ndim == 2 else given

    def _stored(self, context: Context) -> Floats:
        """Return the query vectors (q, m, dim) of each query's examples.

        If an item has several vectors in the space, the one of the route's own key is preferred.
        """
        start, key = self.route.start, self.route.column.key
        columns = [column for column in context.session.table.columns if column.space == start]
        names = [column.name for column in sorted(columns, key=lambda column: column.key != key)]
        found = {
            id: next(example.vectors[name] for name in names if name in example.vectors)
            for id, example in context.examples.items()
        }
        if start.metric == "cosine":
            found = {id: vector / max(float(np.linalg.norm(vector)), 1e-30) for id, vector in found.items()}
        return np.stack([_likeness(query, found) for query in context.queries]).astype(np.float32)


def _likeness(query: Query, vectors: Mapping[str, Floats]) -> Floats:
    """Return the query vectors (m, dim) of positive and negative examples: p + w (p - n).

    p is the mean of the positive examples, or each of them with ``reduce="max"``; n is the mean of the negative
    examples. This is the formula of Rocchio (1971), made independent of the origin, as distances are; for w = 1 it is
    2 p - n.
    """
    liked = np.stack([vectors[id] for id in query.like])
    if query.reduce == "mean":
        liked = liked.mean(axis=0, keepdims=True)
    if not query.unlike:
        return liked
    away = np.mean([vectors[id] for id in query.unlike], axis=0)
    made: Floats = liked + query.weights.get(UNLIKE, 1.0) * (liked - away)
    return made


def _best_of(ranked: Ranked, count: int, width: int) -> Ranked:
    """Join the lists of a query's m probes; an item keeps its best score."""
    if width == 1:
        return ranked
    scores, rows = combine(ranked.scores.reshape(count, -1), ranked.rows.reshape(count, -1), how="max")
    return replace(ranked, scores=scores, rows=rows)
