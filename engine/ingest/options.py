"""The options of an add, checked before anything is created or changed."""

from dataclasses import dataclass
from typing import Any, TypedDict

from quiver.engine.ingest.decode_workers import checked_count, limits_of
from quiver.engine.ingest.worker_process import Limits
from quiver.errors import BadSpec


class AddOptions(TypedDict, total=False):
    """The options of ``Collection.add`` that say how items are read.

    Attributes:
        workers: processes that decode; by default one per core but one, at most 8. 0 decodes in this process, without
            limits.
        progress: whether to show a progress bar; by default where a terminal is watching.
        max_seconds: longest time to decode one item (s); a slower one is quarantined. 120 by default.
        max_memory: most memory to decode one item, in bytes or as ``8GB``; an item that needs more is quarantined. By
            default 4 GB, or the worker's share of half the machine.
        max_pixels: most pixels of a picture as it is decoded, a JPEG after scaling; 268 million by default.
        sync: whether to list stored items whose files are gone from the folders, tables and tars that are added.
        prune: whether to delete those items too.
    """

    workers: int | None
    progress: bool | None
    max_seconds: float | None
    max_memory: int | str | None
    max_pixels: int | None
    sync: bool
    prune: bool


@dataclass(frozen=True, slots=True)
class Options:
    """Checked options.

    Attributes:
        workers: processes that decode; 0 decodes in the caller's process.
        progress: whether to show a progress bar; None where a terminal is watching.
        limits: limits on the decoding of one item.
        sync: whether to look for stored items whose files are gone.
        prune: whether to delete those.
    """

    workers: int
    progress: bool | None
    limits: Limits
    sync: bool = False
    prune: bool = False

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
        for name in ("sync", "prune"):
            if not isinstance(values.get(name, False), bool):
                raise BadSpec(f"{name} must be True or False, not {values[name]!r}")
        prune = values.get("prune", False)
        return cls(count, values.get("progress"), limits, sync=values.get("sync", False) or prune, prune=prune)
