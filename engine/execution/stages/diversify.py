"""Diversify: order hits by maximal marginal relevance, so that they differ from each other."""

from dataclasses import dataclass, replace

from quiver.engine.core.column import Column, Derived
from quiver.engine.core.diversity import mmr
from quiver.engine.execution.candidate_vectors import unit_vectors
from quiver.engine.execution.context import Context
from quiver.engine.execution.left_out import without_references


@dataclass(frozen=True, slots=True)
class Diversify:
    """Choose hits one by one from the candidates: each is relevant, and unlike those before it.

    Attributes:
        diversity: share of diversity, from 0 to 1.
        column: the compared vectors; an item without one resembles nothing.
        keep: number of hits to choose.
        reason: reason for the stage.
    """

    diversity: float
    column: Column | Derived
    keep: int
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return "diversify"

    def run(self, context: Context) -> int:
        """Replace the list by the chosen candidates; their scores stay."""
        ranked = without_references(context, context.lists[0])
        rows = [each[each >= 0] for each in ranked.rows]
        lists = []
        for n, vectors in enumerate(unit_vectors(context, self.column, rows)):
            scores = ranked.scores[n, ranked.rows[n] >= 0]
            order = mmr(scores, vectors, self.keep, self.diversity)
            lists.append((scores[order], rows[n][order]))
        made = replace(ranked.of(lists), label=self.label)
        context.lists = [made]
        context.trail.append(made)
        return made.count
