"""The state of one execution: a batch of queries, and everything that the stages of its plan have found so far."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from quiver.engine.core.graph import Composition
from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.plan import Stage
from quiver.engine.execution.query_batch import Batch, one_of
from quiver.engine.execution.scorer_batch import Composer
from quiver.engine.execution.session import Session
from quiver.engine.execution.timed_rerank import Matched
from quiver.engine.storage.dataset import Example
from quiver.types import Floats, Query, Rows, Space


@dataclass(frozen=True, slots=True, eq=False)
class Reranked:
    """Candidates that a scorer ranked again.

    Attributes:
        given: the candidates as they were recalled, best first.
        matched: the scores and terms of those that were scored in time.
    """

    given: Ranked
    matched: Matched


class Context:
    """What the stages of one plan read and write. Every stage documents its own part; nothing is computed here.

    All queries of a batch hold the same kinds of input and ask for the same; only their contents differ.

    Attributes:
        session: the collection: its rows, columns, indexes and encoders.
        queries: the batch.
        query: the first of it.
        examples: the stored items that the queries take as examples, by id.
        started: when the time budget began, as ``perf_counter`` counts.
        left_out: row numbers that the lists of each query leave out; empty where none does.
        allow: row numbers that may be found, sorted; None for all.
        encoded: vectors of the queries, (q, dim) or (q, m, dim), by key and space.
        composition: the scorer, where one ranks.
        composer: the queries as the scorer holds them.
        probes: vectors (q, m, dim) of a scorer's recall recipe, by the name that routes have for each.
        lists: the ranked lists in play.
        trail: every list that was ever in play, for the traces of hits.
        reranked: candidates and what a reranker says of them.
        done: the stages that have run.
        at_end: called when the answer is complete.
        notes: what each query's answer has to say, beside the notes of the plan.
        partial: the queries whose plan was not carried out in full.
    """

    def __init__(
        self,
        session: Session,
        queries: Sequence[Query],
        examples: Mapping[str, Example],
        *,
        left_out: Sequence[Rows] = (),
        started: float | None = None,
    ) -> None:
        self.session = session
        self.queries = queries if isinstance(queries, Batch) else tuple(queries)
        self.query = one_of(queries)
        self.examples = examples
        self.started = perf_counter() if started is None else started
        self.left_out = left_out
        self.allow: Rows | None = None
        self.encoded: dict[tuple[str, Space], Floats] = {}
        self.composition: Composition | None = None
        self.composer: Composer | None = None
        self.probes: dict[str, Floats] = {}
        self.lists: list[Ranked] = []
        self.trail: list[Ranked] = []
        self.reranked: Reranked | None = None
        self.done: list[Stage] = []
        self.at_end: list[Callable[[], None]] = []
        self.notes: list[list[str]] = [[] for _ in range(len(queries))]
        self.partial: set[int] = set()

    def cut_short(self, n: int, note: str) -> None:
        """Say that a part of the plan was left out for query n, for want of time."""
        self.notes[n].append(note)
        self.partial.add(n)

    @property
    def scored_by(self) -> Composer:
        """The queries as the scorer holds them; only for stages that come after ``Compose``."""
        assert self.composer is not None, "a plan that scores composes first"
        return self.composer
