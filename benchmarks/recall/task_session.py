"""A session over the items of a task, for questions whose vectors were made beforehand."""

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

#: What was embedded: a key, in a space.
Arrow = tuple[str, Space]


@dataclass(frozen=True, slots=True)
class TaskQuery(Query):
    """A question as the engine takes it.

    Attributes:
        number: of the question in its task.
    """

    number: int = -1


@dataclass(frozen=True, slots=True, eq=False)
class QuestionCache:
    """The questions of a task, embedded and given to scorers beforehand; a ``QueryCache``.

    Attributes:
        vectors: the embedded questions.
        holdings: what scorers made of the questions.
    """

    vectors: Mapping[Arrow, Embedded]
    holdings: Mapping[Composition, Holding]

    def encoded(self, queries: Sequence[Query], key: str, space: Space) -> Floats:
        """Return one vector of a key of every question, (q, dim)."""
        return self.vectors[key, space].data[_numbers(queries)]

    def held(self, queries: Sequence[Query], composition: Composition) -> Held:
        """Return what ``Scorer.hold`` made of the questions."""
        return self.holdings[composition].of(_numbers(queries))


def _numbers(queries: Sequence[Query]) -> list[int]:
    return [query.number for query in queries if isinstance(query, TaskQuery)]


class TaskSession(Session):
    """A session whose plans do not rest on the cost of earlier searches, so that a benchmark can be repeated.

    Attributes:
        at: row number by id, for all items.
        blends: how much scorers that rerank count.
    """

    def __init__(self, table: Table, *, cache: Cache, at: Mapping[str, int]) -> None:
        super().__init__(table, cache=cache, trusted=True)  # the benchmark made the collection
        self.at = at
        self.blends: Mapping[Composition, Blend] = {}

    def asking(self, cache: QuestionCache, blends: Mapping[Composition, Blend]) -> "TaskSession":
        """Return a session that shares everything in memory, for questions that were embedded beforehand."""
        other = copy(self)
        other.query_cache, other.blends = cache, blends
        return other

    def numbers(self, ids: Iterable[str]) -> Mapping[str, int]:
        """Return the row numbers of items by id; ids that are not stored have none."""
        return {id: self.at[id] for id in ids if id in self.at}

    def facts(self, query: Query, examples: Mapping[str, Example], *, queries: int = 1) -> Facts:
        """Gather the statistics that plans rest on."""
        return replace(super().facts(query, examples, queries=queries), paces={}, blends=self.blends)
