"""Recall targets of indexes, and their evidence: recall/latency curves, measured for several selectivities.

A curve belongs to one depth (number of requested hits) and one selectivity (fraction of matching rows). It lists index
settings, from cheap to expensive, with recall and time, and the time of an exact scan of the same rows. A search uses
the cheapest setting that reached the target at the neighbouring selectivities and at a depth of at least its own; if
there is none, or an exact scan is cheaper, it scans. This module has plain values only;
``quiver.engine.tuning.index_tuning`` measures them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from quiver.engine.statistics.cost_model import Cost
from quiver.engine.storage import json_store
from quiver.indexers._tune import work

#: Measured selectivities, widest first.
BUCKETS = (1.0, 0.1, 0.01, 0.001)
#: Fraction of changed rows above which a measured recall is stale.
DRIFT = 0.1

#: A setting of an index: names of its parameters and their values.
Spend = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Point:
    """One measured index setting.

    Attributes:
        spend: the setting.
        recall: mean recall over the queries held back from choosing the setting, and
            for the worse of the two kinds of filter (random rows, similar rows).
        error: its standard error.
        floor: lower 95 % confidence bound of recall on the choosing queries, likewise for the worse kind of filter.
        cost: its cost.
    """

    spend: Spend
    recall: float
    error: float
    floor: float
    cost: Cost

    def keeps(self, recall: float) -> bool:
        """Whether both halves of the queries reached this recall."""
        return min(self.floor, self.recall) >= recall


@dataclass(frozen=True, slots=True)
class Curve:
    """Settings of an index, cheapest first, at one depth and selectivity.

    Attributes:
        depth: number of requested hits.
        selectivity: fraction of matching rows.
        exact: cost of an exact scan of those rows.
        points: the settings.
    """

    depth: int
    selectivity: float
    exact: Cost
    points: tuple[Point, ...]

    def at(self, spend: Spend) -> Point | None:
        """Return the expected figures of a setting on this curve."""
        return next((point for point in self.points if point.spend == spend), None)


@dataclass(frozen=True, slots=True)
class Offer:
    """A setting for a search: expected recall and milliseconds, and whether it reaches the recall target."""

    spend: Spend
    recall: float
    ms: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Promise:
    """The recall target of a column's index, with its evidence.

    Attributes:
        recall: recall target.
        k: depth of the target; other depths are measured too.
        kind: kind of index.
        options: build options.
        rows: number of vectors at measurement.
        version: version of the collection.
        at: time of measurement, ISO 8601.
        source: source of the queries.
        asked: number of queries, both halves together.
        versions: library versions.
        machine: key of the measured machine.
        fragments: files and number of rows of each fragment, to detect later changes.
        resident: whether the vectors fit into memory for an exact scan; otherwise the scan reads the disk.
        curves: curves by depth, then selectivity, widest first.
        changed: fraction of rows changed since; not stored.
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
        """The measured depths, ascending."""
        return tuple(sorted({curve.depth for curve in self.curves}))

    def depth(self, k: int) -> int | None:
        """Return the least measured depth of at least k; None if k exceeds all."""
        return next((depth for depth in self.depths if depth >= k), None)

    def offers(self, k: int, share: float, queries: int = 1) -> list[Offer]:
        """Return the settings measured near a search, cheapest first; empty if none were measured.

        Between two selectivities, recall is the lower of the two, and time is interpolated on a log scale.

        Args:
            k: number of requested hits.
            share: fraction of matching rows.
            queries: batch size.
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
        """Return the cheapest setting that reaches the recall target near a search; None if there is none."""
        return next((offer for offer in self.offers(k, share, queries) if offer.kept), None)

    def exact(self, share: float, queries: int = 1) -> float | None:
        """Return the milliseconds of an exact scan of a fraction of the rows; None if not measured."""
        wide, narrow = self._around(self.k, max(share, BUCKETS[-1]))
        if wide is None or narrow is None:
            return None
        return _between(wide.exact.ms(queries), narrow.exact.ms(queries), _place(wide, narrow, share))

    def _around(self, k: int, share: float) -> tuple[Curve | None, Curve | None]:
        """Return the curves of the selectivities above and below, at the least sufficient depth."""
        curves = [curve for curve in self.curves if curve.depth == self.depth(k)]
        wide = [curve for curve in curves if curve.selectivity >= share]
        narrow = [curve for curve in curves if curve.selectivity <= share]
        return (wide[-1] if wide else None), (narrow[0] if narrow else None)

    def state(self) -> str:
        """Describe whether the recall target still holds."""
        if self.changed > DRIFT:
            return f"stale, {self.changed:.0%} of the rows changed since it was measured"
        weak = [curve for curve in self.curves if not any(point.keeps(self.recall) for point in curve.points)]
        if not weak:
            return "holds"
        scanned = ", ".join(f"k = {c.depth} of {c.selectivity:.1%} of the rows" for c in weak)
        return f"holds, with exact scans for {scanned}"

    def now(self, fragments: Mapping[str, tuple[str, int]]) -> "Promise":
        """Return the recall target with the fraction of changed rows, for the current fragments."""
        return replace(self, changed=drift(self.fragments, fragments, self.rows))


def drift(then: Mapping[str, tuple[str, int]], now: Mapping[str, tuple[str, int]], rows: int) -> float:
    """Return the fraction of rows added, deleted or moved; fragments are identified by their files.

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
    """Store a recall target, without the fraction of changed rows."""
    json_store.write(path, replace(promise, changed=0.0))


def read(path: Path) -> Promise | None:
    """Return the stored recall target; None if there is none, or if the file is damaged."""
    return json_store.read(path, Promise)


def _place(wide: Curve, narrow: Curve, share: float) -> float:
    """Return the position of a fraction between two selectivities, on a log scale: 0 at the wide, 1 at the narrow."""
    if wide.selectivity == narrow.selectivity:
        return 0.0
    return min(1.0, math.log(wide.selectivity / max(share, 1e-12)) / math.log(wide.selectivity / narrow.selectivity))


def _between(wide: float, narrow: float, place: float) -> float:
    return math.exp((1 - place) * math.log(max(wide, 1e-6)) + place * math.log(max(narrow, 1e-6)))
