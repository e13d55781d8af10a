"""Measure recall and latency of index settings, and choose those that reach a recall target.

Queries are split in two halves. The first half selects settings, from cheap to expensive; the second half measures the
selected ones again, and those figures are reported. A setting reaches a target if both the lower confidence bound of
the first half (95 %, one-sided) and the mean of the second half reach it.

Recall is measured without a filter and with filters that keep 10 %, 1 % and 0.1 % of the rows. Filters are of two
sorts: random rows, and correlated rows (the top of a random projection), which are out of distribution for most
queries. The lower recall is reported. A row at most as far as the k-th true neighbour counts as found, so ties do not
matter.

Shapes: q queries, k hits, dim the width of the space.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.engine.core.column import Column, Derived
from quiver.engine.core.sql import present
from quiver.engine.execution.session import Session
from quiver.engine.planning.planner import FUSE_DEPTH
from quiver.engine.statistics.cost_model import TOGETHER, Cost
from quiver.engine.statistics.machine import SEARCHING, installed
from quiver.engine.statistics.recall_curves import BUCKETS, Curve, Point, Promise, Spend
from quiver.engine.storage.column_index import Resident
from quiver.engine.tuning.sample_queries import SampleQueries, draw
from quiver.errors import BadSpec
from quiver.indexers._tune import calm, climb, frontier
from quiver.types import Floats, Rows

#: Queries of the first, coarse try of a setting.
_TRIED = 200
#: One-sided 95 % confidence bound, in standard errors.
SURE = 1.645
_SLACK = 1e-6  # share of a score within which two are equal
_CHUNK = 1 << 16  # vectors projected together

Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effort:
    """Effort of a measurement.

    Attributes:
        asked: default number of queries.
        kept: settings measured per depth and selectivity.
        alone: queries timed one by one.
        batches: batches timed.
    """

    asked: int = 1000
    kept: int = 8
    alone: int = 15
    batches: int = 2


#: By kind of index: a Lance search takes fifty times as long as a FAISS search.
EFFORT = {"lance": Effort(200, 5, 5, 1)}
#: Effort of timing an exact scan that reads all vectors from disk.
_SLOW = Effort(alone=2, batches=1)


@dataclass(frozen=True, slots=True)
class Want:
    """A recall target.

    Attributes:
        recall: mean fraction of the true top k to find.
        k: number of hits.
        queries: sample queries; see ``quiver.engine.tuning.sample_queries``.
        sample: number of queries to use; None for the default of the kind of index.
        seed: random seed of queries and filters.

    Raises:
        BadSpec: the recall is not above 0 and at most 1, or k or sample are too small.
    """

    recall: float = 0.95
    k: int = 10
    queries: Any = None
    sample: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise BadSpec(f"recall must be above 0 and at most 1, not {self.recall}")
        if self.k < 1:
            raise BadSpec(f"k must be at least 1, not {self.k}")
        if self.sample is not None and self.sample < 2:
            raise BadSpec(f"at least 2 queries are needed, not {self.sample}")


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Queries under one filter, with the true neighbours.

    Attributes:
        queries: (q, dim).
        own: (q,) the row that each query is, or None.
        allow: rows that pass the filter, or None for all.
        sort: of the filter: random or correlated.
        truth: (q, w) the true nearest rows.
        least: (q,) the score of the last true neighbour.
    """

    queries: Floats
    own: Rows | None
    allow: Rows | None
    sort: str
    truth: Rows
    least: Floats

    def first(self, count: int) -> "Case":
        """Return the case with its first ``count`` queries."""
        own = None if self.own is None else self.own[:count]
        return replace(self, queries=self.queries[:count], own=own, truth=self.truth[:count], least=self.least[:count])


def measure(
    session: Session, column: Column | Derived, kind: str, want: Want, *, options: Mapping[str, str], exact: bool = True
) -> tuple[Promise, SampleQueries]:
    """Measure an index; return its recall curves and target, and the queries.

    Args:
        session: the collection.
        column: the indexed column.
        kind: of index.
        want: the recall target.
        options: build options of the index.
        exact: whether an exact scan fits into memory; otherwise the truth is read from disk.

    Raises:
        BadSpec: there are too few queries.
    """
    count = want.sample or EFFORT.get(kind, Effort()).asked
    sample = draw(session, column, want.queries, count=count, seed=want.seed)
    if len(sample) < 2:
        raise BadSpec(f"a recall target for {column} needs at least two sample queries, and there are {len(sample)}")
    bench = Measurement(session.resident(column), kind, sample, exact=exact, seed=want.seed)
    curves = [curve for depth in depths(want.k) for curve in bench.curves(depth)]
    made = Promise(
        recall=want.recall,
        k=want.k,
        kind=kind,
        options=dict(options),
        rows=len(bench.rows),
        version=session.table.version,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        source=sample.source,
        asked=len(sample),
        versions=installed(SEARCHING),
        machine=session.machine.key,
        fragments=session.fragments(column),
        resident=exact,
        curves=tuple(curves),
    )
    return made, sample


