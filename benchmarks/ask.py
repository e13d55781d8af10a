"""Ask every question of a task, through the engine's own planner and stages.

What differs from a user's search: vectors of questions come from the cache, items that a question leaves out are
dropped from each list before lists are fused, a question with candidates is answered from exactly those, and hits
are not fetched. Questions are asked in batches and only (q, depth) arrays are kept.

Shapes: q questions, n items of the task.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from quiver.benchmarks.grid import Setup
from quiver.benchmarks.metric.ranking import Ranking
from quiver.benchmarks.query import Embedded, embedded
from quiver.benchmarks.store import Stock
from quiver.engine.library import held as columns_held
from quiver.engine.plan import Plan
from quiver.engine.planner import plan
from quiver.engine.progress import track
from quiver.engine.run import Run
from quiver.engine.stages.encode import Encode
from quiver.engine.stages.filter import Filter
from quiver.engine.stages.recall import Recall
from quiver.engine.stages.words import Words
from quiver.engine.table import Example
from quiver.errors import NoRoute
from quiver.task import Question, Task
from quiver.types import Floats, Query, Rows, Space, keys_of

#: Questions that are searched together.
BATCH = 256
#: What was embedded: a key, in a space.
Arrow = tuple[str, Space]
#: What kind of question it is.
Shape = tuple[Any, ...]


class Prepared(Run):
    """A run whose queries were embedded beforehand."""

    def __init__(
        self,
        stock: Stock,
        queries: Sequence[Query],
        *,
        examples: Mapping[str, Example],
        vectors: Mapping[Arrow, Floats],
    ) -> None:
        super().__init__(stock.library, queries, examples)
        self._encoded = dict(vectors)

    def embed(self, held: str, space: Space, spec: str) -> int:
        """Do nothing: the vectors are here."""
        return len(self._encoded[held, space])


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """How a task is asked of a stock; ``prepare`` makes one.

    Attributes:
        task: the questions.
        stock: the items.
        setup: how to search.
        held: the keys that lead to the target, by the shape of a question.
        vectors: the embedded questions, for every arrow the plans start with.
        unread: why a question cannot be asked, by its number: it is answered by an empty list.
        notes: what is left aside, and what the planner says.
    """

    task: Task
    stock: Stock
    setup: Setup
    held: Mapping[Shape, tuple[str, ...]]
    vectors: Mapping[Arrow, Embedded] = field(default_factory=dict)
    unread: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def query(self, question: Question, k: int) -> Query:
        """Return the question as the engine takes it."""
        held = self.held[shape(question)]
        media = {name: value for name, value in question.query.media.items() if _key(name) in held}
        kind = None if self.setup.kind == "auto" else self.setup.kind
        index = kind if question.candidates is None else "exact"
        spaces = self.setup.spaces or question.query.spaces
        return replace(question.query, media=media, target=self.task.target, k=k, spaces=spaces, index=index)

    def plan(self, question: Question, k: int, *, examples: Mapping[str, Example] | None = None) -> Plan:
        """Return the engine's plan for a question, reading its example items unless they are given."""
        query = self.query(question, k)
        known = self.examples([question]) if examples is None else examples
        return plan(query, self.stock.library.facts(query, known))

    def examples(self, questions: Iterable[Question]) -> dict[str, Example]:
        """Read the stored items that questions take as examples, by id."""
        ids = sorted({id for question in questions for id in question.query.like})
        return self.stock.library.table.examples(ids) if ids else {}

    @property
    def ms(self) -> float:
        """Milliseconds of reading and embedding one question."""
        return sum(each.ms for each in self.vectors.values())


