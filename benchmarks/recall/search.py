"""Ask every question of a task, through the engine's own planner and stages.

What differs from a user's search: vectors of questions come from the cache and what scorers hold of them is made
once, items that a question leaves out are dropped from each list before lists are fused or scored again, a question
with candidates is answered from exactly those, and hits are not fetched. A reference competes unless the protocol
leaves it out. Questions are asked in batches and only (q, depth) arrays are kept.

Shapes: q questions, n items of the task.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from quiver.benchmarks.metric.ranking import Ranking
from quiver.benchmarks.recall.prepare import Asked, shape
from quiver.engine.core.ranking import Ranked, Scores
from quiver.engine.execution.context import Context
from quiver.engine.execution.executor import run_stages
from quiver.engine.execution.scorer_batch import Composer
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.encode import Encode
from quiver.engine.execution.stages.filter import Filter
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.rerank import Rerank
from quiver.engine.execution.stages.score import Score
from quiver.engine.execution.stages.words import Words
from quiver.engine.ingest.progress import track
from quiver.engine.storage.dataset import Example
from quiver.protocols import Held
from quiver.task import Question
from quiver.types import Floats, Rows

#: Questions that are searched together.
BATCH = 256


def _compose(stage: Compose, context: Context, held: Held) -> None:
    """Take what the scorer holds of the queries, and make the probes of its recipe."""
    composition = context.composition = stage.composition
    residents = dict(zip(composition.reads, map(context.session.resident, stage.columns), strict=True))
    scorer, count = context.session.scorer(composition), len(context.queries)
    context.composer = Composer(scorer, held, count, residents, stage.label)
    if stage.recipe is not None:
        context.probes = dict(zip(composition.asks(stage.recipe), context.composer.probes(stage.recipe), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a setup found.

    Attributes:
        ranking: places in the task's items, (q, depth).
        ms: milliseconds of search per question, asked in batches.
        before: what a reranker was given, as it would stand without it; None where none ranks.
        pairs: how many candidates of a question a reranker scored, mean over the questions.
    """

    ranking: Ranking
    ms: float
    before: Ranking | None = None
    pairs: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What some questions found: (p, w) scores and row numbers, best first.

    Attributes:
        numbers: the p questions.
        scores: larger is better.
        rows: -1 where there are no more.
        before: what a reranker was given; None where none ranks.
        matched: (p, n) what it says of that, nan where it says nothing.
    """

    numbers: Sequence[int]
    scores: Scores
    rows: Rows
    before: Ranked | None
    matched: Floats | None


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Candidates of p questions before a reranker puts them in order.

    Attributes:
        numbers: the questions.
        scores: (p, n) of recall, best first.
        rows: (p, n) row numbers, -1 where there are no more.
        matched: (p, n) of the reranker, nan where it says nothing.
    """

    numbers: Sequence[int]
    scores: Scores
    rows: Rows
    matched: Floats


def ask(asked: Asked, depth: int, *, progress: bool | None = None) -> Answer:
    """Answer all questions, ``depth`` places each, or more where the setup says so; excluded items take up none."""
    batches = list(_batches(asked))
    spent = 0.0
    found: list[Found] = []
    for members, allow in batches[:1]:  # what is loaded on first use is no part of a search
        _answers(asked, members[:1], depth, allow)

    def run() -> Iterator[int]:
        nonlocal spent
        for members, allow in batches:
            started = perf_counter()
            found.extend(_answers(asked, members, depth, allow))
            spent += perf_counter() - started
            yield len(members)

    for _ in track(run(), total=sum(len(members) for members, _ in batches), show=progress):
        pass
    count = len(asked.task.questions)
    ranking = _ranking(asked, [(each.numbers, each.scores, each.rows) for each in found], depth)
    reranked = [each for each in found if each.before is not None]
    lists = [(each.numbers, each.before or each) for each in found]
    before = _ranking(asked, [(numbers, of.scores, of.rows) for numbers, of in lists], depth) if reranked else None
    pairs = sum(int(np.isfinite(each.matched).sum()) for each in reranked if each.matched is not None)
    return Answer(ranking, spent * 1e3 / max(1, count), before, pairs / max(1, count))


def given(asked: Asked, depth: int, *, progress: bool | None = None) -> list[Given]:
    """Return what a reranker is given, and what it says of it, for the questions that have one."""
    found: list[Found] = []

    def run() -> Iterator[int]:
        for members, allow in _batches(asked):
            found.extend(_answers(asked, members, depth, allow))
            yield len(members)

    for _ in track(run(), total=len(asked.task.questions), show=progress):
        pass
    return [
        Given(each.numbers, each.before.scores, each.before.rows, each.matched)
        for each in found
        if each.before is not None and each.matched is not None
    ]


