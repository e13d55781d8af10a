"""Recall: the k stored vectors of one column nearest to the query."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quiver.engine.core.graph import Route

if TYPE_CHECKING:
    from quiver.engine.execution.context import Run


@dataclass(frozen=True, slots=True)
class Recall:
    """Search one column along one route.

    Attributes:
        route: where.
        index: the kind of index.
        k: how many hits.
        reason: why so.
        spend: settings of the index that differ from those it was built with.
        depth: how many hits the index is asked for, where that is more; recall was measured at this depth.
        ms: what it is expected to take, None where nothing is known.
        recall: the share of the true hits it is expected to find, None where nothing is known.
    """

    route: Route
    index: str
    k: int
    reason: str
    spend: Mapping[str, int] = field(default_factory=dict)
    depth: int = 0
    ms: float | None = None
    recall: float | None = None

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"recall {self.route}"

    def run(self, run: "Run") -> int:
        """Search, and add the list."""
        ranked = run.search(self.route, self.index, self.k, label=self.label, spend=self.spend, depth=self.depth)
        run.lists.append(ranked)
        return ranked.count