def prepare(task: Task, stock: Stock, setup: Setup, *, folder: Path, progress: bool | None = None) -> Asked:
    """See which questions can be asked, and embed them.

    Raises:
        NoRoute: no question holds anything that leads to what is wanted, or the setup names a space that is not here.
    """
    known = {column.space.name for column in stock.columns}
    if unknown := sorted(set(setup.spaces) - known):
        raise NoRoute(f"plan: no space is called {unknown[0]!r} here; there are {', '.join(sorted(known))}")
    unread = _absent(task, stock)
    kinds: dict[Shape, list[int]] = {}
    for n, question in enumerate(task.questions):
        if n not in unread:
            kinds.setdefault(shape(question), []).append(n)
    held: dict[Shape, tuple[str, ...]] = {}
    for kind, members in kinds.items():
        try:
            held[kind] = _routed(task, stock, setup, task.questions[members[0]].query)
        except NoRoute as error:
            unread |= dict.fromkeys(members, str(error))
    if not held:
        raise NoRoute(next(iter(unread.values()), f"{task.name} asks nothing"))
    asked = Asked(task, stock, setup, held, unread=unread)
    first = {kind: task.questions[kinds[kind][0]] for kind in held}
    starts = {arrow: spec for question in first.values() for arrow, spec in _arrows(asked.plan(question, 1)).items()}
    vectors = {arrow: embedded(task, *arrow, spec, folder=folder, progress=progress) for arrow, spec in starts.items()}
    return replace(asked, vectors=vectors, unread=_bad(asked, vectors), notes=_notes(asked, first, kinds))


def shape(question: Question) -> Shape:
    """Say what kind of question it is: those of one kind are planned and searched together."""
    query = question.query
    sampled = question.candidates is not None
    return keys_of(query.media), bool(query.like), tuple(sorted(query.vectors)), query.where, query.spaces, sampled


def _key(name: str) -> str:
    return "pair" if name in ("before", "after") else name


def _routed(task: Task, stock: Stock, setup: Setup, query: Query) -> tuple[str, ...]:
    """Return the keys of a query that lead to the target: by vectors, or by words where items have text."""
    graph, spaces = stock.library.graph, setup.spaces or query.spaces
    held = [key for key in keys_of(query.media) if not setup.held or key in setup.held]
    routes = {key: graph.routes(key, target=task.target) for key in held}
    led = {key for key in held if any(not spaces or r.column.space.name in spaces for r in routes[key])}
    if stock.wordy and "text" in held:
        led.add("text")
    if not led and not query.like and not query.vectors:
        if not held:
            raise NoRoute(f"plan: the questions hold {', '.join(keys_of(query.media))}, not {', '.join(setup.held)}")
        raise NoRoute(graph.missing(held[0], target=task.target))
    return tuple(key for key in held if key in led)


def _arrows(made: Plan) -> dict[Arrow, str]:
    return {(stage.held, stage.space): stage.encoder for stage in made.stages if isinstance(stage, Encode)}


def _absent(task: Task, stock: Stock) -> dict[int, str]:
    """Say which questions name an example item that is missing, by their number."""
    absent: dict[int, str] = {}
    for n, question in enumerate(task.questions):
        if gone := [id for id in question.query.like if id not in stock.at]:
            absent[n] = f"its example {gone[0]} is missing: {stock.reasons.get(gone[0], 'there is no such item')}"
    return absent


def _bad(asked: Asked, vectors: Mapping[Arrow, Embedded]) -> dict[int, str]:
    """Say which questions cannot be asked, those that could not be embedded included."""
    unread = dict(asked.unread)
    for (key, _), each in vectors.items():
        for n, reason in each.bad.items():
            if key in asked.held.get(shape(asked.task.questions[n]), ()):
                unread[n] = reason
    return unread


