"""How a task is asked of a stock: which questions can be asked, as what queries, and what of them is made beforehand.

Shapes: q questions of the task.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from quiver.benchmarks.recall import plans
from quiver.benchmarks.recall.query_vectors import Embedded, embedded
from quiver.benchmarks.recall.scorer_cache import Holding, Key, QuestionBatch, hold
from quiver.benchmarks.recall.setup import ROUTES, Setup
from quiver.benchmarks.recall.task_session import Arrow, QuestionCache, TaskQuery, TaskSession
from quiver.benchmarks.recall.task_store import Stock
from quiver.engine.core.graph import Composition
from quiver.engine.execution.plan import Plan
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.encode import Encode
from quiver.engine.planning import scorer_choice
from quiver.engine.planning.builder import PlanBuilder
from quiver.engine.serving.answer import explain, query_groups
from quiver.engine.statistics.rerank_weights import Blend
from quiver.errors import BadSpec, NoRoute
from quiver.task import Question, Task
from quiver.types import LIKE, Query, keys_of

#: What kind of question it is.
Shape = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """A look at the candidates of a reranker, before it ranks them.

    Attributes:
        depth: how many of each list.
        exact: whether every list is an exact search, whatever the index of the setup.
    """

    depth: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Kind:
    """How questions of one shape are asked.

    Attributes:
        keys: of the query that lead to the target.
        scored: whether a scorer composes what they hold.
    """

    keys: tuple[str, ...]
    scored: bool


@dataclass(frozen=True, slots=True, eq=False)
class PreparedTask:
    """How a task is asked of a stock; ``prepare`` makes one.

    Attributes:
        task: the questions.
        stock: the items.
        setup: how to search.
        kinds: how questions are asked, by their shape.
        vectors: the embedded questions, for every arrow the plans start with.
        holdings: what scorers hold of the questions.
        unread: why a question cannot be asked, by its number: it is answered by an empty list.
        notes: what is left aside, and what the planner says.
        look: list the candidates of a reranker and not what it makes of them.
        blend: how much a reranker counts against recall; None for alone.
    """

    task: Task
    stock: Stock
    setup: Setup
    kinds: Mapping[Shape, Kind]
    vectors: Mapping[Arrow, Embedded] = field(default_factory=dict)
    holdings: Mapping[Composition, Holding] = field(default_factory=dict)
    unread: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    look: Look | None = None
    blend: Blend | None = None
    _plain: dict[tuple[Shape, int], bool] = field(default_factory=dict)

    @property
    def questions(self) -> Sequence[Question]:
        """All questions of the task."""
        return self.task.questions

    @property
    def able(self) -> list[int]:
        """The questions that can be asked, by their numbers."""
        return [n for n in range(len(self.questions)) if n not in self.unread]

    @property
    def session(self) -> TaskSession:
        """The items, for questions that are embedded already."""
        blends = {} if self.blend is None else dict.fromkeys(self.stock.session.graph.compositions, self.blend)
        return self.stock.session.asking(QuestionCache(self.vectors, self.holdings), blends)

    def batches(self, size: int) -> list[list[int]]:
        """Part the questions that can be asked: those of one shape lie together, at most ``size`` in a batch."""
        groups: dict[Shape, list[int]] = {}
        for n in self.able:
            groups.setdefault(shape(self.questions[n]), []).append(n)
        return [some[at : at + size] for some in groups.values() for at in range(0, len(some), size)]

    def query(self, number: int, k: int) -> TaskQuery:
        """Return a question as the engine takes it.

        A depth without a scorer that ranks candidates is the number of hits.
        """
        base = _blind(self.whole(number, k))
        if self.setup.depth is not None and self._is_plain(base):
            base = replace(base, k=self.setup.depth, depth=None)
        if self.look is None or not plans.reranks(self._plan(base)):
            return base
        index = "exact" if self.look.exact else base.index
        return replace(base, recall=ROUTES, depth=self.look.depth, index=index)

    def whole(self, number: int, k: int) -> TaskQuery:
        """Return a question with its media, as a scorer is given it."""
        question = self.questions[number]
        return _query(self.task, question, self._setup(question), self.kinds[shape(question)], k=k, number=number)

    def plan(self, number: int, k: int) -> Plan:
        """Return the engine's plan for a question.

        Raises:
            NoRoute: nothing that is held leads to the target, or the scorer has no such way to recall.
        """
        return self._plan(self.query(number, k))

    def _plan(self, query: TaskQuery) -> Plan:
        try:
            return explain(self.session, query)
        except BadSpec as error:  # the setup names what is not here
            raise NoRoute(f"plan: {error}") from error

    def _is_plain(self, query: TaskQuery) -> bool:
        """Say whether nothing is scored again."""
        key = shape(self.questions[query.number]), query.k
        if key not in self._plain:
            self._plain[key] = not plans.recalls_for_scorer(self._plan(query))
        return self._plain[key]

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


def _query(task: Task, question: Question, setup: Setup, kind: Kind, *, k: int, number: int = 0) -> TaskQuery:
    """Return a question as the engine takes it, by a setup."""
    asked = question.query
    weights = setup.weights or tuple(asked.weights.items())
    chosen: dict[str, Any] = {
        "media": {name: value for name, value in asked.media.items() if _key(name) in kind.keys},
        "target": task.target,
        "k": k,
        "spaces": setup.spaces or asked.spaces,
        "index": None if setup.kind == "auto" else setup.kind,
        "weights": {key: each for key, each in weights if key in kind.keys or (key == LIKE and asked.like)},
        "scorer": setup.scorer or asked.scorer,
        "budget_ms": setup.budget_ms,
        "exclude": question.exclude,
        "candidates": question.candidates,
        "depth": setup.depth,
        "recall": (setup.recall or None) if kind.scored else None,
        "number": number,
    }
    kept = {each.name: getattr(asked, each.name) for each in fields(Query) if each.name not in chosen}
    return TaskQuery(**kept, **chosen)


def prepare(
    task: Task,
    stock: Stock,
    setup: Setup,
    *,
    folder: Path,
    kept: MutableMapping[Key, Holding] | None = None,
    blend: Blend | None = None,
    progress: bool | None = None,
) -> PreparedTask:
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
    ways: dict[Shape, Kind] = {}
    for kind, members in kinds.items():
        try:
            ways[kind] = _routed(task, stock, setup, task.questions[members[0]])
        except (NoRoute, BadSpec) as error:
            unread |= dict.fromkeys(members, str(error))
    if not ways:
        raise NoRoute(next(iter(unread.values()), f"{task.name} asks nothing"))
    if setup.recall and not any(kind.scored for kind in ways.values()):
        raise NoRoute(f"plan: recall={setup.recall} is for a scorer, and none here composes what the questions hold")
    made = PreparedTask(task, stock, setup, ways, unread=unread, blend=blend)
    # What a plan of one hit embeds is enough for those of more: for them a scorer at most scans what it would recall.
    made_plans = {kind: made.plan(kinds[kind][0], 1) for kind in ways}
    starts = {arrow: spec for each in made_plans.values() for arrow, spec in _arrows(each).items()}
    vectors = {arrow: embedded(task, *arrow, spec, folder=folder, progress=progress) for arrow, spec in starts.items()}
    made = replace(made, vectors=vectors, holdings=_holdings(made, {} if kept is None else kept, progress))
    return replace(made, unread=_bad(made), notes=tuple(dict.fromkeys(_notes(made, made_plans, kinds))))


def shape(question: Question) -> Shape:
    """Say what kind of question it is: those of one kind are planned and searched together."""
    query = question.query
    sampled, weights = question.candidates is not None, tuple(sorted(query.weights.items()))
    held = (keys_of(query.media), bool(query.like), tuple(sorted(query.vectors)), weights)
    return held, query.condition, query.spaces, query.scorer, sampled


def _key(name: str) -> str:
    return "pair" if name in ("before", "after") else name


def _blind(query: TaskQuery) -> TaskQuery:
    """Return the query without the paths of its media, whose vectors are in the cache.

    By its path the engine would leave a reference out of the answer; here the protocol says whether it is.
    """
    return replace(query, media={name: value if name == "text" else b"" for name, value in query.media.items()})


def _routed(task: Task, stock: Stock, setup: Setup, question: Question) -> Kind:
    """Return the keys of a question that lead to the target: by a scorer, by vectors, or by words of the items."""
    graph, query = stock.session.graph, question.query
    keys = tuple(key for key in keys_of(query.media) if not setup.held or key in setup.held)
    if not keys and not query.like and not query.vectors:
        raise NoRoute(f"plan: the questions hold {', '.join(keys_of(query.media))}, not {', '.join(setup.held)}")
    if _scored(task, stock, setup, question, keys):
        return Kind(keys, scored=True)
    spaces = setup.spaces or query.spaces
    routes = {key: graph.routes(key, target=task.target) for key in keys}
    led = {key for key in keys if any(not spaces or r.column.space.name in spaces for r in routes[key])}
    if stock.wordy and "text" in keys:
        led.add("text")
    if not led and not query.like and not query.vectors:
        raise NoRoute(graph.missing(keys[0], target=task.target))
    return Kind(tuple(key for key in keys if key in led), scored=False)


def _scored(task: Task, stock: Stock, setup: Setup, question: Question, keys: tuple[str, ...]) -> bool:
    """Say whether a scorer composes some keys of a question.

    Raises:
        BadSpec: the setup names a scorer that is not here, or that cannot answer this.
    """
    query = _blind(_query(task, question, setup, Kind(keys, scored=False), k=1))
    bound = replace(query, spaces=() if setup.recall else query.spaces)
    examples = stock.session.table.examples(list(query.examples)) if query.examples else {}
    return scorer_choice.choose(bound, PlanBuilder(stock.session.facts(bound, examples))) is not None


def _arrows(made: Plan) -> dict[Arrow, str]:
    return {(stage.key, stage.space): stage.encoder for stage in made.stages if isinstance(stage, Encode)}


def _absent(task: Task, stock: Stock) -> dict[int, str]:
    """Say which questions name an example item that is missing, by their number."""
    absent: dict[int, str] = {}
    for n, question in enumerate(task.questions):
        if gone := [id for id in question.query.like if id not in stock.at]:
            absent[n] = f"its example {gone[0]} is missing: {stock.reasons.get(gone[0], 'there is no such item')}"
    return absent


def _holdings(
    made: PreparedTask, kept: MutableMapping[Key, Holding], progress: bool | None
) -> dict[Composition, Holding]:
    """Give questions to the scorers that compose them, or take what was made of the same before."""
    given: dict[Composition, list[QuestionBatch]] = {}
    queries = [replace(made.query(n, 1), candidates=None) for n in made.able]
    for group in query_groups(made.session, queries):
        for stage in (each for each in group.plan.stages if isinstance(each, Compose)):
            numbers = [made.able[n] for n in group.places]
            whole = [made.whole(n, 1) for n in numbers]
            given.setdefault(stage.composition, []).append(QuestionBatch(numbers, whole, stage, group.examples))
    found = {}
    for composition, theirs in given.items():
        key = (composition, made.setup.weights, made.setup.held, tuple(n for each in theirs for n in each.numbers))
        if key not in kept:
            kept[key] = hold(made.stock.session, theirs, count=len(made.questions), progress=progress)
        found[composition] = kept[key]
    return found


def _bad(made: PreparedTask) -> dict[int, str]:
    """Say which questions cannot be asked, those that could not be embedded or held included."""
    unread = dict(made.unread)
    for (key, _), each in made.vectors.items():
        for n, reason in each.bad.items():
            kind = made.kinds.get(shape(made.questions[n]))
            if kind is not None and key in kind.keys:
                unread[n] = reason
    for holding in made.holdings.values():
        unread |= holding.bad
    return unread


def _notes(made: PreparedTask, made_plans: Mapping[Shape, Plan], kinds: Mapping[Shape, Sequence[int]]) -> Iterator[str]:
    """Say what is left aside, what the planner says, and what a scorer does."""
    for kind, plan in made_plans.items():
        question = made.questions[kinds[kind][0]]
        for key in keys_of(question.query.media):
            if key not in made.kinds[kind].keys:
                chosen = made.setup.held and key not in made.setup.held
                why = "left out by the plan" if chosen else "no route leads from it to the target"
                yield f"{key} of {len(kinds[kind]):,} questions is not used: {why}"
        yield from plan.notes
        if scores := plans.summary(plan):
            yield scores
        if made.blend is not None and plans.reranks(plan):
            yield str(made.blend)
        if question.candidates is not None:
            yield "questions with candidates are answered from those alone, exactly, whatever the index"
