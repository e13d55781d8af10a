"""Search every question of a task with the planner and executor of ``Collection.search``.

It differs from a user's search in four points: question vectors come from a cache, plans ignore the measured cost of
earlier searches, a reference item competes unless the protocol excludes it, and metadata of hits is not read. Questions
are searched in batches, and only (q, depth) arrays are kept.

Shapes: q questions, n items of the task.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from quiver.benchmarks.metric.ranking import Ranking
from quiver.benchmarks.recall.plans import up_to_reranker
from quiver.benchmarks.recall.prepare import PreparedTask
from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.context import Reranked
from quiver.engine.execution.executor import begin, final, run_stages
from quiver.engine.ingest.progress import track
from quiver.engine.serving.answer import query_groups

#: Questions that are searched together.
BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Results of a setup.

    Attributes:
        ranking: places in the task's items, (q, depth).
        ms: milliseconds of search per question, in batches.
        before: the ranking before reranking; None without a reranker.
        pairs: mean number of candidates that a reranker scored per question.
    """

    ranking: Ranking
    ms: float
    before: Ranking | None = None
    pairs: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class BatchRanking:
    """Results of some questions.

    Attributes:
        numbers: (p,) numbers of the questions.
        ranked: (p, w) scores and row numbers, best first.
        reranked: candidates and their reranker scores; None without a reranker.
    """

    numbers: Sequence[int]
    ranked: Ranked
    reranked: Reranked | None


def ask(task: PreparedTask, depth: int, *, progress: bool | None = None) -> Answer:
    """Search all questions, ``depth`` places each, or more if the setup says so; excluded items take up none."""
    batches = task.batches(BATCH)
    spent = 0.0
    found: list[BatchRanking] = []
    for members in batches[:1]:  # warm up: loading on first use is not part of a search
        _answers(task, members[:1], depth)

    def run() -> Iterator[int]:
        nonlocal spent
        for members in batches:
            started = perf_counter()
            found.extend(_answers(task, members, depth))
            spent += perf_counter() - started
            yield len(members)

    for _ in track(run(), total=sum(map(len, batches)), show=progress):
        pass
    count = len(task.questions)
    reranked = {id(each): each.reranked for each in found if each.reranked is not None}
    before = None
    if reranked:
        given = [(each, reranked[id(each)].given if id(each) in reranked else each.ranked) for each in found]
        before = _ranking(task, given, depth)
    pairs = sum(int(np.isfinite(each.matched.scores).sum()) for each in reranked.values())
    ranking = _ranking(task, [(each, each.ranked) for each in found], depth)
    return Answer(ranking, spent * 1e3 / max(1, count), before, pairs / max(1, count))


def candidates(task: PreparedTask, depth: int, *, progress: bool | None = None) -> list[tuple[Sequence[int], Reranked]]:
    """Return the reranker's candidates and their scores by question number, for the questions with a reranker."""
    found: list[BatchRanking] = []

    def run() -> Iterator[int]:
        for members in task.batches(BATCH):
            found.extend(_answers(task, members, depth))
            yield len(members)

    for _ in track(run(), total=len(task.questions), show=progress):
        pass
    return [(each.numbers, each.reranked) for each in found if each.reranked is not None]


def _ranking(task: PreparedTask, lists: Sequence[tuple[BatchRanking, Ranked]], depth: int) -> Ranking:
    """Join the lists of all questions into one ranking, at least ``depth`` wide, of places in the task's items."""
    shape = (len(task.questions), max([depth, *(ranked.rows.shape[1] for _, ranked in lists)]))
    places, scores = np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float64)
    for found, ranked in lists:
        numbers, width = found.numbers, ranked.rows.shape[1]
        scores[numbers, :width], places[numbers, :width] = ranked.scores, task.stock.place(ranked.rows)
    return Ranking(places, scores)


def alone(task: PreparedTask, depth: int, *, sample: int, seed: int) -> list[float]:
    """Search some questions one at a time; return the milliseconds of each, including planning."""
    chosen = np.random.default_rng(seed).permutation(task.able)[:sample].tolist()
    taken = []
    for n in chosen:
        started = perf_counter()
        _answers(task, [n], depth)
        taken.append((perf_counter() - started) * 1e3)
    return taken


def _answers(task: PreparedTask, members: Sequence[int], depth: int) -> list[BatchRanking]:
    """Search a batch; return one part for the questions of each plan."""
    found = []
    for group in query_groups(task.session, [task.query(n, depth) for n in members]):
        context = begin(task.session, group.queries, group.examples)
        run_stages(group.plan.stages if task.look is None else up_to_reranker(group.plan), context)
        ranked = final(context) if task.look is None else context.lists[0]
        found.append(BatchRanking([members[n] for n in group.places], ranked, context.reranked))
    return found
