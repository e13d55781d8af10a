"""Score: rank all matching rows by a scorer."""

from dataclasses import dataclass

from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.context import Context
from quiver.engine.execution.left_out import record, spare


@dataclass(frozen=True, slots=True)
class Score:
    """Score every row that has the vectors read by the scorer, and keep the best k."""

    scorer: str
    k: int
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"score {self.scorer}"

    def run(self, context: Context) -> int:
        """Score the rows, and add the list."""
        found = context.scored_by.score(self.k + spare(context), context.allow)
        ranked = record(context, Ranked(self.label, *found), self.k)
        context.lists.append(ranked)
        return ranked.count
