"""The state of one execution: a batch of queries, and the results of the stages so far."""

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
    """Candidates and their scores from a reranker.

    Attributes:
        given: the recalled candidates, best first.
        matched: scores and terms of the candidates scored within the budget.
    """

    given: Ranked
    matched: Matched


class Context:
    """The state that the stages of one plan read and write. It computes nothing itself.

    All queries of a batch have the same kinds of input and the same settings; only the contents of the inputs differ.

    Attributes:
        session: the collection: its rows, columns, indexes and encoders.
        queries: the batch.
        query: the first query of the batch.
        examples: stored items used as examples by the queries, by id.
        started: start of the latency budget, in seconds of ``perf_counter``.
        left_out: row numbers to leave out, per query; empty if no query leaves any out.
        allow: row numbers that match the filter, sorted; None for all.
        encoded: query vectors, (q, dim) or (q, m, dim), by key and space.
        repelled: sums (q, dim) of the vectors of negative texts and files, by key and space.
        composition: the scorer, if the plan uses one.
        composer: the queries as prepared by the scorer.
        probes: vectors (q, m, dim) of a scorer's recall recipe, by route name.
        lists: the current ranked lists.
        trail: all lists so far, for the traces of hits.
        reranked: candidates with their scores from a reranker.
        folded: number of near-duplicates of each kept hit, by row number, per query; None if none were folded.
        done: the finished stages.
        at_end: callbacks for the end of the answer.
        notes: notes for each query's answer, in addition to those of the plan.
        partial: queries whose plan was not carried out in full.
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
        self.repelled: dict[tuple[str, Space], Floats] = {}
        self.composition: Composition | None = None
        self.composer: Composer | None = None
        self.probes: dict[str, Floats] = {}
        self.lists: list[Ranked] = []
        self.trail: list[Ranked] = []
        self.reranked: Reranked | None = None
        self.folded: list[Mapping[int, int]] | None = None
        self.done: list[Stage] = []
        self.at_end: list[Callable[[], None]] = []
        self.notes: list[list[str]] = [[] for _ in range(len(queries))]
        self.partial: set[int] = set()

    def cut_short(self, n: int, note: str) -> None:
        """Record that a part of the plan was skipped for query n, because its latency budget ended."""
        self.notes[n].append(note)
        self.partial.add(n)

    @property
    def scored_by(self) -> Composer:
        """The queries as prepared by the scorer; only for stages after ``Compose``."""
        assert self.composer is not None, "a plan that scores composes first"
        return self.composer
