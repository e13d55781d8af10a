"""Group: keep the best hits of each value of a metadata column, such as the best frames of each film."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quiver.engine.core.ranking import Ranked, Scores
from quiver.engine.execution.context import Context
from quiver.engine.execution.executor import run_stages
from quiver.engine.execution.left_out import without_references
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.encode import Encode
from quiver.engine.execution.stages.filter import Filter
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.storage.groups import Groups
from quiver.types import Rows

#: Factor by which lists are deepened if they have too few groups.
_DEEPER = 4
#: A list of more than this fraction of all rows comes from an exact scan if the vectors are in memory: it is
#: cheaper.
_SHARE = 1 / 8
#: Stages with the same result for any depth.
_ONCE = (Encode, Compose, Filter)


@dataclass(frozen=True, slots=True)
class Group:
    """Keep the best ``each`` hits of the best k groups; search deeper until there are k groups, or no more rows.

    Attributes:
        column: the metadata column; an item without a value is a group of its own.
        k: number of groups.
        each: most hits per group.
        offset: number of top groups to skip.
        depth: length of the given lists.
        most: number of matching rows.
        index: kind of index named by the query, or None.
        reason: reason for the stage.
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

    def run(self, context: Context) -> int:
        """Choose the groups; search deeper while there are too few groups and more rows.

        Each query uses the first list with enough groups, so that other queries of its batch do not change its answer.
        """
        groups, depth = context.session.groups(self.column), self.depth
        ranked, places, short = self._choose(context, groups)
        kept = [(ranked.scores[n, own], ranked.rows[n, own]) for n, own in enumerate(places)]
        if short and any(getattr(stage, "budget_ms", None) is not None for stage in context.done):
            for n in short:
                context.cut_short(
                    n, f"{self.label}: there may be more groups, but the latency budget ended before a deeper search"
                )
            short = []
        seen = np.full(len(kept), -1)
        while (short := [n for n in short if _count(ranked)[n] > seen[n]]) and depth < self.most:
            seen, depth = _count(ranked), min(depth * _DEEPER, self.most)
            self._search_deeper(context, depth)
            ranked, places, wanting = self._choose(context, groups)
            for n in short:
                kept[n] = ranked.scores[n, places[n]], ranked.rows[n, places[n]]
            short = [n for n in short if n in wanting]
        grouped = self._keep(ranked, kept)
        context.lists = [grouped]
        context.trail.append(grouped)
        return grouped.count

    def _search_deeper(self, context: Context, depth: int) -> None:
        """Run the recall stages again with more depth; the query is embedded and the rows are filtered already."""
        again = [self._deepen(stage, depth, context) for stage in context.done if not isinstance(stage, _ONCE)]
        context.done = [stage for stage in context.done if isinstance(stage, _ONCE)]
        context.lists, context.trail, context.at_end = [], [], []
        run_stages(again, context)

    def _deepen(self, stage: Any, depth: int, context: Context) -> Any:
        deep = isinstance(stage, Recall) and self.index is None and depth >= _SHARE * self.most
        if deep and context.session.resident(stage.route.column).at_hand:
            stage = replace(stage, index="exact", spend={}, depth=0)
        return replace(stage, k=max(depth, stage.k)) if hasattr(stage, "k") else stage

    def _choose(self, context: Context, groups: Groups) -> tuple[Ranked, list[list[int]], list[int]]:
        """Return the list, the positions to keep per query, and the queries that need a deeper list."""
        ranked = without_references(context, context.lists[0])
        sizes = groups.sizes(context.allow)
        chosen = [self._pick(groups.of(rows[rows >= 0]).tolist()) for rows in ranked.rows]
        wanted = min(self.offset + self.k, len(sizes))
        short = [
            n
            for n, (_, counts) in enumerate(chosen)
            if len(counts) < wanted or any(count < min(self.each, sizes[group]) for group, count in counts.items())
        ]
        return ranked, [places for places, _ in chosen], short

    def _pick(self, groups: list[int]) -> tuple[list[int], dict[int, int]]:
        """Return the positions to keep, and the number of hits seen in each of the best groups."""
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

    def _keep(self, ranked: Ranked, kept: list[tuple[Scores, Rows]]) -> Ranked:
        width = max(len(rows) for _, rows in kept)
        scores = np.full((len(kept), width), -np.inf, ranked.scores.dtype)
        rows = np.full((len(kept), width), -1, np.int64)
        for n, (theirs, names) in enumerate(kept):
            scores[n, : len(names)], rows[n, : len(names)] = theirs, names
        return replace(ranked, label=self.label, scores=scores, rows=rows)


def _count(ranked: Ranked) -> Rows:
    """Return (q,) the number of candidates per query."""
    return np.count_nonzero(ranked.rows >= 0, axis=1)
