"""Old versions: they cost disk until they are pruned."""

import math
from dataclasses import dataclass
from datetime import timedelta

import lance

from quiver.engine.storage.dataset import Table
from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning removed.

    Attributes:
        versions: number of versions.
        bytes: disk space.
    """

    versions: int
    bytes: int


def prune(table: Table, *, days: float) -> Pruned:
    """Remove versions that are older than some days, and the files that only they use. The newest version stays.

    Files that a killed writer left behind are removed once they are seven days old: younger ones may belong to a
    writer that is at work.

    Raises:
        BadSpec: days is not a number of at least 0.
    """
    if not isinstance(days, int | float) or not 0 <= days < math.inf:
        raise BadSpec(f"prune takes a number of days, 0 or more, not {days!r}")

    def change(dataset: lance.LanceDataset) -> Pruned:
        done = dataset.cleanup_old_versions(older_than=timedelta(days=days), error_if_tagged_old_versions=False)
        return Pruned(int(done.old_versions), int(done.bytes_removed))

    pruned: Pruned = table.commit(change)
    return pruned
