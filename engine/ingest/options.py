"""The options of an add, checked before anything is created or changed."""

from dataclasses import dataclass
from typing import Any, TypedDict

from quiver.engine.ingest.decode_workers import checked_count, limits_of
from quiver.engine.ingest.worker_process import Limits
from quiver.errors import BadSpec


class AddOptions(TypedDict, total=False):
    """The options of ``Collection.add`` that say how items are read; see there."""

    workers: int | None
    progress: bool | None
    max_seconds: float | None
    max_memory: int | str | None
    max_pixels: int | None


@dataclass(frozen=True, slots=True)
class Options:
    """Checked options.

    Attributes:
        workers: processes that decode; 0 decodes in the caller's process.
        progress: whether to show a progress bar; None where a terminal is watching.
        limits: limits on the decoding of one item.
    """

    workers: int
    progress: bool | None
    limits: Limits

    @classmethod
    def of(cls, given: AddOptions) -> "Options":
        """Check options.

        Raises:
            BadSpec: one is unknown, or has a value that it cannot have.
        """
        known = AddOptions.__annotations__
        if unknown := sorted(set(given) - set(known)):
            raise BadSpec(f"add has no option {unknown[0]!r}: it has {', '.join(known)}")
        values: dict[str, Any] = dict(given)
        count = checked_count(values.get("workers"))
        limits = limits_of(
            count,
            seconds=values.get("max_seconds"),
            memory=values.get("max_memory"),
            pixels=values.get("max_pixels"),
        )
        return cls(count, values.get("progress"), limits)