def _notes(asked: Asked, first: Mapping[Shape, Question], kinds: Mapping[Shape, Sequence[int]]) -> tuple[str, ...]:
    notes: dict[str, None] = {}
    for kind, question in first.items():
        for key in keys_of(question.query.media):
            if key not in asked.held[kind]:
                chosen = asked.setup.held and key not in asked.setup.held
                why = "left out by the plan" if chosen else "no route leads from it to the target"
                notes[f"{key} of {len(kinds[kind]):,} questions is not used: {why}"] = None
        notes |= dict.fromkeys(asked.plan(question, 1).notes)
        if question.candidates is not None:
            notes["questions with candidates are answered from those alone, exactly, whatever the index"] = None
    return tuple(notes)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a setup found.

    Attributes:
        ranking: places in the task's items, (q, depth).
        ms: milliseconds of search per question, asked in batches.
    """

    ranking: Ranking
    ms: float


def ask(asked: Asked, depth: int, *, progress: bool | None = None) -> Answer:
    """Answer all questions, ``depth`` places each; excluded items do not take up places."""
    rows = np.full((len(asked.task.questions), depth), -1, np.int64)
    scores = np.full(rows.shape, -np.inf, np.float64)
    batches = list(_batches(asked))
    spent = 0.0
    for members, allow in batches[:1]:  # what is loaded on first use is no part of a search
        _answers(asked, members[:1], depth, allow)

    def run() -> Iterator[int]:
        nonlocal spent
        for members, allow in batches:
            started = perf_counter()
            parts = _answers(asked, members, depth, allow)
            spent += perf_counter() - started
            for part, found, places in parts:
                width = min(depth, found.shape[1])
                scores[part, :width], rows[part, :width] = found[:, :width], places[:, :width]
            yield len(members)

    for _ in track(run(), total=sum(len(members) for members, _ in batches), show=progress):
        pass
    return Answer(Ranking(rows, scores), spent * 1e3 / max(1, len(rows)))


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


def _answers(
    asked: Asked, members: Sequence[int], depth: int, allow: Rows | None
) -> list[tuple[list[int], Floats, Rows]]:
    """Answer a batch: (q, w) scores and places, best first, for the questions that one plan serves."""
    examples = asked.examples(asked.task.questions[n] for n in members)
    kinds: dict[frozenset[str], list[int]] = {}
    for n in members:
        kinds.setdefault(columns_held(asked.task.questions[n].query, examples), []).append(n)
    return [(part, *_answer(asked, part, depth, allow, examples)) for part in kinds.values()]


def _answer(
    asked: Asked, members: Sequence[int], depth: int, allow: Rows | None, examples: Mapping[str, Example]
) -> tuple[Floats, Rows]:
    """Run the plan of questions of one kind: (q, w) scores and places, best first."""
    questions = [asked.task.questions[n] for n in members]
    out = [asked.stock.numbers(question.exclude) for question in questions]
    spare = max(map(len, out)) if allow is None else 0
    stages = asked.plan(questions[0], depth, examples=examples).stages
    queries = [asked.query(question, depth) for question in questions]
    vectors = {arrow: each.data[members] for arrow, each in asked.vectors.items()}
    run = Prepared(asked.stock, queries, examples=examples, vectors=vectors)
    run.allow = allow
    for stage in stages:
        if isinstance(stage, Recall | Words):
            _recall(stage, run, out, spare=spare, items=len(asked.stock.at))
        else:
            stage.run(run)
            if isinstance(stage, Filter) and allow is not None and run.allow is not None:
                run.allow = np.intersect1d(run.allow, allow)
    final = run.lists[0]
    return final.scores, asked.stock.place(final.rows)


def _recall(stage: Recall | Words, run: Run, out: Sequence[Rows], *, spare: int, items: int) -> None:
    """Add a list in which nothing stands that a question leaves out, as long as the plan says."""
    if isinstance(stage, Words) and run.allow is not None:
        # Full-text search knows no allow-list: it is asked for everything, and what may not be found dropped.
        replace(stage, k=max(1, items)).run(run)
        ranked = run.lists[-1]
        run.lists[-1] = ranked.without([np.setdiff1d(rows, run.allow) for rows in ranked.rows], stage.k)
        return
    replace(stage, k=stage.k + spare).run(run)
    if spare:
        run.lists[-1] = run.lists[-1].without(out, stage.k)
