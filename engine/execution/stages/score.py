"""Score: a scorer ranks everything that may be found."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quiver.engine.execution.context import Run


@dataclass(frozen=True, slots=True)
class Score:
    """Score every row that has what the scorer reads, and keep the best k."""

    scorer: str
    k: int
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"score {self.scorer}"

    def run(self, run: "Run") -> int:
        """Score, and add the list."""
        ranked = run.score(self.k, label=self.label)
        run.lists.append(ranked)
        return ranked.count
