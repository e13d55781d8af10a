"""Group: keep the best hits of each value of a metadata column, such as the best frames of each film."""

from dataclasses import dataclass, replace

import numpy as np

from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.context import Context
from quiver.engine.execution.deeper import FACTOR, out_of_time, search_deeper
from quiver.engine.execution.left_out import without_references
from quiver.engine.storage.groups import Groups
from quiver.types import Rows


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
        if short and out_of_time(context):
            for n in short:
                context.cut_short(
                    n, f"{self.label}: there may be more groups, but the latency budget ended before a deeper search"
                )
            short = []
        seen = np.full(len(kept), -1)
        while (short := [n for n in short if _count(ranked)[n] > seen[n]]) and depth < self.most:
            seen, depth = _count(ranked), min(depth * FACTOR, self.most)
            search_deeper(context, depth, most=self.most, index=self.index)
            ranked, places, wanting = self._choose(context, groups)
            for n in short:
                kept[n] = ranked.scores[n, places[n]], ranked.rows[n, places[n]]
            short = [n for n in short if n in wanting]
        grouped = replace(ranked.of(kept), label=self.label)
        context.lists = [grouped]
        context.trail.append(grouped)
        return grouped.count

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


def _count(ranked: Ranked) -> Rows:
    """Return (q,) the number of candidates per query."""
    return np.count_nonzero(ranked.rows >= 0, axis=1)
