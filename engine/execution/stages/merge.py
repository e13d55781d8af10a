"""Merge: join lists of one space by score; an item found twice keeps its better score."""

from dataclasses import dataclass

import numpy as np

from quiver.engine.core.ranking import Ranked, combine
from quiver.engine.execution.context import Context
from quiver.errors import SpaceMismatch
from quiver.types import Space


@dataclass(frozen=True, slots=True)
class Merge:
    """Join the lists of one space; their scores are comparable."""

    space: Space
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"merge {self.space.name}"

    def run(self, context: Context) -> int:
        """Replace the lists of this space by the merged one."""
        ours = [ranked for ranked in context.lists if ranked.space == self.space]
        if not ours:
            raise SpaceMismatch(f"nothing was recalled in {self.space}")
        scores, rows = combine(np.hstack([r.scores for r in ours]), np.hstack([r.rows for r in ours]), how="max")
        merged = Ranked(self.label, scores, rows, self.space, ours[0].origin)
        context.lists = [ranked for ranked in context.lists if ranked.space != self.space] + [merged]
        context.trail.append(merged)
        return merged.count
