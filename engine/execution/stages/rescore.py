"""Rescore: a scorer ranks the candidates that were recalled."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quiver.engine.execution.context import Run


@dataclass(frozen=True, slots=True)
class Rescore:
    """Score the union of all lists, and keep the best k."""

    scorer: str
    k: int
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"rescore {self.scorer}"

    def run(self, run: "Run") -> int:
        """Score, and replace all lists by one."""
        ranked = run.rescore(self.k, label=self.label)
        run.lists = [ranked]
        return ranked.count
