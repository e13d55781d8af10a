"""Measure systems on a task: every encoder in every setup, and baselines in the same table.

Items and questions are embedded once per encoder, and one exact search is the reference for all setups of an encoder.
Figures use the pessimistic tie rule; a question or an item that fails counts as a miss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from quiver.benchmarks.metric import Comparison, Judgements, compare, evaluate, judge, parse
from quiver.benchmarks.metric.significance import intervals
from quiver.benchmarks.recall import baseline, curves
from quiver.benchmarks.recall.attribution import STAGES, attribute
from quiver.benchmarks.recall.indexes import ready
from quiver.benchmarks.recall.outcome import Bench, Latency, Missing, Options, Outcome, RefusedSystem
from quiver.benchmarks.recall.prepare import Look, PreparedTask, prepare
from quiver.benchmarks.recall.rerank_weights import tune
from quiver.benchmarks.recall.scorer_cache import Holding, Key
from quiver.benchmarks.recall.search import Answer, alone, ask
from quiver.benchmarks.recall.setup import AS_SEARCHED, WITH, Setup, specs_of
from quiver.benchmarks.recall.task_store import Stock, StoredSystem, fill, home, stored
from quiver.engine.planning.scorer_stages import depth_of as recalled
from quiver.engine.statistics.rerank_weights import Blend
from quiver.errors import BadSpec, NoRoute
from quiver.task import Task, check
from quiver.types import strings

#: Largest ranking (questions x items) that is kept in full if a measure has no cutoff.
_CELLS = 1 << 24
#: List length if the full ranking is larger than that.
_DEEP = 1000
#: Depth of the curve of an exact search, and the largest questions x items for it.
_REACH, _CHEAP = 100, 1 << 28
#: Number of questions that are also searched one at a time, to measure latency.
_ALONE = 50
CLASSIC = "classic"


@dataclass(slots=True)
class Work:
    """State shared by the systems of one task.

    Attributes:
        task: the task, its questions without their right answers.
        judgements: the right answers.
        options: measurement options.
        headline: the measure whose losses are attributed.
        depth: length of each result list.
        seconds: time spent on evaluation so far.
        answers: results of the current encoder, by setup.
        held: inputs that scorers of the current encoder prepared from the questions.
        splits: other splits of the task by name, for plans that learn.
        told: inputs that scorers of the current encoder prepared from those splits' questions, by split.
        blends: reranker weights learnt with the current encoder, by setup.
    """

    task: Task
    judgements: Judgements
    options: Options
    headline: str
    depth: int
    seconds: float = 0.0
    answers: dict[tuple[object, ...], Answer] = field(default_factory=dict)
    held: dict[Key, Holding] = field(default_factory=dict)
    splits: Mapping[str, Task] = field(default_factory=dict)
    told: dict[str, dict[Key, Holding]] = field(default_factory=dict)
    blends: dict[Setup, Blend] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Work folder of the task's items and vectors."""
        return home(self.task, self.options.work)


def bench(
    task: Task,
    encoders: str | Sequence[str],
    *,
    setups: Sequence[Setup] = (),
    options: Options | None = None,
    splits: Mapping[str, Task] | None = None,
    collection: StoredSystem | None = None,
) -> Bench:
    """Measure encoders on a task.

    Args:
        task: items and questions.
        encoders: specs; those joined by ``" + "`` search together.
        setups: search configurations, each used with every system; by default exact search with encoders, and the
            planner's choice in a collection.
        options: measurement options.
        splits: other splits of the task by name, for setups that learn on one.
        collection: a collection to measure as it is, before the encoders.

    Raises:
        BadData: the task cannot be scored: an id occurs twice, or a question has no right answer.
        BadSpec: unknown encoder, index or measure.
        NoRoute: none of the encoders leads from the questions to the target.
    """
    encoders, options = strings(encoders, "encoders"), options or Options()
    check(task)
    measures = tuple(dict.fromkeys(parse(name).name for name in options.measures or task.measures))
    judgements = judge(task)
    bare = [replace(question, relevant={}) for question in task.questions]
    depth, notes = depth_of(measures, judgements)
    task = replace(task, questions=bare, measures=measures)
    work = Work(task, judgements, options, headline_of(measures), depth, splits=splits or {})
    outcomes, refused = _all(work, encoders, setups, collection)
    outcomes += [_random(work)] if options.baselines and any(parse(name).ours for name in measures) else []
    comparisons = _compare(work, outcomes)
    return Bench(
        task=task,
        judgements=judgements,
        headline=work.headline,
        outcomes=outcomes,
        refused=refused,
        comparisons=comparisons,
        seed=options.seed,
        depth=depth,
        seconds=work.seconds,
        notes=notes,
    )


