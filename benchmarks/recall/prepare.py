"""How a task is asked of a stock: which questions can be asked, by what plan, and what of them is made beforehand.

Shapes: q questions of the task.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quiver.benchmarks.recall import plans
from quiver.benchmarks.recall.query_vectors import Embedded, embedded
from quiver.benchmarks.recall.scorer_cache import Holding, Key, Part, hold
from quiver.benchmarks.recall.setup import ROUTES, Setup
from quiver.benchmarks.recall.task_store import Stock
from quiver.engine.core.graph import Composition
from quiver.engine.execution.plan import Plan
from quiver.engine.execution.session import held as columns_held
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.encode import Encode
from quiver.engine.statistics.rerank_weights import Blend
from quiver.engine.storage.dataset import Example
from quiver.errors import BadSpec, NoRoute
from quiver.task import Question, Task
from quiver.types import LIKE, Query, Space, keys_of

#: What was embedded: a key, in a space.
Arrow = tuple[str, Space]
#: What kind of question it is.
Shape = tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """How a task is asked of a stock; ``prepare`` makes one.

    Attributes:
        task: the questions.
        stock: the items.
        setup: how to search.
        held: the keys that lead to the target, by the shape of a question.
        vectors: the embedded questions, for every arrow the plans start with.
        holdings: what scorers hold of the questions.
        unread: why a question cannot be asked, by its number: it is answered by an empty list.
        notes: what is left aside, and what the planner says.
        look: where a reranker ranks, list what it is given and not what it makes of it.
        blend: how much a reranker counts against recall; None for alone.
    """

    task: Task
    stock: Stock
    setup: Setup
    held: Mapping[Shape, tuple[str, ...]]
    vectors: Mapping[Arrow, Embedded] = field(default_factory=dict)
    holdings: Mapping[Composition, Holding] = field(default_factory=dict)
    unread: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    look: plans.Look | None = None
    blend: Blend | None = None

    def query(self, question: Question, k: int) -> Query:
        """Return the question as the engine takes it."""
        held, asked, setup = self.held[shape(question)], question.query, self._setup(question)
        return replace(
            asked,
            media={name: value for name, value in asked.media.items() if _key(name) in held},
            target=self.task.target,
            k=k,
            spaces=setup.spaces or asked.spaces,
            index=None if setup.kind == "auto" else setup.kind,
            weights={
                key: weight
                for key, weight in (setup.weights or tuple(asked.weights.items()))
                if key in held or (key == LIKE and asked.like)
            },
            scorer=setup.scorer or asked.scorer,
            budget_ms=setup.budget_ms,
        )

    def plan(self, question: Question, k: int, *, examples: Mapping[str, Example] | None = None) -> Plan:
        """Return the engine's plan for a question, reading its example items unless they are given.

        Raises:
            NoRoute: nothing that is held leads to the target, or the scorer has no such way to recall.
        """
        query = _blind(self.query(question, k))
        known = self.examples([question]) if examples is None else examples
        facts = self.stock.session.facts(query, known)
        made = plans.planned(query, facts, self._setup(question), wordy=self.stock.wordy, blend=self.blend)
        if self.look is None or not plans.reranks(made):
            return made
        return plans.candidates(made, self.look)

    def scored(self, question: Question) -> bool:
        """Say whether a scorer composes what a question holds.

        Raises:
            BadSpec: the setup names a scorer that is not here, or that cannot answer this.
        """
        query = _blind(self.query(question, 1))
        facts = self.stock.session.facts(query, self.examples([question]))
        return plans.scorer_of(query, facts, self._setup(question)) is not None

    def examples(self, questions: Iterable[Question]) -> dict[str, Example]:
        """Read the stored items that questions take as examples, by id."""
        ids = sorted({id for question in questions for id in question.query.like})
        return self.stock.session.table.examples(ids) if ids else {}

    def alike(self, numbers: Sequence[int]) -> list[tuple[list[int], dict[str, Example]]]:
        """Part questions of one shape by where their example items have vectors: one plan serves each part."""
        examples = self.examples(self.task.questions[n] for n in numbers)
        parts: dict[frozenset[str], list[int]] = {}
        for n in numbers:
            parts.setdefault(columns_held(self.task.questions[n].query, examples), []).append(n)
        return [(part, examples) for part in parts.values()]

    @property
    def ms(self) -> float | None:
        """Milliseconds of reading and embedding one question; None where nothing had to be."""
        spent = [each.ms for each in self.vectors.values()] + [each.ms for each in self.holdings.values()]
        return sum(spent) if spent else None

    def _setup(self, question: Question) -> Setup:
        if question.candidates is None:
            return self.setup
        # Few compete, so they are compared exactly; a reranker still sees the first of them only, as recall puts them.
        return replace(self.setup, index="exact") if self.setup.recall == ROUTES else self.setup.exactly()


def prepare(
    task: Task,
    stock: Stock,
    setup: Setup,
    *,
    folder: Path,
    kept: MutableMapping[Key, Holding] | None = None,
    blend: Blend | None = None,
    progress: bool | None = None,
) -> Asked:
    """See which questions can be asked, embed them, and give them to the scorers that compose them.

    Args:
        task: the questions.
        stock: the items.
        setup: how to search.
        folder: where vectors are kept.
        kept: what scorers hold of this stock's questions so far; grows.
        blend: how much a reranker counts against recall; None for alone.
        progress: whether to show progress bars; None where a terminal is watching.

    Raises:
        NoRoute: no question holds anything that leads to what is wanted, or the setup names a space, a scorer or a
            recall that is not here.
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
            held[kind] = _routed(task, stock, setup, task.questions[members[0]])
        except (NoRoute, BadSpec) as error:
            unread |= dict.fromkeys(members, str(error))
    if not held:
        raise NoRoute(next(iter(unread.values()), f"{task.name} asks nothing"))
    asked = Asked(task, stock, setup, held, unread=unread, blend=blend)
    # What a plan of one hit embeds is enough for those of more: for them a scorer at most scans what it would recall.
    made_plans = {kind: asked.plan(task.questions[kinds[kind][0]], 1) for kind in held}
    if setup.recall and not any(isinstance(stage, Compose) for made in made_plans.values() for stage in made.stages):
        raise NoRoute(f"plan: recall={setup.recall} is for a scorer, and none here composes what the questions hold")
    starts = {arrow: spec for made in made_plans.values() for arrow, spec in _arrows(made).items()}
    vectors = {arrow: embedded(task, *arrow, spec, folder=folder, progress=progress) for arrow, spec in starts.items()}
    holdings = _holdings(asked, [kinds[kind] for kind in held], {} if kept is None else kept, progress)
    asked = replace(asked, vectors=vectors, holdings=holdings)
    return replace(asked, unread=_bad(asked), notes=_notes(asked, made_plans, kinds))


