"""Facts about a collection for the planner, gathered without reading a vector or loading a model."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from quiver.engine.core.graph import Composition, Graph
from quiver.engine.statistics.cost_model import Machine
from quiver.engine.statistics.fusion_weights import Balance
from quiver.engine.statistics.recall_curves import Promise
from quiver.engine.statistics.rerank_weights import Blend
from quiver.engine.statistics.score_thresholds import ScoreThreshold
from quiver.engine.statistics.scorer_latency import Pace
from quiver.engine.statistics.scorer_recall import Measured


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a collection and a query for the planner.

    Attributes:
        graph: spaces and arrows of the collection.
        items: number of rows.
        version: version of the collection.
        matching: number of rows that match the query's condition; None without a condition.
        examples: names of the columns in which every example item of the query has a vector.
        built: built index kinds by column name, besides exact.
        measured: measured recall and cost of scorers on this collection.
        paces: latencies of rerankers on this machine.
        blends: learned weights of rerankers against recall.
        balances: learned fusion weights, by the labels of the fused lists.
        promises: recall targets and curves of indexes, by column name and kind.
        machine: cost model of this machine.
        thresholds: learned score thresholds by kind of query, with their drift; read only if a query asks for one.
        order: metadata column to sort hits by, and whether the largest value comes first; None for no sorting.
        queries: batch size.
        words: whether any item has text for full-text search.
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
    thresholds: Mapping[str, ScoreThreshold] = field(default_factory=dict)
    order: tuple[str, bool] | None = None
    queries: int = 1
    words: bool = True
    words_outdated: bool = False

    @property
    def rows(self) -> int:
        """Number of rows that match."""
        return self.items if self.matching is None else self.matching
