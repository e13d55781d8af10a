"""Cut: keep the best k."""

from dataclasses import dataclass

from quiver.engine.execution.context import Context


@dataclass(frozen=True, slots=True)
class Cut:
    """Shorten every list to k."""

    k: int
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return "cut"

    def run(self, context: Context) -> int:
        """Keep the best k of each list."""
        context.lists = [ranked.cut(self.k) for ranked in context.lists]
        return sum(ranked.count for ranked in context.lists)
