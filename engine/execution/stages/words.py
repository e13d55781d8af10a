"""Words: full-text search (BM25) over the text and metadata of items."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quiver.engine.execution.context import Run


@dataclass(frozen=True, slots=True)
class Words:
    """Search the words of every query in the full-text index."""

    k: int
    target: str | None
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return "words"

    def run(self, run: "Run") -> int:
        """Search, and add the list."""
        ranked = run.search_words(self.k, target=self.target, label=self.label)
        run.lists.append(ranked)
        return ranked.count
