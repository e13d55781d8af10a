"""One execution of a plan over a batch of queries: what the stages share."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from quiver.engine.column import Column
from quiver.engine.encoding import Loaded, held_to
from quiver.engine.graph import LIKE, VECTOR, Route
from quiver.engine.rank import Ranked, combine
from quiver.engine.resident import Resident
from quiver.engine.table import Example, Table
from quiver.errors import SpaceMismatch
from quiver.types import Floats, Query, Rows, Space, source_of


class Library(Protocol):
    """What a collection lends to a run."""

    @property
    def table(self) -> Table:
        """The rows."""
        ...

    def resident(self, column: Column) -> Resident:
        """A column, ready to be searched."""
        ...

    def matching(self, where: str) -> Rows:
        """Row numbers a condition selects, sorted."""
        ...


class Run:
    """The queries of a batch, the lists found so far, and what was found where.

    All queries of a batch hold the same kinds of thing and ask for the same; only their contents differ.

    Attributes:
        queries: the batch.
        examples: the stored items that queries take as examples, by id.
        allow: row numbers that may be found, sorted; None for all.
        lists: the ranked lists in play.
        trail: every list that was ever in play, for the trace.
    """

    def __init__(self, library: Library, queries: Sequence[Query], examples: Mapping[str, Example]) -> None:
        self.library = library
        self.queries = tuple(queries)
        self.examples = examples
        self.allow: Rows | None = None
        self.lists: list[Ranked] = []
        self.trail: list[Ranked] = []
        self._encoded: dict[tuple[str, Space], Floats] = {}

    def remember(self, ranked: Ranked) -> None:
        """Keep a list for the trace."""
        self.trail.append(ranked)

    def matching(self, where: str) -> Rows:
        """Return the row numbers a condition selects, sorted."""
        return self.library.matching(where)

    def embed(self, held: str, space: Space, spec: str) -> int:
        """Embed one key of every query; returns how many."""
        loaded = self._encoder(spec)
        reader = loaded.encoder.reader(held)
        batch = [reader(source_of(query.media, held)) for query in self.queries]
        self._encoded[held, space] = loaded.encoder.embed(held, batch, space)
        return len(batch)

    def _encoder(self, spec: str) -> Loaded:
        return held_to(spec, self.library.table.encoders[spec])

    def search(self, route: Route, index: str, k: int, *, label: str) -> Ranked:
        """Search the column a route ends at."""
        probes = self._cross(route, self._probes(route))
        count, width, dim = probes.shape
        resident = self.library.resident(route.column)
        scores, rows = resident.search(index, probes.reshape(-1, dim), k + self._spare, allow=self.allow)
        return self._keep(_best_of(Ranked(label, scores, rows, route.column.space), count, width), k)

    @property
    def _spare(self) -> int:
        """How many more to ask for, since examples are left out of the answer."""
        return max(len(query.like) for query in self.queries)

    def _keep(self, ranked: Ranked, k: int) -> Ranked:
        """Leave each query's own examples out of a list, and remember it."""
        if self._spare:
            own = [np.array([self.examples[id].row for id in query.like], np.int64) for query in self.queries]
            ranked = ranked.without(own, k)
        self.remember(ranked)
        return ranked

    def _probes(self, route: Route) -> Floats:
        """Return (q, m, dim) vectors in the space a route starts from."""
        if route.held == LIKE:
            return self._stored(route)[:, None]
        if route.held == VECTOR:
            given = [np.atleast_2d(np.asarray(q.vectors[route.start.name], np.float32)) for q in self.queries]
            if len({vectors.shape for vectors in given}) > 1 or given[0].shape[1] != route.start.dim:
                raise SpaceMismatch(f"{route.start} takes vectors {route.start.dim} wide, not {given[0].shape[1]}")
            return np.stack(given)
        return self._encoded[route.held, route.start][:, None]

    def _cross(self, route: Route, probes: Floats) -> Floats:
        for crossing in route.bridges:
            bridges = self._encoder(crossing.encoder).bridges
            bridge = next(b for b in bridges if (b.source, b.target) == (crossing.source, crossing.target))
            shape = (*probes.shape[:2], crossing.target.dim)
            probes = bridge.map(probes.reshape(-1, crossing.source.dim)).reshape(shape)
        return probes

    def _stored(self, route: Route) -> Floats:
        """Return the mean of each query's examples, (q, dim), in the space a route starts from.

        An item that has several vectors there gives the one of the route's own key where it can.
        """
        columns = [column for column in self.library.table.columns if column.space == route.start]
        names = [c.name for c in sorted(columns, key=lambda column: column.key != route.column.key)]
        found = {
            id: next(example.vectors[name] for name in names if name in example.vectors)
            for id, example in self.examples.items()
        }
        return np.stack([np.mean([found[id] for id in query.like], axis=0) for query in self.queries])

    def search_words(self, k: int, *, target: str | None, label: str) -> Ranked:
        """Search every query's text in the full-text index."""
        where = _holding(target)
        found = [self._words(str(query.media["text"]), k + self._spare, where) for query in self.queries]
        width = max(len(rows) for _, rows in found)
        scores = np.full((len(found), width), -np.inf, np.float32)
        rows = np.full((len(found), width), -1, np.int64)
        for n, (theirs, at) in enumerate(found):
            scores[n, : len(at)], rows[n, : len(at)] = theirs, at
        return self._keep(Ranked(label, scores, rows), k)

    def _words(self, text: str, k: int, where: str | None) -> tuple[Floats, Rows]:
        conditions = [condition for condition in (where, self.queries[0].where) if condition]
        table = self.library.table.search_words(text, k, where=" AND ".join(f"({c})" for c in conditions) or None)
        scores = table["_score"].to_numpy().astype(np.float32)
        rows = table["_rowid"].to_numpy().astype(np.int64)
        order = np.lexsort((rows, -scores))
        return scores[order], rows[order]

    def traces(self, n: int, rows: Sequence[int]) -> list[Mapping[str, Any]]:
        """Say, for rows of query n, which lists they were in, at what rank and score."""
        traces: list[dict[str, Any]] = [{} for _ in rows]
        for ranked in self.trail:
            rank = {row: i for i, row in enumerate(ranked.rows[n].tolist()) if row >= 0}
            for trace, row in zip(traces, rows, strict=True):
                if row in rank:
                    trace[ranked.label] = {"rank": rank[row] + 1, "score": float(ranked.scores[n, rank[row]])}
        return list(traces)


def _best_of(ranked: Ranked, count: int, width: int) -> Ranked:
    """Join the lists of m probes of one query: an item keeps its best score."""
    if width == 1:
        return ranked
    scores, rows = combine(ranked.scores.reshape(count, -1), ranked.rows.reshape(count, -1), how="max")
    return Ranked(ranked.label, scores, rows, ranked.space)


def _holding(target: str | None) -> str | None:
    if target is None:
        return None
    return "before IS NOT NULL AND after IS NOT NULL" if target == "pair" else f"{target} IS NOT NULL"
