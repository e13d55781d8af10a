"""Measurements of a scorer: its cost per row, and the recall of its recall recipes against a full scan.

A small JSON file in the cache, named by the scorer and the columns it reads, stores the figures. The planner uses
them until the collection has outgrown them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from quiver.engine.core.graph import Composition
from quiver.engine.storage import json_store

#: Folder of the figures in the cache.
FOLDER = "measured"
#: Growth of a collection above which figures are stale: recall at a given depth falls as items are added.
GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class RecipeRecall:
    """Measured recall and time of one recall recipe with rescoring.

    Attributes:
        recipe: name of the recall recipe.
        index: kind of index searched.
        depth: candidates per list.
        recall: mean recall of the k best of a full scan.
        ms: milliseconds per query in one batch, recall and scoring together.
    """

    recipe: str
    index: str
    depth: int
    recall: float
    ms: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of a scorer on a collection.

    Attributes:
        version: version of the collection.
        items: number of items at that version.
        queries: number of queries.
        k: depth of the measured recall.
        ns: nanoseconds of a full scan per query and row; for a reranker, per pair at its best batch size.
        trials: measured recall recipes.
    """

    version: int
    items: int
    queries: int
    k: int
    ns: float
    trials: tuple[RecipeRecall, ...]

    def __str__(self) -> str:
        return f"measured at version {self.version} on {self.queries:,} queries of {self.items:,} items"

    def holds(self, items: int) -> bool:
        """Whether the figures still apply to a collection of this many items."""
        return items <= GROWTH * self.items


def write(root: Path, composition: Composition, measured: Measured) -> None:
    """Store measurements."""
    json_store.write(place(root, composition), measured)


def read(root: Path, compositions: Sequence[Composition]) -> dict[Composition, Measured]:
    """Return the stored measurements, by scorer."""
    found = {each: json_store.read(place(root, each), Measured) for each in compositions}
    return {each: measured for each, measured in found.items() if measured is not None}


def place(root: Path, composition: Composition, kind: str = "") -> Path:
    """Return the file for the measurements of a scorer, or for another kind of figures."""
    digest = hashlib.sha256(f"{composition!r}{kind}".encode()).hexdigest()[:12]
    name = "".join(c if c.isalnum() else "_" for c in composition.name)
    return root / FOLDER / f"{name}-{digest}.json"
