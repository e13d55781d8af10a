"""Cut: keep the best k."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quiver.engine.execution.context import Run


@dataclass(frozen=True, slots=True)
class Cut:
    """Shorten every list to k."""

    k: int
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return "cut"

    def run(self, run: "Run") -> int:
        """Keep the best k of each list."""
        run.lists = [ranked.cut(self.k) for ranked in run.lists]
        return sum(ranked.count for ranked in run.lists)
