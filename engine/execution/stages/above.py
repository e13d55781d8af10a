"""Above: drop hits below a score threshold."""

from dataclasses import dataclass, replace

import numpy as np

from quiver.engine.execution.context import Context


@dataclass(frozen=True, slots=True)
class Above:
    """Keep the hits with at least this score.

    Attributes:
        score: the threshold.
        reason: reason for the stage.
        basis: how it was learned, and what it means; empty for a given threshold.
    """

    score: float
    reason: str
    basis: str = ""

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"above {self.score:g}"

    def run(self, context: Context) -> int:
        """Cut every list at the score threshold."""
        for n, ranked in enumerate(context.lists):
            kept = ranked.scores >= self.score
            scores, rows = np.where(kept, ranked.scores, -np.inf), np.where(kept, ranked.rows, -1)
            context.lists[n] = replace(ranked, scores=scores, rows=rows)
        return sum(ranked.count for ranked in context.lists)
