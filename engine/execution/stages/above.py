"""Above: leave out what scores too low."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from quiver.engine.execution.context import Run


@dataclass(frozen=True, slots=True)
class Above:
    """Keep the hits that score at least so much; they come first in every list."""

    score: float
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"above {self.score:g}"

    def run(self, run: "Run") -> int:
        """Cut every list where its scores fall below."""
        for n, ranked in enumerate(run.lists):
            kept = ranked.scores >= self.score
            scores, rows = np.where(kept, ranked.scores, -np.inf), np.where(kept, ranked.rows, -1)
            run.lists[n] = replace(ranked, scores=scores, rows=rows)
        return sum(ranked.count for ranked in run.lists)
