"""What the planner knows of a collection, gathered without reading a vector or loading a model."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from quiver.engine.core.graph import Composition, Graph
from quiver.engine.statistics.cost_model import Machine
from quiver.engine.statistics.fusion_weights import Balance
from quiver.engine.statistics.recall_curves import Promise
from quiver.engine.statistics.rerank_weights import Blend
from quiver.engine.statistics.scorer_latency import Pace
from quiver.engine.statistics.scorer_recall import Measured


@dataclass(frozen=True, slots=True)
class Facts:
    """What the planner knows.

    Attributes:
        graph: its spaces and arrows.
        items: how many rows.
        version: of the collection.
        matching: rows the query's condition selects, None without a condition.
        examples: names of the columns in which every example item of the query has a vector.
        built: names of the index kinds that exist for each column name, besides exact.
        measured: how scorers fared on this collection, for those that were tried.
        paces: how long scorers take on this machine, for those that only rerank.
        blends: how much scorers count against recall, for those of which that was learnt.
        balances: how much lists count when they are fused, by their labels, where that was learnt.
        promises: what recall indexes keep, by column name and kind.
        machine: what searching takes here.
        queries: how many are asked at once.
        words: whether any item has words that full-text search can find.
        words_outdated: whether the full-text index was made by a Quiver that split text at spaces only.
    """

    graph: Graph
    items: int
    version: int
    matching: int | None = None
    examples: Collection[str] = ()
    built: Mapping[str, Sequence[str]] = field(default_factory=dict)
    measured: Mapping[Composition, Measured] = field(default_factory=dict)
    paces: Mapping[Composition, Pace] = field(default_factory=dict)
    blends: Mapping[Composition, Blend] = field(default_factory=dict)
    balances: Mapping[frozenset[str], Balance] = field(default_factory=dict)
    promises: Mapping[str, Mapping[str, Promise]] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)
    queries: int = 1
    words: bool = True
    words_outdated: bool = False

    @property
    def rows(self) -> int:
        """How many rows may be found."""
        return self.items if self.matching is None else self.matching
