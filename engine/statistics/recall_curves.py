"""A promise of recall, and what it rests on: curves of recall against time, measured for several selectivities.

For each depth (how many hits are asked for) and each selectivity (what share of the rows a condition leaves) a curve
holds settings of an index, from cheap to dear, with their recall and their time, and the time of an exact scan of the
same rows. A search is answered by the cheapest setting that kept the promise at the selectivities around its own and at
a depth no less than its own; where there is none, or where it is cheaper, by an exact scan. Plain values: what measures
them is ``quiver.engine.tuning.index_tuning``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from quiver.engine.statistics.cost_model import Cost
from quiver.engine.storage import json_store
from quiver.indexers._tune import work

#: Selectivities that are measured, widest first.
BUCKETS = (1.0, 0.1, 0.01, 0.001)
#: A promise is called into question once so much of what it was measured on has changed.
DRIFT = 0.1

#: A setting of an index: names of its parameters and their values.
Spend = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Point:
    """One setting, as measured.

    Attributes:
        spend: the setting.
        recall: the mean share of the true hits found, over queries that had no part in choosing the setting, and
            over the worse of the two sorts of condition (rows at random, rows that are alike).
        error: its standard error.
        floor: the recall that the choosing queries give with 95 % confidence, likewise of the worse sort.
        cost: its time.
    """

    spend: Spend
    recall: float
    error: float
    floor: float
    cost: Cost

    def keeps(self, recall: float) -> bool:
        """Whether both halves of the queries found so much."""
        return min(self.floor, self.recall) >= recall


@dataclass(frozen=True, slots=True)
class Curve:
    """Settings of an index, cheapest first, at one depth and selectivity.

    Attributes:
        depth: how many hits were asked for.
        selectivity: the share of the rows that could be found.
        exact: the time of an exact scan of those rows.
        points: the settings.
    """

    depth: int
    selectivity: float
    exact: Cost
    points: tuple[Point, ...]

    def at(self, spend: Spend) -> Point | None:
        """Return a setting as measured here."""
        return next((point for point in self.points if point.spend == spend), None)


@dataclass(frozen=True, slots=True)
class Offer:
    """A setting for a search: what it is expected to find and to take, and whether that keeps the promise."""

    spend: Spend
    recall: float
    ms: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Promise:
    """What an index of a column keeps.

    Attributes:
        recall: what is promised.
        k: the depth it is promised for; other depths are measured too.
        kind: of index.
        options: what it was built with.
        rows: how many vectors it was measured on.
        version: of the collection.
        at: when, ISO 8601.
        source: what the queries were.
        asked: how many they were, those that chose and those that measured together.
        versions: of the libraries.
        machine: the key of the machine that the times hold for.
        fragments: files and number of rows of each fragment, to tell what changed since.
        resident: whether memory allows an exact scan of the vectors; else they are read from disk for one.
        curves: by depth, then selectivity, widest first.
        changed: the share of the rows that changed since; not stored.
    """

    recall: float
    k: int
    kind: str
    options: Mapping[str, str]
    rows: int
    version: int
    at: str
    source: str
    asked: int
    versions: Mapping[str, str]
    machine: str
    fragments: Mapping[str, tuple[str, int]]
    resident: bool
    curves: tuple[Curve, ...]
    changed: float = field(default=0.0, compare=False)

    @property
    def depths(self) -> tuple[int, ...]:
        """The depths measured, ascending."""
        return tuple(sorted({curve.depth for curve in self.curves}))

    def depth(self, k: int) -> int | None:
        """Return the least depth measured that is deep enough; None where k is deeper than all."""
        return next((depth for depth in self.depths if depth >= k), None)

    def offers(self, k: int, share: float, queries: int = 1) -> list[Offer]:
        """Return every setting measured around a search, cheapest first; none where nothing was measured around it.

        Between two selectivities the lower recall of the two counts, and time is interpolated on a log scale.

        Args:
            k: how many hits are asked for.
            share: the share of the rows that can be found.
            queries: how many are asked at once.
        """
        wide, narrow = self._around(k, share)
        if wide is None or narrow is None:
            return []
        place, found = _place(wide, narrow, share), []
        for point in wide.points:
            other = narrow.at(point.spend)
            if other is not None:
                ms = _between(point.cost.ms(queries), other.cost.ms(queries), place)
                kept = point.keeps(self.recall) and other.keeps(self.recall)
                found.append(Offer(point.spend, min(point.recall, other.recall), ms, kept))
        return sorted(found, key=lambda offer: (offer.ms, work(offer.spend)))

    def offer(self, k: int, share: float, queries: int = 1) -> Offer | None:
        """Return the cheapest setting that keeps the promise around a search; None where none does."""
        return next((offer for offer in self.offers(k, share, queries) if offer.kept), None)

    def exact(self, share: float, queries: int = 1) -> float | None:
        """Return the milliseconds of an exact scan of that share of the rows; None where that was not measured."""
        wide, narrow = self._around(self.k, max(share, BUCKETS[-1]))
        if wide is None or narrow is None:
            return None
        return _between(wide.exact.ms(queries), narrow.exact.ms(queries), _place(wide, narrow, share))

    def _around(self, k: int, share: float) -> tuple[Curve | None, Curve | None]:
        """Return the curves of the selectivities above and below, at the least depth that is deep enough."""
        curves = [curve for curve in self.curves if curve.depth == self.depth(k)]
        wide = [curve for curve in curves if curve.selectivity >= share]
        narrow = [curve for curve in curves if curve.selectivity <= share]
        return (wide[-1] if wide else None), (narrow[0] if narrow else None)

    def state(self) -> str:
        """Say whether the promise still holds."""
        if self.changed > DRIFT:
            return f"not re-checked since {self.changed:.0%} changed"
        weak = [curve for curve in self.curves if not any(point.keeps(self.recall) for point in curve.points)]
        if not weak:
            return "holds"
        return (
            f"holds, by exact scans for {', '.join(f'k = {c.depth} of {c.selectivity:.1%} of the rows' for c in weak)}"
        )

    def now(self, fragments: Mapping[str, tuple[str, int]]) -> "Promise":
        """Return the promise with the share of rows that changed, given what the fragments are now."""
        return replace(self, changed=drift(self.fragments, fragments, self.rows))


def drift(then: Mapping[str, tuple[str, int]], now: Mapping[str, tuple[str, int]], rows: int) -> float:
    """Return the share of rows that came, went or moved; fragments are known by their files.

    >>> drift({"0": ("a", 90), "1": ("b", 10)}, {"0": ("a", 80), "2": ("c", 5)}, 100)
    0.25
    """
    changed = 0
    for name, (files, count) in then.items():
        same = name in now and now[name][0] == files
        changed += abs(count - now[name][1]) if same else count
    changed += sum(count for name, (files, count) in now.items() if then.get(name, ("", 0))[0] != files)
    return changed / max(rows, 1)


def write(path: Path, promise: Promise) -> None:
    """Store a promise, without the share of rows that changed since."""
    json_store.write(path, replace(promise, changed=0.0))


def read(path: Path) -> Promise | None:
    """Return the promise that is stored there; None where there is none, or none that can be trusted."""
    return json_store.read(path, Promise)


def _place(wide: Curve, narrow: Curve, share: float) -> float:
    """Return where a share lies between two selectivities, on a log scale: 0 at the wide one, 1 at the narrow one."""
    if wide.selectivity == narrow.selectivity:
        return 0.0
    return min(1.0, math.log(wide.selectivity / max(share, 1e-12)) / math.log(wide.selectivity / narrow.selectivity))


def _between(wide: float, narrow: float, place: float) -> float:
    return math.exp((1 - place) * math.log(max(wide, 1e-6)) + place * math.log(max(narrow, 1e-6)))
