"""What was measured of a scorer: its cost per row, and how much of the exact answer its ways to recall keep.

A small JSON file in the cache, named by the scorer and the columns it reads, holds the figures; the planner chooses by
them as long as the collection has not outgrown them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from quiver.engine.core.graph import Composition
from quiver.engine.storage import json_store

#: Of the cache, where figures are kept.
FOLDER = "measured"
#: A collection of more than so many times the items has outgrown what was measured: recall at a given depth falls.
GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class RecipeRecall:
    """One way to recall candidates and score them again, as measured.

    Attributes:
        recipe: the scorer's name of the way.
        index: the kind of index asked.
        depth: candidates of each list.
        recall: the share of the k best of an exact scan that it finds, mean over the queries.
        ms: milliseconds per query, recall and scoring together, asked as one batch.
    """

    recipe: str
    index: str
    depth: int
    recall: float
    ms: float


@dataclass(frozen=True, slots=True)
class Measured:
    """How a scorer fared on a collection.

    Attributes:
        version: of the collection.
        items: how many items it held.
        queries: how many were asked.
        k: how deep recall was measured.
        ns: nanoseconds that an exact scan takes per query and row; of a reranker, a pair in its best batch.
        trials: the ways that were tried.
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
        """Say whether it still tells something of a collection of so many items."""
        return items <= GROWTH * self.items


def write(root: Path, composition: Composition, measured: Measured) -> None:
    """Keep figures."""
    json_store.write(place(root, composition), measured)


def read(root: Path, compositions: Sequence[Composition]) -> dict[Composition, Measured]:
    """Return the figures of those scorers that were measured here."""
    found = {each: json_store.read(place(root, each), Measured) for each in compositions}
    return {each: measured for each, measured in found.items() if measured is not None}


def place(root: Path, composition: Composition, kind: str = "") -> Path:
    """Return the file of what was measured of a scorer, or of another kind of figures."""
    digest = hashlib.sha256(f"{composition!r}{kind}".encode()).hexdigest()[:12]
    name = "".join(c if c.isalnum() else "_" for c in composition.name)
    return root / FOLDER / f"{name}-{digest}.json"
