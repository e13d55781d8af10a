"""Filter: find the rows that match the condition and ids of the query, before the search."""

from dataclasses import dataclass

from quiver.engine.execution.context import Context


@dataclass(frozen=True, slots=True)
class Filter:
    """Restrict every later recall to the rows that match."""

    where: str | None
    matching: int
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return "filter"

    def run(self, context: Context) -> int:
        """Read the matching row numbers, unless all rows match."""
        if self.matching == context.session.count(None):
            return self.matching
        context.allow = context.session.allowed(context.query)
        return len(context.allow)
