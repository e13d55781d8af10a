"""Filter: find the rows a condition selects, before anything is searched."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quiver.engine.execution.context import Run


@dataclass(frozen=True, slots=True)
class Filter:
    """Restrict every later recall to the rows that match."""

    where: str
    matching: int
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return "filter"

    def run(self, run: "Run") -> int:
        """Read the row numbers that match, where not all do."""
        if self.matching == run.session.count(None):
            return self.matching
        run.allow = run.matching(self.where)
        return len(run.allow)
