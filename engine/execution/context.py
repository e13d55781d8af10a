"""One execution of a plan over a batch of queries: what the stages share."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from quiver.engine.core.column import Column, Crossing, Derived
from quiver.engine.core.encoder import Loaded
from quiver.engine.core.graph import VECTOR, Composition, Route, references
from quiver.engine.core.ranking import Ranked, combine
from quiver.engine.execution.plan import Stage
from quiver.engine.execution.query_batch import Batch, held_in, one_of
from quiver.engine.execution.scorer_batch import Composer
from quiver.engine.execution.scorer_inputs import ask
from quiver.engine.execution.timed_rerank import Matched, match, order
from quiver.engine.statistics.scorer_latency import Pace
from quiver.engine.storage.column_index import Resident
from quiver.engine.storage.dataset import Example, Table
from quiver.engine.storage.groups import Groups
from quiver.errors import SpaceMismatch
from quiver.protocols import Scorer
from quiver.types import LIKE, UNLIKE, WORDS, Floats, Query, Rows, Space, sources_of, values_of

if TYPE_CHECKING:
    from quiver.engine.execution.stages.compose import Compose
    from quiver.engine.execution.stages.rerank import Rerank


class Session(Protocol):
    """What a collection lends to a run."""

    @property
    def table(self) -> Table:
        """The rows."""
        ...

    def resident(self, column: Column | Derived) -> Resident:
        """A column, ready to be searched."""
        ...

    def encoder(self, spec: str) -> Loaded:
        """An encoder, loaded."""
        ...

    def scorer(self, composition: Composition) -> Scorer:
        """A scorer, loaded."""
        ...

    def pace(self, composition: Composition) -> Pace:
        """How long a scorer takes."""
        ...

    def cross(self, crossings: Sequence[Crossing], vectors: Floats) -> Floats:
        """Take vectors (n, dim) over bridges."""
        ...

    def matching(self, where: str) -> Rows:
        """Row numbers a condition selects, sorted."""
        ...

    def count(self, where: str | None) -> int:
        """How many rows a condition selects, all without one."""
        ...

    def groups(self, column: str) -> Groups:
        """The group of every row by its value of a metadata column."""
        ...

    def items(self, rows: Rows) -> Mapping[int, Mapping[str, Any]]:
        """Id, media and metadata of rows, by row number."""
        ...


class Run:
    """The queries of a batch, the lists found so far, and what was found where.

    All queries of a batch hold the same kinds of thing and ask for the same; only their contents differ.

    Attributes:
        queries: the batch.
        query: the first of it.
        examples: the stored items that queries take as examples, by id.
        allow: row numbers that may be found, sorted; None for all.
        lists: the ranked lists in play.
        trail: every list that was ever in play, for the trace.
        done: the stages that have run.
        composition: the scorer, where one ranks.
        composer: the queries as it holds them.
        started: when, as ``perf_counter`` counts.
        matched: what a reranker says of its candidates.
        notes: what is to be said of each query's answer.
    """

    def __init__(
        self,
        session: Session,
        queries: Sequence[Query],
        examples: Mapping[str, Example],
        *,
        started: float | None = None,
    ) -> None:
        self.session = session
        self.queries = queries if isinstance(queries, Batch) else tuple(queries)
        self.query = one_of(queries)
        self.examples = examples
        self.allow: Rows | None = None
        self.lists: list[Ranked] = []
        self.trail: list[Ranked] = []
        self.done: list[Stage] = []
        self.composition: Composition | None = None
        self.composer: Composer | None = None
        self.started = perf_counter() if started is None else started
        self.matched: Matched | None = None
        self.notes: list[list[str]] = [[] for _ in range(len(queries))]
        self._pace: Pace | None = None
        self._matched_at = 0.0
        self._encoded: dict[tuple[str, Space], Floats] = {}
        self._asked: dict[str, Floats] = {}

    def say(self, note: str) -> None:
        """Add a note to the answers."""
        for notes in self.notes:
            notes.append(note)

    def remember(self, ranked: Ranked) -> None:
        """Keep a list for the trace."""
        self.trail.append(ranked)

    def matching(self, where: str) -> Rows:
        """Return the row numbers a condition selects, sorted."""
        return self.session.matching(where)

    def embed(self, held: str, space: Space, spec: str) -> int:
        """Embed one key of every query, several values of it as the query reduces them; returns how many queries."""
        encoder = self.session.encoder(spec).encoder
        reader = encoder.reader(held)
        sources = [sources_of(query.media, held) for query in self.queries]
        vectors = encoder.embed(held, [reader(source) for each in sources for source in each], space)
        if self.query.reduce == "max":
            vectors = vectors.reshape(len(sources), -1, space.dim)
        elif len(vectors) > len(sources):
            starts = np.cumsum([0, *(len(each) for each in sources[:-1])])
            counts = np.array([[len(each)] for each in sources], np.float32)
            vectors = np.asarray(np.add.reduceat(vectors, starts, axis=0) / counts, np.float32)
        self._encoded[held, space] = vectors
        return len(self.queries)

    def compose(self, stage: "Compose") -> int:
        """Give every query to a scorer, and make the probes of its recipe; returns how many queries."""
        self.composition = stage.composition
        scorer = self.session.scorer(stage.composition)
        asked = ask(self.queries, stage, examples=self.examples, table=self.session.table)
        residents = dict(zip(stage.composition.reads, map(self.session.resident, stage.columns), strict=True))
        self.composer = Composer(scorer, scorer.hold(asked), len(asked), residents, stage.label)
        if stage.recipe is not None:
            names = stage.composition.asks(stage.recipe)
            self._asked = dict(zip(names, self.composer.probes(stage.recipe), strict=True))
        return len(asked)

    def score(self, k: int, *, label: str) -> Ranked:
        """Rank everything that may be found by the scorer."""
        return self._keep(Ranked(label, *self._composer.score(k + self._spare, self.allow)), k)

    def rescore(self, k: int, *, label: str) -> Ranked:
        """Rank the candidates of all lists by the scorer."""
        candidates = np.hstack([ranked.rows for ranked in self.lists])
        ranked = Ranked(label, *self._composer.rescore(candidates, k))
        self.remember(ranked)
        return ranked

    def rerank(self, stage: "Rerank") -> Ranked:
        """Rank the candidates of the one list there is by the scorer, those it comes to in time."""
        (given,) = self.lists
        assert self.composition is not None, "a plan that reranks composes first"
        pace = self._pace = self.session.pace(self.composition).on(self.device)
        until = float("inf")
        if stage.budget_ms is not None:
            until = self.started + (len(self.queries) * stage.budget_ms - pace.after) / 1e3
        if len(self.queries) == 1:
            pace.note("before", (perf_counter() - self.started) * 1e3)
        self.matched = match(self._composer, given, depth=stage.depth, pace=pace, until=until)
        self._matched_at = perf_counter()
        for n in np.flatnonzero(self.matched.late).tolist():
            count, every = len(self.matched.terms[n]), int((given.rows[n, : stage.depth] >= 0).sum())
            self.notes[n].append(f"reranked {count} of {every} within {stage.budget_ms:g} ms")
        ranked = order(given, self.matched, weights=stage.weights, label=stage.label)
        self.remember(ranked)
        return ranked

    @property
    def device(self) -> str:
        """Where the scorer computes, as far as it says."""
        return str(getattr(self._composer.scorer, "device", ""))

    def finish(self) -> None:
        """Note how long the answer took after a reranker, which has to leave time for it where there is a budget."""
        if self._pace is not None and len(self.queries) == 1:
            if self.query.budget_ms is not None:
                self._pace.note("after", (perf_counter() - self._matched_at) * 1e3)
            self._pace.keep()

    @property
    def _composer(self) -> Composer:
        assert self.composer is not None, "a plan that scores composes first"
        return self.composer

    def search(
        self,
        route: Route,
        index: str,
        k: int,
        *,
        label: str,
        spend: Mapping[str, int] | None = None,
        depth: int = 0,
    ) -> Ranked:
        """Search the column a route ends at, by some settings of an index, which is asked for ``depth`` at least."""
        probes = self._probes(route)
        count, width, dim = probes.shape
        asked = self.session.cross(route.bridges, probes.reshape(-1, dim))
        resident = self.session.resident(route.column)
        wide = k + self._spare
        scores, rows = resident.search(index, asked, max(depth, wide), allow=self.allow, spend=spend)
        ranked = Ranked(label, scores[:, :wide], rows[:, :wide], route.column.space, route.held)
        return self._keep(_best_of(ranked, count, width), k)

    @property
    def _spare(self) -> int:
        """How many more to ask for, since examples are left out of the answer."""
        return max(len(query.examples) for query in self.queries) if self.examples else 0

    def _keep(self, ranked: Ranked, k: int) -> Ranked:
        """Leave each query's own examples out of a list, and remember it."""
        if self._spare:
            own = [np.array([self.examples[id].row for id in query.examples], np.int64) for query in self.queries]
            ranked = ranked.without(own, k)
        self.remember(ranked)
        return ranked

    def _probes(self, route: Route) -> Floats:
        """Return (q, m, dim) vectors in the space a route starts from."""
        if route.held in self._asked:
            return self._asked[route.held]
        if route.held == LIKE:
            return self._stored(route)
        if route.held == VECTOR:
            given = held_in(self.queries, route.start.name)
            if given.ndim < 2 or given.shape[-1] != route.start.dim:
                width = given.shape[-1] if given.ndim > 1 else 1
                raise SpaceMismatch(f"{route.start} takes vectors {route.start.dim} wide, not {width}")
            return given[:, None] if given.ndim == 2 else given
        encoded = self._encoded[route.held, route.start]
        return encoded[:, None] if encoded.ndim == 2 else encoded

    def _stored(self, route: Route) -> Floats:
        """Return what each query's examples ask, (q, m, dim), in the space a route starts from.

        An item that has several vectors there gives the one of the route's own key where it can.
        """
        columns = [column for column in self.session.table.columns if column.space == route.start]
        names = [c.name for c in sorted(columns, key=lambda column: column.key != route.column.key)]
        found = {
            id: next(example.vectors[name] for name in names if name in example.vectors)
            for id, example in self.examples.items()
        }
        if route.start.metric == "cosine":
            found = {id: vector / max(float(np.linalg.norm(vector)), 1e-30) for id, vector in found.items()}
        return np.stack([_likeness(query, found) for query in self.queries]).astype(np.float32)

    def others(self, ranked: Ranked) -> Ranked:
        """Leave out the items whose references are those that a scorer composed."""
        if self.composition is None:
            return ranked
        held = [references(query, self.composition) for query in self.queries]
        if not any(held):
            return ranked
        items = self.session.items(ranked.rows[ranked.rows >= 0])
        own = []
        for each, rows in zip(held, ranked.rows, strict=True):
            spelt = each | {os.path.abspath(os.path.expanduser(path)) for path in each if "://" not in path}
            theirs = [row for row in rows[rows >= 0].tolist() if not spelt.isdisjoint(items[row]["media"].values())]
            own.append(np.array(theirs, np.int64))
        return ranked.without(own, ranked.rows.shape[1])

    def search_words(self, k: int, *, target: str | None, label: str) -> Ranked:
        """Search every query's text in the full-text index."""
        where = _holding(target)
        wishes = [" ".join(map(str, values_of(query.media, "text"))) for query in self.queries]
        found = [self._words(words, k + self._spare, where) for words in wishes]
        width = max(len(rows) for _, rows in found)
        scores = np.full((len(found), width), -np.inf, np.float32)
        rows = np.full((len(found), width), -1, np.int64)
        for n, (theirs, at) in enumerate(found):
            scores[n, : len(at)], rows[n, : len(at)] = theirs, at
        return self._keep(Ranked(label, scores, rows, held=WORDS), k)

    def _words(self, text: str, k: int, where: str | None) -> tuple[Floats, Rows]:
        conditions = [condition for condition in (where, self.query.where) if condition]
        table = self.session.table.search_words(text, k, where=" AND ".join(f"({c})" for c in conditions) or None)
        scores = table["_score"].to_numpy().astype(np.float32)
        rows = table["_rowid"].to_numpy().astype(np.int64)
        order = np.lexsort((rows, -scores))
        return scores[order], rows[order]


def _likeness(query: Query, vectors: Mapping[str, Floats]) -> Floats:
    """Return the vectors (m, dim) that a query's examples ask: p + w (p - n).

    p is the mean of what is liked, or each of it where the best match counts; n is the mean of what is not. This is
    the formula of Rocchio (1971), made independent of where the origin is, as distances are; for w = 1 it is 2 p - n.
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
    """Join the lists of m probes of one query: an item keeps its best score."""
    if width == 1:
        return ranked
    scores, rows = combine(ranked.scores.reshape(count, -1), ranked.rows.reshape(count, -1), how="max")
    return replace(ranked, scores=scores, rows=rows)


def _holding(target: str | None) -> str | None:
    if target is None:
        return None
    return "before IS NOT NULL AND after IS NOT NULL" if target == "pair" else f"{target} IS NOT NULL"
