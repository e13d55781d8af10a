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
from quiver.types import LIKE, UNLIKE, Floats, keys_of, sources_of


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
        moved: whether query vectors are moved away from the negative examples.
    """

    route: Route
    index: str
    k: int
    reason: str
    spend: Mapping[str, int] = field(default_factory=dict)
    depth: int = 0
    ms: float | None = None
    recall: float | None = None
    moved: bool = False

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
        """Return (q, m, dim) vectors in the start space of the route, moved away from the negative examples."""
        origin, start = self.route.origin, self.route.start
        if origin in context.probes:
            return context.probes[origin]
        if origin == LIKE:
            found = self._liked(context)
        elif origin == VECTOR:
            found = self._given(context)
        else:
            encoded = context.encoded[origin, start]
            found = encoded[:, None] if encoded.ndim == 2 else encoded
        return self._move(context, found) if self.moved else found

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

    def _liked(self, context: Context) -> Floats:
        """Return the query vectors (q, m, dim) of the positive examples: their mean, or each with ``reduce="max"``."""
        found = self._stored(context)
        liked = [np.stack([found[id] for id in query.like]) for query in context.queries]
        if context.query.reduce == "mean":
            liked = [each.mean(axis=0, keepdims=True) for each in liked]
        return np.stack(liked).astype(np.float32)

    def _stored(self, context: Context) -> dict[str, Floats]:
        """Return the vectors (dim,) of example items in the start space of the route, by id.

        If an item has several vectors in the space, the one of the route's own key is preferred. For cosine they have
        unit length.
        """
        start, key = self.route.start, self.route.column.key
        columns = [column for column in context.session.table.columns if column.space == start]
        names = [column.name for column in sorted(columns, key=lambda column: column.key != key)]
        every = [
            (id, next((each.vectors[name] for name in names if name in each.vectors), None))
            for id, each in context.examples.items()
        ]
        found = {id: vector for id, vector in every if vector is not None}
        if start.metric == "cosine":
            found = {id: vector / max(float(np.linalg.norm(vector)), 1e-30) for id, vector in found.items()}
        return found

    def _move(self, context: Context, probes: Floats) -> Floats:
        """Return the query vectors p as p + w (p - n); n (q, 1, dim) is the mean of each query's negative examples.

        This is the formula of Rocchio (1971), made independent of the origin, as distances are; for w = 1 it is
        2 p - n.
        """
        start, queries = self.route.start, context.queries
        stored = self._stored(context)
        keys = keys_of(context.query.unlike_media)
        total, counts = np.zeros((len(queries), start.dim), np.float32), np.zeros((len(queries), 1), np.float32)
        for n, query in enumerate(queries):
            total[n] += sum(stored[id] for id in query.unlike)
            counts[n] = len(query.unlike) + sum(len(sources_of(query.unlike_media, key)) for key in keys)
        for key in keys:
            total += context.repelled[key, start]
        if start.metric == "cosine" and self.route.origin == VECTOR:
            probes = probes / np.maximum(np.linalg.norm(probes, axis=2, keepdims=True), 1e-30)
        weights = np.array([[[query.weights.get(UNLIKE, 1.0)]] for query in queries], np.float32)
        return np.asarray(probes + weights * (probes - (total / counts)[:, None]), np.float32)


def _best_of(ranked: Ranked, count: int, width: int) -> Ranked:
    """Join the lists of a query's m probes; an item keeps its best score."""
    if width == 1:
        return ranked
    scores, rows = combine(ranked.scores.reshape(count, -1), ranked.rows.reshape(count, -1), how="max")
    return replace(ranked, scores=scores, rows=rows)
