"""One thing read in several ways. Without torch: workers import it."""

from dataclasses import dataclass
from typing import Any

from quiver.protocols import Reader


@dataclass(frozen=True, slots=True)
class Readers:
    """Reads one thing for each of several encoders."""

    parts: tuple[Reader, ...]

    def __call__(self, source: Any) -> tuple[Any, ...]:
        """Return what each reader gives.

        Raises:
            BadMedia: one of them cannot decode it.
        """
        return tuple(read(source) for read in self.parts)