def _ranking(asked: Asked, parts: Sequence[tuple[Sequence[int], Scores, Rows]], depth: int) -> Ranking:
    """Put the lists of all questions in one table, ``depth`` wide at least, by places in the task's items."""
    shape = (len(asked.task.questions), max([depth, *(rows.shape[1] for _, _, rows in parts)]))
    places, scores = np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float64)
    for numbers, values, rows in parts:
        width = rows.shape[1]
        scores[numbers, :width], places[numbers, :width] = values, asked.stock.place(rows)
    return Ranking(places, scores)


def alone(asked: Asked, depth: int, *, sample: int, seed: int) -> list[float]:
    """Ask some questions one at a time; return the milliseconds of each, planning included."""
    able = [n for n in range(len(asked.task.questions)) if n not in asked.unread]
    chosen = np.random.default_rng(seed).permutation(able)[:sample].tolist()
    taken = []
    for n in chosen:
        allow = _allow(asked, asked.task.questions[n])
        started = perf_counter()
        _answers(asked, [n], depth, allow)
        taken.append((perf_counter() - started) * 1e3)
    return taken


def _batches(asked: Asked) -> Iterator[tuple[list[int], Rows | None]]:
    """Group the questions of one shape and one set of candidates, at most BATCH at a time."""
    groups: dict[Any, list[int]] = {}
    for n, question in enumerate(asked.task.questions):
        if n not in asked.unread:
            sampled = question.candidates is not None
            key = (shape(question), question.candidates, question.exclude if sampled else None)
            groups.setdefault(key, []).append(n)
    for members in groups.values():
        allow = _allow(asked, asked.task.questions[members[0]])
        for at in range(0, len(members), BATCH):
            yield members[at : at + BATCH], allow


def _allow(asked: Asked, question: Question) -> Rows | None:
    """Return the row numbers of a question's candidates, those it leaves out excepted; None where all compete."""
    if question.candidates is None:
        return None
    rows = asked.stock.numbers(set(question.candidates) - set(question.exclude))
    return np.unique(rows[rows >= 0])


def _answers(asked: Asked, members: Sequence[int], depth: int, allow: Rows | None) -> list[Found]:
    """Answer a batch: a part for the questions that one plan serves."""
    return [_answer(asked, part, depth, allow, examples) for part, examples in asked.alike(members)]


def _answer(
    asked: Asked, members: Sequence[int], depth: int, allow: Rows | None, examples: Mapping[str, Example]
) -> Found:
    """Run the plan of questions of one kind."""
    questions = [asked.task.questions[n] for n in members]
    out = [asked.stock.numbers(question.exclude) for question in questions]
    spare = max(map(len, out)) if allow is None else 0
    made = asked.plan(questions[0], depth, examples=examples)
    queries = [asked.query(question, depth) for question in questions]
    context = Context(asked.stock.session, queries, examples)
    context.encoded = {arrow: each.data[members] for arrow, each in asked.vectors.items()}
    context.allow = allow
    before = None
    for stage in made.stages:
        if isinstance(stage, Encode):
            continue
        if isinstance(stage, Compose):
            _compose(stage, context, asked.holdings[stage.composition].of(members))
            continue
        if isinstance(stage, Recall | Words | Score):
            _list(stage, context, out, spare=spare, items=len(asked.stock.at))
            continue
        if isinstance(stage, Rerank):
            (before,) = context.lists
        run_stages([stage], context)
        if isinstance(stage, Filter) and allow is not None and context.allow is not None:
            context.allow = np.intersect1d(context.allow, allow)
    final = context.lists[0]
    matched = None if context.reranked is None else context.reranked.matched.scores
    return Found(members, final.scores, final.rows, before, matched)


def _list(stage: Recall | Words | Score, context: Context, out: Sequence[Rows], *, spare: int, items: int) -> None:
    """Add a list in which nothing stands that a question leaves out, as long as the plan says."""
    if isinstance(stage, Words) and context.allow is not None:
        # Full-text search knows no allow-list: it is asked for everything, and what may not be found dropped.
        replace(stage, k=max(1, items)).run(context)
        ranked = context.lists[-1]
        context.lists[-1] = ranked.without([np.setdiff1d(rows, context.allow) for rows in ranked.rows], stage.k)
        return
    replace(stage, k=stage.k + spare).run(context)
    if spare:
        context.lists[-1] = context.lists[-1].without(out, stage.k)
