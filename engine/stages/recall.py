"""Recall: the k stored vectors of one column nearest to the query."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiver.engine.graph import Route

if TYPE_CHECKING:
    from quiver.engine.run import Run


@dataclass(frozen=True, slots=True)
class Recall:
    """Search one column along one route."""

    route: Route
    index: str
    k: int
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"recall {self.route}"

    def run(self, run: "Run") -> int:
        """Search, and add the list."""
        ranked = run.search(self.route, self.index, self.k, label=self.label)
        run.lists.append(ranked)
        return ranked.count
