"""Group: of every value of a metadata column only the best hits count, such as the best frames of each film."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.encode import Encode
from quiver.engine.execution.stages.filter import Filter
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.storage.groups import Groups

if TYPE_CHECKING:
    from quiver.engine.execution.context import Run

#: So much deeper is everything pulled again where too few groups were seen.
_DEEPER = 4
#: Lists that hold a larger share of all rows than this are made by an exact scan where vectors are in memory: it costs
#: less then.
_SHARE = 1 / 8


@dataclass(frozen=True, slots=True)
class Group:
    """Keep the best ``each`` hits of the best k groups; pull deeper until so many are seen, or all there are.

    Attributes:
        column: whose values are groups; an item without a value is a group of its own.
        k: how many groups.
        each: how many hits of each, at most.
        offset: how many of the best groups to leave out.
        depth: how deep the lists are that come in.
        most: how many rows may be found.
        index: the kind of index that was asked for by name.
        reason: why.
    """

    column: str
    k: int
    each: int
    offset: int
    depth: int
    most: int
    index: str | None
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"group {self.column}"

    def run(self, run: "Run") -> int:
        """Choose, and pull deeper while that is too little and there is more."""
        groups, depth, seen = run.session.groups(self.column), self.depth, -1
        ranked, places, short = self._choose(run, groups)
        if short and any(getattr(stage, "budget_ms", None) is not None for stage in run.done):
            run.say(f"{self.label}: there may be more; a budget leaves no time to pull deeper")
            short = False
        while short and depth < self.most and ranked.count > seen:
            seen, depth = ranked.count, min(depth * _DEEPER, self.most)
            self._pull(run, depth)
            ranked, places, short = self._choose(run, groups)
        grouped = self._keep(ranked, places)
        run.lists = [grouped]
        run.remember(grouped)
        return grouped.count

    def _pull(self, run: "Run", depth: int) -> None:
        """Do again what made the list, deeper; what is held is embedded already."""
        run.lists, run.trail = [], []
        for stage in run.done:
            if not isinstance(stage, Encode | Compose | Filter):
                self._deepen(stage, depth, run).run(run)

    def _deepen(self, stage: Any, depth: int, run: "Run") -> Any:
        deep = isinstance(stage, Recall) and self.index is None and depth >= _SHARE * self.most
        if deep and run.session.resident(stage.route.column).at_hand:
            stage = replace(stage, index="exact", spend={}, depth=0)
        return replace(stage, k=max(depth, stage.k)) if hasattr(stage, "k") else stage

    def _choose(self, run: "Run", groups: Groups) -> tuple[Ranked, list[list[int]], bool]:
        """Return the list, the places to keep of each query, and whether a deeper list might have more."""
        ranked = run.others(run.lists[0])
        sizes = groups.sizes(run.allow)
        chosen = [self._pick(groups.of(rows[rows >= 0]).tolist()) for rows in ranked.rows]
        wanted = min(self.offset + self.k, len(sizes))
        short = any(
            len(counts) < wanted or any(count < min(self.each, sizes[group]) for group, count in counts.items())
            for _, counts in chosen
        )
        return ranked, [places for places, _ in chosen], short

    def _pick(self, groups: list[int]) -> tuple[list[int], dict[int, int]]:
        """Return the places to keep, and how many of each of the best groups were seen."""
        places: list[int] = []
        counts: dict[int, int] = {}
        skipped: set[int] = set()
        for place, group in enumerate(groups):
            count = counts.get(group, 0)
            if count == self.each or (not count and len(counts) == self.offset + self.k):
                continue
            if len(counts) < self.offset:
                skipped.add(group)
            counts[group] = count + 1
            if group not in skipped:
                places.append(place)
        return places, counts

    def _keep(self, ranked: Ranked, places: list[list[int]]) -> Ranked:
        width = max(map(len, places), default=0)
        scores = np.full((len(places), width), -np.inf, ranked.scores.dtype)
        rows = np.full((len(places), width), -1, np.int64)
        for n, kept in enumerate(places):
            scores[n, : len(kept)], rows[n, : len(kept)] = ranked.scores[n, kept], ranked.rows[n, kept]
        return replace(ranked, label=self.label, scores=scores, rows=rows)