def depth_of(measures: Sequence[str], judgements: Judgements) -> tuple[int, tuple[str, ...]]:
    """Return the list length, and a note if it is shorter than a measure needs.

    The length is the largest cutoff plus one, to detect a tie there; all competing items if a measure has no cutoff.
    """
    cutoffs = [parse(name).cutoff for name in measures]
    competing = int(judgements.competing.max(initial=1))
    deep = max((cutoff for cutoff in cutoffs if cutoff), default=0) + 1
    if all(cutoffs):
        return max(1, min(deep, competing)), ()
    if competing * len(judgements) <= _CELLS:
        return max(1, competing), ()
    depth = min(competing, max(deep, _DEEP))
    uncut = ", ".join(name for name, cutoff in zip(measures, cutoffs, strict=True) if not cutoff)
    return depth, (f"{uncut}: computed on the first {depth:,} places only; answers below count as not found",)


def headline_of(measures: Sequence[str]) -> str:
    """Return the first measure whose losses can be attributed, or Success@k at the headline's cutoff."""
    spelt = [parse(name) for name in measures]
    fit = next((each.name for each in spelt if each.kind in ("Success", "R")), None)
    return fit or f"Success@{spelt[0].cutoff or 10}"


def _all(
    work: Work, encoders: Sequence[str], setups: Sequence[Setup], collection: StoredSystem | None
) -> tuple[list[Outcome], list[RefusedSystem]]:
    asked = list(dict.fromkeys(specs_of(encoder) for encoder in encoders))
    outcomes: list[Outcome] = []
    refused: list[RefusedSystem] = []
    if collection is not None:
        stock = stored(work.task, collection.place, trust=collection.trust)
        _setups(work, stock, stock.name, setups or (AS_SEARCHED,), outcomes, refused)
    for specs in asked:
        _encoder(work, specs, setups or (Setup(),), "asked", outcomes, refused)
    if refused and not outcomes:
        raise NoRoute("; ".join(f"{each.name}: {each.why}" for each in refused))
    if collection is not None and collection.unread is not None:
        refused.append(RefusedSystem(CLASSIC, collection.unread))
    elif work.options.baselines and (CLASSIC,) not in asked:
        _encoder(work, (CLASSIC,), (Setup(name=CLASSIC),), CLASSIC, outcomes, refused)
    if not outcomes:
        raise BadSpec(f"there is nothing to measure: give an encoder ({refused[0].why})" if refused else "no encoder")
    return outcomes, refused


def _encoder(
    work: Work,
    specs: tuple[str, ...],
    setups: Sequence[Setup],
    role: str,
    outcomes: list[Outcome],
    refused: list[RefusedSystem],
) -> None:
    """Run every setup of one encoder."""
    try:
        stock = fill(work.task, specs, folder=work.folder, progress=work.options.progress)
    except NoRoute as error:
        refused.append(RefusedSystem(WITH.join(specs), str(error)))
        return
    _setups(work, stock, _label(work, stock, outcomes), setups, outcomes, refused, role=role)


