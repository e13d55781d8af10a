"""Fuse: join lists of different spaces by rank, since their scores are not comparable."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quiver.engine.core.ranking import Ranked, combine, reciprocal
from quiver.engine.execution.context import Context

#: Rank constant of reciprocal rank fusion, as Cormack et al. 2009 chose it.
RRF_C = 60


@dataclass(frozen=True, slots=True)
class Fuse:
    """Reciprocal rank fusion: an item scores the sum of weight / (c + rank) over the lists it is in.

    Attributes:
        c: the constant.
        weights: weight of each list, by its label or by its input; 1 by default.
        reason: reason for the stage.
    """

    c: int
    weights: Mapping[str, float]
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return "fuse"

    def run(self, context: Context) -> int:
        """Replace all lists by the fused one."""
        scores = np.hstack([self._weight(ranked) * reciprocal(ranked, self.c) for ranked in context.lists])
        rows = np.hstack([ranked.rows for ranked in context.lists])
        fused = Ranked(self.label, *combine(scores, rows, how="sum"))
        context.lists = [fused]
        context.trail.append(fused)
        return fused.count

    def _weight(self, ranked: Ranked) -> float:
        return self.weights.get(ranked.label, self.weights.get(ranked.origin, 1.0))
