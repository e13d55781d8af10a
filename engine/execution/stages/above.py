"""Above: leave out what scores too low."""

from dataclasses import dataclass, replace

import numpy as np

from quiver.engine.execution.context import Context


@dataclass(frozen=True, slots=True)
class Above:
    """Keep the hits that score at least so much; they come first in every list."""

    score: float
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"above {self.score:g}"

    def run(self, context: Context) -> int:
        """Cut every list where its scores fall below."""
        for n, ranked in enumerate(context.lists):
            kept = ranked.scores >= self.score
            scores, rows = np.where(kept, ranked.scores, -np.inf), np.where(kept, ranked.rows, -1)
            context.lists[n] = replace(ranked, scores=scores, rows=rows)
        return sum(ranked.count for ranked in context.lists)