def _setups(
    work: Work,
    stock: Stock,
    label: str,
    setups: Sequence[Setup],
    outcomes: list[Outcome],
    refused: list[RefusedSystem],
    *,
    role: str = "asked",
) -> None:
    """Run every setup over some items."""
    work.answers.clear()
    work.held.clear()
    work.told.clear()
    work.blends.clear()
    plain = len(setups) == 1 and setups[0] in (Setup(), AS_SEARCHED)
    for setup in setups:
        name = label if role == CLASSIC or plain else f"{label} | {setup.label}"
        try:
            outcomes.append(_system(work, stock, setup, name, role))
        except NoRoute as error:
            refused.append(RefusedSystem(name, str(error)))


def _label(work: Work, stock: Stock, taken: Sequence[Outcome]) -> str:
    """Name an encoder by the spaces it searches, with their revisions if the names are not unique."""
    if stock.specs == (CLASSIC,):
        return CLASSIC
    spaces = dict.fromkeys(column.space for column in stock.columns if column.key == work.task.target)
    label = WITH.join(space.name for space in spaces)
    if any(each.name.split(" | ")[0] == label for each in taken):
        return WITH.join(map(str, spaces))
    return label


def _system(work: Work, stock: Stock, setup: Setup, name: str, role: str) -> Outcome:
    options = work.options
    exact = _prepare(work, stock, replace(setup.exactly(), depth=None))
    stock, building = ready(work.task, stock, setup)
    asked = _prepare(work, stock, setup, _blend(work, stock.specs, setup))
    answer = _answer(work, asked)
    singles = alone(asked, work.depth, sample=_ALONE, seed=options.seed)
    reach = _reach(work, asked, answer)
    before, kept = _before(work, exact, asked, answer), {}
    started = perf_counter()
    if answer.before is None and before[0] is not answer:
        names = (work.headline, *work.task.measures)
        cutoffs = sorted({cutoff for name in names if (cutoff := parse(name).cutoff)})
        kept = curves.kept(before[0].ranking, answer.ranking, work.judgements, cutoffs, options)
    scores = evaluate(answer.ranking, work.judgements, work.task.measures)
    spread = intervals(scores, resamples=options.resamples, level=options.level, seed=options.seed)
    there = _there(work, asked)
    given = (*(each.ranking for each in before), answer.before or answer.ranking, answer.ranking)
    lists = dict(zip(STAGES, given, strict=True))
    # A reranker can move up any recalled item; without one, only the first k are found.
    far = None if answer.before is None else max(each.depth for each in given)
    attribution = attribute(lists, work.judgements, measure=work.headline, there=there, reach=far)
    curve = curves.curve(reach.ranking, work.judgements)
    work.seconds += perf_counter() - started
    first = next(iter(asked.able), None)
    return Outcome(
        name=name,
        role=role,
        scores=scores,
        intervals=spread,
        encoders=stock.specs,
        setup=setup,
        spaces=_spaces(asked),
        plan={} if first is None else asked.plan(first, work.depth).to_dict(),
        ranking=answer.ranking,
        attribution=attribution,
        curve=curve,
        kept=kept,
        latency=Latency(asked.ms, answer.ms, *curves.percentiles(singles), len(singles)),
        missing=_missing(work, asked, there),
        notes=_notes(asked, answer),
        seconds={"add": stock.seconds, "index": building},
    )


def _prepare(work: Work, stock: Stock, setup: Setup, blend: Blend | None = None) -> PreparedTask:
    progress = work.options.progress
    return prepare(work.task, stock, setup, folder=work.folder, kept=work.held, blend=blend, progress=progress)


def _blend(work: Work, specs: Sequence[str], setup: Setup) -> Blend | None:
    """Learn the weight of a reranker on the split that a setup names; cached."""
    key = replace(setup, name="", budget_ms=None)
    if setup.fuse and key not in work.blends:
        task, options = work.splits[setup.fuse], work.options
        folder = home(task, options.work)
        stock = fill(task, specs, folder=folder, progress=options.progress)
        told = work.told.setdefault(setup.fuse, {})
        work.blends[key] = tune(task, stock, setup, folder=folder, kept=told, progress=options.progress)
    return work.blends.get(key) if setup.fuse else None


