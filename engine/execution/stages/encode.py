"""Encode: turn what the query holds into vectors of a space."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiver.types import Space

if TYPE_CHECKING:
    from quiver.engine.execution.context import Run


@dataclass(frozen=True, slots=True)
class Encode:
    """Embed one key of every query of the batch."""

    held: str
    space: Space
    encoder: str
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"encode {self.held} into {self.space.name}"

    def run(self, run: "Run") -> int:
        """Embed, and keep the vectors for the recalls that start here."""
        return run.embed(self.held, self.space, self.encoder)