def shape(question: Question) -> Shape:
    """Say what kind of question it is: those of one kind are planned and searched together."""
    query = question.query
    sampled, weights = question.candidates is not None, tuple(sorted(query.weights.items()))
    held = (keys_of(query.media), bool(query.like), tuple(sorted(query.vectors)), weights)
    return held, query.where, query.spaces, query.scorer, sampled


def _key(name: str) -> str:
    return "pair" if name in ("before", "after") else name


def _blind(query: Query) -> Query:
    """Return the query as the planner sees it: what is held, without its path.

    By the path the engine would leave a reference out of the answer by itself; here the protocol says whether it is.
    """
    return replace(query, media={name: value if name == "text" else b"" for name, value in query.media.items()})


def _routed(task: Task, stock: Stock, setup: Setup, question: Question) -> tuple[str, ...]:
    """Return the keys of a question that lead to the target: by a scorer, by vectors, or by words of the items."""
    graph, query = stock.session.graph, question.query
    held = [key for key in keys_of(query.media) if not setup.held or key in setup.held]
    if not held and not query.like and not query.vectors:
        raise NoRoute(f"plan: the questions hold {', '.join(keys_of(query.media))}, not {', '.join(setup.held)}")
    if Asked(task, stock, setup, {shape(question): tuple(held)}).scored(question):
        return tuple(held)
    spaces = setup.spaces or query.spaces
    routes = {key: graph.routes(key, target=task.target) for key in held}
    led = {key for key in held if any(not spaces or r.column.space.name in spaces for r in routes[key])}
    if stock.wordy and "text" in held:
        led.add("text")
    if not led and not query.like and not query.vectors:
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


def _holdings(
    asked: Asked, shapes: Sequence[Sequence[int]], kept: MutableMapping[Key, Holding], progress: bool | None
) -> dict[Composition, Holding]:
    """Give questions to the scorers that compose them, or take what was made of the same before."""
    questions, setup = asked.task.questions, asked.setup
    stages: dict[Composition, list[tuple[Sequence[int], Compose, Mapping[str, Example]]]] = {}
    for numbers, examples in (each for shape in shapes for each in asked.alike(shape)):
        made = asked.plan(questions[numbers[0]], 1, examples=examples)
        for stage in (each for each in made.stages if isinstance(each, Compose)):
            stages.setdefault(stage.composition, []).append((numbers, stage, examples))
    found = {}
    for composition, theirs in stages.items():
        key = (composition, setup.weights, setup.held, tuple(n for numbers, *_ in theirs for n in numbers))
        if key not in kept:
            parts = [
                Part(numbers, [asked.query(questions[n], 1) for n in numbers], stage, examples)
                for numbers, stage, examples in theirs
            ]
            kept[key] = hold(asked.stock.session, parts, count=len(questions), progress=progress)
        found[composition] = kept[key]
    return found


def _bad(asked: Asked) -> dict[int, str]:
    """Say which questions cannot be asked, those that could not be embedded or held included."""
    unread = dict(asked.unread)
    for (key, _), each in asked.vectors.items():
        for n, reason in each.bad.items():
            if key in asked.held.get(shape(asked.task.questions[n]), ()):
                unread[n] = reason
    for holding in asked.holdings.values():
        unread |= holding.bad
    return unread


def _notes(asked: Asked, made_plans: Mapping[Shape, Plan], kinds: Mapping[Shape, Sequence[int]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_said(asked, made_plans, kinds)))


def _said(asked: Asked, made_plans: Mapping[Shape, Plan], kinds: Mapping[Shape, Sequence[int]]) -> Iterator[str]:
    """Say what is left aside, what the planner says, and what a scorer does."""
    for kind, made in made_plans.items():
        question = asked.task.questions[kinds[kind][0]]
        for key in keys_of(question.query.media):
            if key not in asked.held[kind]:
                chosen = asked.setup.held and key not in asked.setup.held
                why = "left out by the plan" if chosen else "no route leads from it to the target"
                yield f"{key} of {len(kinds[kind]):,} questions is not used: {why}"
        yield from made.notes
        if scores := plans.summary(made):
            yield scores
        if asked.blend is not None and plans.reranks(made):
            yield str(asked.blend)
        if question.candidates is not None:
            yield "questions with candidates are answered from those alone, exactly, whatever the index"
