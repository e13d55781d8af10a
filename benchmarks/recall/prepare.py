"""Prepare the questions of a task: convert them to queries, embed them, and find those that cannot be searched.

Shapes: q questions of the task.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from quiver.benchmarks.recall import plans
from quiver.benchmarks.recall.query_vectors import Embedded, embedded
from quiver.benchmarks.recall.scorer_cache import Holding, Key, QuestionBatch, hold
from quiver.benchmarks.recall.setup import ALONE, ROUTES, Setup
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

#: Shape of a question.
Shape = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Request for the candidates of a reranker, before it ranks them.

    Attributes:
        depth: number of candidates of each list.
        exact: whether every list is an exact search, regardless of the setup's index.
    """

    depth: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Kind:
    """Plan inputs common to the questions of one shape.

    Attributes:
        keys: keys of the query that lead to the target.
        scorer: name of the scorer that composes or reranks them; empty without one.
        reranks: whether that scorer only reranks.
    """

    keys: tuple[str, ...]
    scorer: str = ""
    reranks: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class PreparedTask:
    """Prepared questions of a task, made by ``prepare``.

    Attributes:
        task: the questions.
        stock: the items.
        setup: the search configuration.
        kinds: plan inputs, by shape of the question.
        vectors: the embedded questions, for each encoder output (arrow) that the plans start with.
        holdings: inputs that scorers prepared from the questions.
        unread: reason why a question cannot be searched, by its number; its result is an empty list.
        notes: unused inputs, and notes of the planner.
        look: return the candidates before reranking.
        blend: learned weight of a reranker against recall; None to rank as the setup's ``blend`` says.
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
        """Numbers of all questions of the task."""
        return self.task.questions

    @property
    def able(self) -> list[int]:
        """Numbers of the questions that can be searched."""
        return [n for n in range(len(self.questions)) if n not in self.unread]

    @property
    def session(self) -> TaskSession:
        """Session over the items, for questions that are embedded already."""
        blends = {} if self.blend is None else dict.fromkeys(self.stock.session.graph.compositions, self.blend)
        return self.stock.session.asking(QuestionCache(self.vectors, self.holdings), blends)

    def batches(self, size: int) -> list[list[int]]:
        """Split the searchable questions into batches of one shape each, at most ``size`` long."""
        groups: dict[Shape, list[int]] = {}
        for n in self.able:
            groups.setdefault(shape(self.questions[n]), []).append(n)
        return [some[at : at + size] for some in groups.values() for at in range(0, len(some), size)]

    def query(self, number: int, k: int) -> TaskQuery:
        """Return a question as a query of the engine.

        Without a scorer that ranks candidates, the depth is the number of hits.
        """
        base = _blind(self.whole(number, k))
        if self.setup.depth is not None and self._is_plain(base):
            base = replace(base, k=self.setup.depth, depth=None)
        if self.look is None or not plans.reranks(self._plan(base)):
            return base
        index = "exact" if self.look.exact else base.index
        return replace(base, recall=ROUTES, depth=self.look.depth, index=index)

    def whole(self, number: int, k: int) -> TaskQuery:
        """Return a question with its media, as input of a scorer."""
        question = self.questions[number]
        kind = self.kinds[shape(question)]
        return _query(self.task, self.stock, question, self._setup(question), kind, k=k, number=number)

    def plan(self, number: int, k: int) -> Plan:
        """Return the engine's plan for a question.

        Raises:
            NoRoute: no input leads to the target, or the scorer has no such recall method.
        """
        return self._plan(self.query(number, k))

    def _plan(self, query: TaskQuery) -> Plan:
        try:
            return explain(self.session, query)
        except BadSpec as error:  # the setup names something that this collection lacks
            raise NoRoute(f"plan: {error}") from error

    def _is_plain(self, query: TaskQuery) -> bool:
        """Whether the plan has no reranking."""
        key = shape(self.questions[query.number]), query.k
        if key not in self._plain:
            self._plain[key] = not plans.recalls_for_scorer(self._plan(query))
        return self._plain[key]

    @property
    def ms(self) -> float | None:
        """Milliseconds of reading and embedding one question; None if nothing was embedded."""
        spent = [each.ms for each in self.vectors.values()] + [each.ms for each in self.holdings.values()]
        return sum(spent) if spent else None

    def _setup(self, question: Question) -> Setup:
        if question.candidates is None:
            return self.setup
        # Few items compete, so the search is exact; a reranker still gets only the first of them in order of recall.
        return replace(self.setup, index="exact") if self.setup.recall == ROUTES else self.setup.exactly()


def _query(
    task: Task, stock: Stock, question: Question, setup: Setup, kind: Kind, *, k: int, number: int = 0
) -> TaskQuery:
    """Return a question as a query of the engine, with the options of a setup."""
    asked = question.query
    weights = setup.weights or tuple(asked.weights.items())
    chosen: dict[str, Any] = {
        "media": {name: value for name, value in asked.media.items() if _key(name) in kind.keys},
        "target": task.target,
        "k": k,
        "spaces": setup.spaces or asked.spaces,
        "fuse": asked.fuse or not stock.own,  # encoders of one system search together
        "index": None if setup.kind == "auto" else setup.kind,
        "weights": {key: each for key, each in weights if key in kind.keys or (key == LIKE and asked.like)},
        "scorer": setup.scorer or asked.scorer or _named(setup, kind),
        "budget_ms": setup.budget_ms,
        "exclude": question.exclude,
        "candidates": question.candidates,
        "depth": setup.depth,
        "recall": (setup.recall or None) if kind.scorer else None,
        "diversity": asked.diversity if setup.diversity is None else setup.diversity,
        "deduplicate": asked.deduplicate if setup.deduplicate is None else setup.deduplicate,
        "number": number,
    }
    kept = {each.name: getattr(asked, each.name) for each in fields(Query) if each.name not in chosen}
    return TaskQuery(**kept, **chosen)


def _named(setup: Setup, kind: Kind) -> str | None:
    """Return the reranker to name: a benchmark ranks by it alone, unless the setup asks for the safe blend."""
    return kind.scorer if kind.reranks and setup.blend == ALONE else None


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
    """Find the questions that can be searched, embed them, and let scorers prepare those that they compose.

    Args:
        task: the questions.
        stock: the items.
        setup: the search configuration.
        folder: folder of the vectors.
        kept: cache of inputs that scorers prepared from this stock's questions; grows.
        blend: learned weight of a reranker against recall; None to rank as the setup's ``blend`` says.
        progress: whether to show progress bars; None shows them on a terminal.

    Raises:
        NoRoute: no question has an input that leads to the target, or the setup names a space, scorer or recall method
            that does not exist.
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
        raise NoRoute(next(iter(unread.values()), f"{task.name} has no questions"))
    if setup.recall and not any(kind.scorer for kind in ways.values()):
        raise NoRoute(
            f"plan: recall={setup.recall} is for a scorer, and none here composes the inputs of the questions"
        )
    made = PreparedTask(task, stock, setup, ways, unread=unread, blend=blend)
    # A plan for one hit embeds enough for larger k: there a scorer at most scans instead of recalling candidates.
    made_plans = {kind: made.plan(kinds[kind][0], 1) for kind in ways}
    starts = {arrow: spec for each in made_plans.values() for arrow, spec in _arrows(each).items()}
    vectors = {
        arrow: embedded(task, *arrow, stock.session.encoder(spec), folder=folder, progress=progress)
        for arrow, spec in starts.items()
    }
    made = replace(made, vectors=vectors, holdings=_holdings(made, {} if kept is None else kept, progress))
    return replace(made, unread=_bad(made), notes=tuple(dict.fromkeys(_notes(made, made_plans, kinds))))


