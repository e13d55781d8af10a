"""Rescore: rank the recalled candidates by a scorer."""

from dataclasses import dataclass

import numpy as np

from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.context import Context


@dataclass(frozen=True, slots=True)
class Rescore:
    """Score the union of all lists, and keep the best k."""

    scorer: str
    k: int
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"rescore {self.scorer}"

    def run(self, context: Context) -> int:
        """Score the candidates, and replace all lists by one."""
        candidates = np.hstack([ranked.rows for ranked in context.lists])
        ranked = Ranked(self.label, *context.scored_by.rescore(candidates, self.k))
        context.lists = [ranked]
        context.trail.append(ranked)
        return ranked.count