def depths(k: int) -> tuple[int, ...]:
    """Return the depths to measure for a target at k: k itself, and the depth of lists for fusion."""
    return (k,) if k >= FUSE_DEPTH else (k, FUSE_DEPTH)


class Measurement:
    """An index under test: queries in two halves, filters, and true neighbours."""

    def __init__(self, resident: Resident, kind: str, sample: SampleQueries, *, exact: bool, seed: int) -> None:
        self.resident, self.kind, self.exact = resident, kind, exact
        self.effort = EFFORT.get(kind, Effort())
        self.rows = resident.rows() if exact else resident.table.rows(present(resident.column.stored.name))
        self.halves = tuple(
            SampleQueries(sample.vectors[half::2], sample.source, None if sample.own is None else sample.own[half::2])
            for half in (0, 1)
        )
        self._rng = np.random.default_rng(seed)
        self._allowed = {share: list(self._conditions(share)) for share in BUCKETS}

    def curves(self, depth: int) -> Iterator[Curve]:
        """Measure every selectivity at one depth."""
        cases = [self._cases(half, depth, 1.0) for half in self.halves]
        trials = climb(self._ladders(depth), lambda spend: self._tried(cases[0], spend, depth))
        spends = [trial.spend for trial in frontier(list(trials), most=self.effort.kept)]
        for share in BUCKETS:
            tuning, held_out = cases if share == 1.0 else [self._cases(half, depth, share) for half in self.halves]
            points = [self._point(spend, tuning, held_out, depth) for spend in spends]
            yield Curve(depth, share, self._cost(held_out[0], depth, None), _calm(points))

    def points(self, depth: int, share: float, spends: Sequence[Spend]) -> list[Point]:
        """Measure some settings at one depth and selectivity with all queries."""
        cases = [case for half in self.halves for case in self._cases(half, depth, share)]
        return [self._point(spend, cases, cases, depth) for spend in spends]

    def _ladders(self, depth: int) -> list[list[Spend]]:
        index: Any = self.resident.attached() if self.kind == "lance" else self.resident.load(self.kind).index
        return list(index.ladders(depth)) if hasattr(index, "ladders") else [[{}]]

    def _conditions(self, share: float) -> Iterator[tuple[Rows | None, str]]:
        """Return the filters of a selectivity: their rows and their sort."""
        if share == 1.0:
            yield None, "none"
            return
        count = max(1, round(share * len(self.rows)))
        for _ in range(2):
            yield np.sort(self._rng.choice(self.rows, count, replace=False)), "random"
        if self.exact:
            yield np.sort(self.rows[np.argpartition(-self._along(), count - 1)[:count]]), "alike"

    def _along(self) -> Floats:
        """Return the projection of each row on a random direction."""
        direction = self._rng.standard_normal(self.resident.column.space.dim).astype(np.float32)
        parts = (self.rows[at : at + _CHUNK] for at in range(0, len(self.rows), _CHUNK))
        return np.concatenate([self.resident.take(part).data @ direction for part in parts])

    def _cases(self, half: SampleQueries, depth: int, share: float) -> list[Case]:
        """Distribute queries over the filters of a selectivity, and find the true neighbours."""
        allowed = self._allowed[share]
        found = []
        for n, (allow, sort) in enumerate(allowed):
            queries, own = half.vectors[n :: len(allowed)], None if half.own is None else half.own[n :: len(allowed)]
            if len(queries):
                scores, rows = self._answer(queries, own, allow, depth, None)
                least = np.where(rows >= 0, scores, np.inf).min(axis=1, initial=np.inf)
                found.append(Case(queries, own, allow, sort, rows, least))
        return found

    def _answer(
        self, queries: Floats, own: Rows | None, allow: Rows | None, depth: int, spend: Spend | None
    ) -> tuple[Floats, Rows]:
        """Search with some settings, or exactly without settings; a query never finds its own row."""
        kind, how = (self.kind, spend) if spend is not None else self._truly()
        scores, rows = self.resident.search(kind, queries, depth + (own is not None), allow=allow, spend=how)
        if own is None:
            return scores, rows
        itself = rows == own[:, None]
        order = np.argsort(itself, axis=1, kind="stable")[:, :depth]
        scores, rows = np.where(itself, -np.inf, scores), np.where(itself, -1, rows)
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)

    def _truly(self) -> tuple[str, Spend]:
        return ("exact", {}) if self.exact else ("lance", {"scan": len(self.rows)})

    def _tried(self, cases: Sequence[Case], spend: Spend, depth: int) -> tuple[float, float]:
        """Return mean recall and milliseconds per query of a setting, without a filter."""
        case = cases[0].first(_TRIED)
        self._answer(case.queries[:1], None, None, depth, spend)
        started = perf_counter()
        _, rows = self._answer(case.queries, case.own, None, depth, spend)
        ms = (perf_counter() - started) * 1e3 / len(rows)
        return float(self._shares(case, rows).mean()), ms

    def _recalls(self, case: Case, spend: Spend, depth: int) -> Shares:
        """Return (q,) recall of a setting."""
        return self._shares(case, self._answer(case.queries, case.own, case.allow, depth, spend)[1])

    def _shares(self, case: Case, rows: Rows) -> Shares:
        """Return (q,) recall of some rows."""
        found = (rows[:, :, None] == case.truth[:, None, :]).any(axis=2) & (rows >= 0)
        found |= self._equal(case, rows, ~found & (rows >= 0))
        return found.sum(axis=1) / np.maximum(1, (case.truth >= 0).sum(axis=1))

    def _equal(self, case: Case, rows: Rows, doubtful: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of some rows tie with the last true neighbour."""
        equal = np.zeros(rows.shape, bool)
        query, place = np.nonzero(doubtful)
        if self.exact and len(query):
            wanted, where = np.unique(rows[query, place], return_inverse=True)
            vectors = self.resident.take(wanted).data[where].astype(np.float64)
            scores = _score(self.resident.column.space.metric, case.queries[query].astype(np.float64), vectors)
            least = case.least[query].astype(np.float64)
            equal[query, place] = scores >= least - _SLACK * np.abs(least)
        return equal

    def _point(self, spend: Spend, tuning: Sequence[Case], held_out: Sequence[Case], depth: int) -> Point:
        chosen = _worse(tuning, [self._recalls(case, spend, depth) for case in tuning])
        measured = (
            chosen if held_out is tuning else _worse(held_out, [self._recalls(case, spend, depth) for case in held_out])
        )
        floor = float(chosen.mean() - SURE * _error(chosen))
        return Point(
            dict(spend), float(measured.mean()), _error(measured), floor, self._cost(held_out[0], depth, spend)
        )

    def _cost(self, case: Case, depth: int, spend: Spend | None) -> Cost:
        """Time a setting, or an exact scan: some queries one by one, and a batch."""
        alone, together = [], []
        effort = self.effort if self.exact or spend is not None else _SLOW
        for n in range(-1, min(effort.alone, len(case.queries))):  # the first one warms up
            started = perf_counter()
            self._answer(case.queries[[max(0, n)]], None, case.allow, depth, spend)
            alone.append(perf_counter() - started)
        batch = np.resize(case.queries, (TOGETHER, case.queries.shape[1]))
        for _ in range(effort.batches):
            started = perf_counter()
            self._answer(batch, None, case.allow, depth, spend)
            together.append(perf_counter() - started)
        quick = sorted(alone[1:])[(len(alone) - 1) // 4]  # others on the machine make some slow
        return Cost(quick * 1e3, min(together) * 1e3 / TOGETHER)


def _calm(points: Sequence[Point]) -> tuple[Point, ...]:
    """Remove from the measured times the noise of other work on the machine."""
    spends = [point.spend for point in points]
    alone, together = (calm(spends, [getattr(point.cost, name) for point in points]) for name in ("alone", "together"))
    return tuple(replace(point, cost=Cost(*each)) for point, *each in zip(points, alone, together, strict=True))


def _error(recalls: Shares) -> float:
    return float(recalls.std(ddof=1) / np.sqrt(len(recalls))) if len(recalls) > 1 else 1.0


def _worse(cases: Sequence[Case], recalls: Sequence[Shares]) -> Shares:
    """Return the recalls under the sort of filter with the lower mean."""
    sorts = dict.fromkeys(case.sort for case in cases)
    joined = [
        np.concatenate([r for case, r in zip(cases, recalls, strict=True) if case.sort == sort]) for sort in sorts
    ]
    return min(joined, key=lambda each: each.mean())


def _score(metric: str, queries: Shares, vectors: Shares) -> Shares:
    """Score query i against vector i: (c, dim) float64 each to (c,)."""
    if metric == "l2":
        return -np.square(queries - vectors).sum(axis=1)
    dots = (queries * vectors).sum(axis=1)
    if metric == "dot":
        return dots
    lengths = np.linalg.norm(queries, axis=1) * np.linalg.norm(vectors, axis=1)
    return dots / np.where(lengths > 0, lengths, 1)
