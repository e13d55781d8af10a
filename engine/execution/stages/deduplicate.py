"""Deduplicate: fold near-duplicates of better hits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from quiver.engine.core.column import Column, Derived
from quiver.engine.core.near_duplicates import leaders
from quiver.engine.core.ranking import Ranked, Scores
from quiver.engine.execution.candidate_vectors import unit_vectors
from quiver.engine.execution.context import Context
from quiver.engine.execution.deeper import FACTOR, out_of_time, search_deeper
from quiver.engine.execution.left_out import without_references
from quiver.types import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """The kept hits of a query.

    Attributes:
        rows: (m,) row numbers, best first.
        scores: (m,).
        counts: number of near-duplicates of each, by row number.
    """

    rows: Rows
    scores: Scores
    counts: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Deduplicate:
    """Keep a hit only if no better one resembles it; search deeper until there are enough hits, or no more rows.

    Attributes:
        threshold: cosine similarity from which two items are near-duplicates.
        column: the compared vectors; an item without one is never folded.
        keep: number of hits to keep.
        depth: length of the given lists.
        most: number of matching rows.
        index: kind of index named by the query, or None.
        reason: reason for the stage.
    """

    threshold: float
    column: Column | Derived
    keep: int
    depth: int
    most: int
    index: str | None
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return "deduplicate"

    def run(self, context: Context) -> int:
        """Fold each list; search deeper for queries with too few hits.

        Each query uses the first list with enough hits, so that other queries of its batch do not change its answer.
        """
        depth = self.depth
        ranked = without_references(context, context.lists[0])
        kept = self._fold(context, ranked, range(len(context.queries)))
        seen = np.full(len(context.queries), -1)
        while depth < self.most:
            counts = (ranked.rows >= 0).sum(axis=1)
            short = [n for n, each in kept.items() if len(each.rows) < self.keep and counts[n] > seen[n]]
            if short and out_of_time(context):
                for n in short:
                    context.cut_short(n, f"{self.label}: the latency budget ended before a deeper search")
                break
            if not short:
                break
            seen, depth = counts, min(depth * FACTOR, self.most)
            search_deeper(context, depth, most=self.most, index=self.index)
            ranked = without_references(context, context.lists[0])
            kept |= self._fold(context, ranked, short)
        context.folded = [kept[n].counts for n in range(len(kept))]
        lists = [(kept[n].scores, kept[n].rows) for n in range(len(kept))]
        made = replace(ranked.of(lists), label=self.label)
        context.lists = [made]
        context.trail.append(made)
        return made.count

    def _fold(self, context: Context, ranked: Ranked, wanted: Sequence[int]) -> dict[int, Kept]:
        """Return the hits to keep for some queries, by their number."""
        lists = {n: ranked.rows[n] >= 0 for n in wanted}
        data = unit_vectors(context, self.column, [ranked.rows[n, valid] for n, valid in lists.items()])
        found = {}
        for (n, valid), vectors in zip(lists.items(), data, strict=True):
            leader, _ = leaders(vectors, self.threshold, most=self.keep)
            places = np.flatnonzero(leader == np.arange(len(leader)))
            counts = np.bincount(leader[leader >= 0], minlength=len(leader))[places] - 1
            rows, scores = ranked.rows[n, valid][places], ranked.scores[n, valid][places]
            found[n] = Kept(rows, scores, dict(zip(rows.tolist(), counts.tolist(), strict=True)))
        return found