def _notes(asked: PreparedTask, answer: Answer) -> tuple[str, ...]:
    """Return remarks for the reader, and the number of pairs that a reranker scored within its budget."""
    if asked.setup.budget_ms is None or answer.before is None:
        return asked.notes
    reach = f"on average {answer.pairs:.1f} candidates per question were reranked within {asked.setup.budget_ms:g} ms"
    return (*asked.notes, reach)


def _answer(work: Work, asked: PreparedTask) -> Answer:
    """Search with a setup; cached."""
    key = (replace(asked.setup, name=""), asked.look)
    if key not in work.answers:
        work.answers[key] = ask(asked, work.depth, progress=work.options.progress)
    return work.answers[key]


def _before(work: Work, exact: PreparedTask, asked: PreparedTask, answer: Answer) -> tuple[Answer, Answer]:
    """Return the results of exact search and of the index, at the planner's depth.

    For a reranker, these are the searches that find its candidates, since an exact scan by itself does not show them.
    """
    plain = replace(asked, setup=replace(asked.setup, depth=None))
    if answer.before is None:
        return _answer(work, exact), _answer(work, plain)
    depth = max(asked.setup.depth or 0, recalled(work.depth))
    return _answer(work, replace(plain, look=Look(depth, True))), _answer(work, replace(plain, look=Look(depth, False)))


def _reach(work: Work, asked: PreparedTask, answer: Answer) -> Answer:
    """Search exactly and deeper than the measures need, if that is cheap."""
    depth = min(_REACH, len(work.task.items))
    plain = asked.setup.kind == "exact" and asked.setup.depth is None and not asked.setup.recall
    if not plain or depth <= 2 * work.depth or len(work.judgements) * len(work.task.items) > _CHEAP:
        return answer
    return ask(asked, depth, progress=work.options.progress)


def _there(work: Work, asked: PreparedTask) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Return (n,) bool: the right answers that can be found: item ingested and question read."""
    relevant = work.judgements.relevant
    stored = np.zeros(len(work.task.items), np.bool_)
    stored[asked.stock.places] = True
    read = np.ones(len(work.judgements), np.bool_)
    read[sorted(asked.unread)] = False
    return stored[relevant.rows] & read[relevant.owner]


def _missing(work: Work, asked: PreparedTask, there: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Missing:
    owner = work.judgements.relevant.owner
    lost = np.bincount(owner[~there], minlength=len(work.judgements))
    return Missing(
        items=asked.stock.reasons,
        unread={work.judgements.ids[n]: reason for n, reason in sorted(asked.unread.items())},
        touched=int((lost > 0).sum()),
        hopeless=int((lost == work.judgements.counts).sum()),
    )


def _spaces(asked: PreparedTask) -> tuple[str, ...]:
    wanted = asked.setup.spaces
    columns = [c for c in asked.stock.columns if c.key == asked.task.target]
    return tuple(f"{c.space.name}@{c.space.revision}" for c in columns if not wanted or c.space.name in wanted)


def _random(work: Work) -> Outcome:
    started = perf_counter()
    level, seed = work.options.level, work.options.seed
    scores, spread = baseline.random(work.judgements, work.task.measures, depth=work.depth, seed=seed, level=level)
    work.seconds += perf_counter() - started
    drawn = next(iter(spread.values())).resamples
    note = f"exact expectation over all orders; the interval holds {level:.0%} of {drawn} random orders, seed {seed}"
    return Outcome("random", "random", scores, spread, notes=(note,))


def _compare(work: Work, outcomes: Sequence[Outcome]) -> list[Comparison]:
    """Test all systems but random, an expectation, against the first on the headline, corrected together."""
    systems = {each.name: each.scores for each in outcomes if each.role != "random"}
    measure = work.headline if work.headline in work.task.measures else ""
    if len(systems) < 2 or not measure:
        return []
    started = perf_counter()
    found = compare(
        systems, [measure], against=outcomes[0].name, resamples=work.options.resamples, seed=work.options.seed
    )
    work.seconds += perf_counter() - started
    return found
