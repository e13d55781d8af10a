"""Rerank: a scorer looks at the best candidates as long as there is time, and recall has its say."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiver.engine.statistics.rerank_weights import Weights

if TYPE_CHECKING:
    from quiver.engine.execution.context import Run


@dataclass(frozen=True, slots=True)
class Rerank:
    """Score the first candidates of the one list there is, best first, and put them in order above the others.

    Attributes:
        scorer: who scores.
        depth: candidates of each query at most.
        budget_ms: milliseconds that a whole answer may take; None for no limit.
        weights: of recall and of the scorer.
        reason: why so deep, and so weighed.
    """

    scorer: str
    depth: int
    budget_ms: float | None
    weights: Weights
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"rerank {self.scorer}"

    def run(self, run: "Run") -> int:
        """Score until time is up, and replace the list."""
        ranked = run.rerank(self)
        run.lists = [ranked]
        return ranked.count
