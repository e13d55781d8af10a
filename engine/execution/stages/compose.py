"""Compose: a scorer embeds what the query holds together, once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiver.engine.core.column import Column, Derived
from quiver.engine.core.graph import Composition, Recipe

if TYPE_CHECKING:
    from quiver.engine.execution.context import Run


@dataclass(frozen=True, slots=True)
class Compose:
    """Give every query of the batch to a scorer.

    Attributes:
        composition: the scorer.
        columns: the vectors it reads, in the order of its spaces.
        stands: the key that example items stand for; None where there are none.
        recipe: how candidates will be recalled; None where they are not.
        reason: why.
    """

    composition: Composition
    columns: tuple[Column | Derived, ...]
    stands: str | None
    recipe: Recipe | None
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"compose {self.composition.name}"

    def run(self, run: "Run") -> int:
        """Embed, and make the probes of the recalls that follow."""
        return run.compose(self)
