"""Session over the items of a task, for questions that are embedded already."""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace

from quiver.benchmarks.recall.query_vectors import Embedded
from quiver.benchmarks.recall.scorer_cache import Holding
from quiver.engine.core.graph import Composition
from quiver.engine.execution.session import Session
from quiver.engine.statistics.facts import Facts
from quiver.engine.statistics.rerank_weights import Blend
from quiver.engine.storage.dataset import Example, Table
from quiver.engine.storage.index_files import Cache
from quiver.protocols import Held
from quiver.types import Floats, Query, Space

#: Cache key of embedded questions: query key and space.
Arrow = tuple[str, Space]


@dataclass(frozen=True, slots=True)
class TaskQuery(Query):
    """A question as a query of the engine.

    Attributes:
        number: number of the question in its task.
    """

    number: int = -1


@dataclass(frozen=True, slots=True, eq=False)
class QuestionCache:
    """Embedded questions of a task and their prepared scorer inputs; a ``QueryCache``.

    Attributes:
        vectors: the embedded questions.
        holdings: inputs that scorers prepared from the questions.
    """

    vectors: Mapping[Arrow, Embedded]
    holdings: Mapping[Composition, Holding]

    def encoded(self, queries: Sequence[Query], key: str, space: Space) -> Floats:
        """Return the vectors of one key of the questions, (q, dim)."""
        return self.vectors[key, space].data[_numbers(queries)]

    def held(self, queries: Sequence[Query], composition: Composition) -> Held:
        """Return the results of ``Scorer.hold`` for the questions."""
        return self.holdings[composition].of(_numbers(queries))


def _numbers(queries: Sequence[Query]) -> list[int]:
    return [query.number for query in queries if isinstance(query, TaskQuery)]


class TaskSession(Session):
    """Session whose plans ignore the measured cost of earlier searches, so that a benchmark is reproducible.

    Plans over the user's own collection use what it has learned, as its searches do.

    Attributes:
        row_of: row number by id, for all items.
        own: whether this is the user's own collection; otherwise, the benchmark created it.
        blends: weights of rerankers against recall.
    """

    def __init__(
        self, table: Table, *, cache: Cache, row_of: Mapping[str, int], own: bool = False, trusted: bool = True
    ) -> None:
        super().__init__(table, cache=cache, trusted=trusted)
        self.row_of = row_of
        self.own = own
        self.blends: Mapping[Composition, Blend] = {}

    def asking(self, cache: QuestionCache, blends: Mapping[Composition, Blend]) -> "TaskSession":
        """Return a session with the same caches, for questions that are embedded already."""
        other = copy(self)
        other.query_cache, other.blends = cache, blends
        return other

    def numbers(self, ids: Iterable[str]) -> Mapping[str, int]:
        """Return the row numbers of items by id; ids that are not stored are left out."""
        return {id: self.row_of[id] for id in ids if id in self.row_of}

    def facts(self, query: Query, examples: Mapping[str, Example], *, queries: int = 1) -> Facts:
        """Gather the statistics that the planner uses."""
        facts = super().facts(query, examples, queries=queries)
        return facts if self.own and not self.blends else replace(facts, paces={}, blends=self.blends)