def shape(question: Question) -> Shape:
    """Return the shape of a question: questions of one shape are planned and searched together."""
    query = question.query
    sampled, weights = question.candidates is not None, tuple(sorted(query.weights.items()))
    held = (keys_of(query.media), bool(query.like), tuple(sorted(query.vectors)), weights)
    return held, query.condition, query.spaces, query.scorer, sampled


def _key(name: str) -> str:
    return "pair" if name in ("before", "after") else name


def _blind(query: TaskQuery) -> TaskQuery:
    """Return the query without its media paths; the vectors are in the cache.

    The engine would use the path to exclude a reference item from the hits; here the protocol decides that.
    """
    return replace(query, media={name: value if name == "text" else b"" for name, value in query.media.items()})


def _routed(task: Task, stock: Stock, setup: Setup, question: Question) -> Kind:
    """Return the keys of a question that lead to the target: by a scorer, by vectors, or by words of the items."""
    graph, query = stock.session.graph, question.query
    keys = tuple(key for key in keys_of(query.media) if not setup.held or key in setup.held)
    if not keys and not query.like and not query.vectors:
        raise NoRoute(f"plan: the questions have {', '.join(keys_of(query.media))}, not held={', '.join(setup.held)}")
    if (scorer := _scored(task, stock, setup, question, keys)) is not None:
        return Kind(keys, scorer.names[2], not scorer.recalls)
    spaces = setup.spaces or query.spaces
    routes = {key: graph.routes(key, target=task.target) for key in keys}
    led = {key for key in keys if any(not spaces or r.column.space.name in spaces for r in routes[key])}
    if stock.wordy and "text" in keys:
        led.add("text")
    if not led and not query.like and not query.vectors:
        raise NoRoute(graph.missing(keys[0], target=task.target))
    return Kind(tuple(key for key in keys if key in led))


def _scored(task: Task, stock: Stock, setup: Setup, question: Question, keys: tuple[str, ...]) -> Composition | None:
    """Return the scorer that composes some keys of a question; None without one.

    Raises:
        BadSpec: the setup names a scorer that does not exist or cannot score this question.
    """
    query = _blind(_query(task, stock, question, setup, Kind(keys), k=1))
    bound = replace(query, spaces=() if setup.recall else query.spaces)
    examples = stock.session.table.examples(list(query.examples)) if query.examples else {}
    chosen = scorer_choice.choose(bound, PlanBuilder(stock.session.facts(bound, examples)))
    return None if chosen is None else chosen.composition


def _arrows(made: Plan) -> dict[Arrow, str]:
    return {(stage.key, stage.space): stage.encoder for stage in made.stages if isinstance(stage, Encode)}


def _absent(task: Task, stock: Stock) -> dict[int, str]:
    """Return the reason for each question whose example item is missing, by question number."""
    absent: dict[int, str] = {}
    for n, question in enumerate(task.questions):
        if gone := [id for id in question.query.examples if id not in stock.at]:
            absent[n] = f"its example {gone[0]} is missing: {stock.reasons.get(gone[0], 'there is no such item')}"
    return absent


def _holdings(
    made: PreparedTask, kept: MutableMapping[Key, Holding], progress: bool | None
) -> dict[Composition, Holding]:
    """Let scorers prepare the questions that they compose, or reuse the cached inputs."""
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
    """Return the reason for each question that cannot be searched, including failures of embedding or scorers."""
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
    """Return notes on unused inputs, from the planner, and on the scorer."""
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
            yield "questions with a candidate list are searched exactly among those candidates, regardless of the index"
