"""Measure systems on a task: every encoder in every setup, with what they have to beat in the same table.

An encoder's items are embedded once, its questions once, and exact search is run once as the oracle of all its
setups. Figures are under the pessimistic tie rule; a question or an item that cannot take part counts as a miss.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from quiver.benchmarks import baseline
from quiver.benchmarks.ask import Answer, Asked, alone, ask, prepare
from quiver.benchmarks.attribute import STAGES, attribute
from quiver.benchmarks.grid import WITH, Setup, specs_of
from quiver.benchmarks.index import ready
from quiver.benchmarks.metric import Comparison, Judgements, Ranking, compare, evaluate, judge, parse
from quiver.benchmarks.metric.significance import intervals
from quiver.benchmarks.outcome import Bench, Latency, Missing, Options, Outcome, Refused
from quiver.benchmarks.store import Stock, fill, home
from quiver.errors import BadSpec, NoRoute
from quiver.task import Task, check

#: Cells of a ranking up to which lists are as long as there are items, where a measure has no cutoff.
_CELLS = 1 << 24
#: Places of each list where that would be too much.
_DEEP = 1000
#: Depth that the curve of an exact search goes to, and questions times items up to which that is cheap.
_REACH, _CHEAP = 100, 1 << 28
#: Questions that are also asked one at a time, for their latency.
_ALONE = 50
CLASSIC = "classic"


@dataclass(slots=True)
class Work:
    """What the systems of one task share.

    Attributes:
        task: with its questions made, and without their right answers.
        judgements: the right answers.
        options: how to measure.
        headline: the measure whose losses are attributed.
        depth: places of each list.
        seconds: spent on evaluation so far.
    """

    task: Task
    judgements: Judgements
    options: Options
    headline: str
    depth: int
    seconds: float = 0.0
    answers: dict[tuple[object, ...], Answer] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the task's items and vectors are kept."""
        return home(self.task, self.options.work)


def bench(
    task: Task, encoders: Sequence[str], *, setups: Sequence[Setup] = (Setup(),), options: Options | None = None
) -> Bench:
    """Measure encoders on a task.

    Args:
        task: what to search and ask.
        encoders: specs; those joined by ``" + "`` answer together.
        setups: how to search with each.
        options: how to measure.

    Raises:
        BadData: the task cannot be scored: an id stands twice, a question has no right answer.
        BadSpec: an encoder, an index or a measure cannot be named so.
        NoRoute: none of the encoders leads from the questions to the target.
    """
    options = options or Options()
    check(task)
    measures = tuple(dict.fromkeys(parse(name).name for name in options.measures or task.measures))
    judgements = judge(task)
    bare = [replace(question, relevant={}) for question in task.questions]
    depth, notes = depth_of(measures, judgements)
    task = replace(task, questions=bare, measures=measures)
    work = Work(task, judgements, options, headline_of(measures), depth)
    outcomes, refused = _all(work, encoders, setups)
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
    """Return how many places the lists need, and what to say where they are shorter than a measure would have it.

    One place more than the largest cutoff, so that a tie there is seen; as many as compete where a measure has none.
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
    return depth, (f"{uncut}: only the first {depth:,} places are looked at; what stands below counts as not found",)


def headline_of(measures: Sequence[str]) -> str:
    """Return the first measure whose losses can be attributed, or the hit rate at the headline's cutoff."""
    spelt = [parse(name) for name in measures]
    fit = next((each.name for each in spelt if each.kind in ("Success", "R")), None)
    return fit or f"Success@{spelt[0].cutoff or 10}"


def _all(work: Work, encoders: Sequence[str], setups: Sequence[Setup]) -> tuple[list[Outcome], list[Refused]]:
    asked = list(dict.fromkeys(specs_of(encoder) for encoder in encoders))
    outcomes: list[Outcome] = []
    refused: list[Refused] = []
    for specs in asked:
        _encoder(work, specs, setups, "asked", outcomes, refused)
    if refused and not outcomes:
        raise NoRoute("; ".join(f"{each.name}: {each.why}" for each in refused))
    if work.options.baselines and (CLASSIC,) not in asked:
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
    refused: list[Refused],
) -> None:
    """Run every setup of one encoder."""
    work.answers.clear()
    try:
        stock = fill(work.task, specs, folder=work.folder, progress=work.options.progress)
    except NoRoute as error:
        refused.append(Refused(WITH.join(specs), str(error)))
        return
    label = _label(work, stock, outcomes)
    for setup in setups:
        name = label if role == CLASSIC or (len(setups) == 1 and setup == Setup()) else f"{label} | {setup.label}"
        try:
            outcomes.append(_system(work, stock, setup, name, role))
        except NoRoute as error:
            refused.append(Refused(name, str(error)))


def _label(work: Work, stock: Stock, taken: Sequence[Outcome]) -> str:
    """Call an encoder by the spaces it searches; by their revision too, where another is called the same."""
    if stock.specs == (CLASSIC,):
        return CLASSIC
    spaces = dict.fromkeys(column.space for column in stock.columns if column.key == work.task.target)
    label = WITH.join(space.name for space in spaces)
    if any(each.name.split(" | ")[0] == label for each in taken):
        return WITH.join(map(str, spaces))
    return label


def _system(work: Work, stock: Stock, setup: Setup, name: str, role: str) -> Outcome:
    options = work.options
    exactly = replace(setup, index="exact", depth=None)
    asked = prepare(work.task, stock, exactly, folder=work.folder, progress=options.progress)
    oracle = _answer(work, asked)
    stock, building = ready(work.task, stock, setup)
    asked = replace(asked, stock=stock, setup=setup)
    index = _answer(work, replace(asked, setup=replace(setup, depth=None)))
    answer = _answer(work, asked)
    singles = alone(asked, _depth(work, setup), sample=_ALONE, seed=options.seed)
    reach = _reach(work, asked, answer)
    started = perf_counter()
    scores = evaluate(answer.ranking, work.judgements, work.task.measures)
    spread = intervals(scores, resamples=options.resamples, level=options.level, seed=options.seed)
    there = _there(work, asked)
    lists = dict(zip(STAGES, (oracle.ranking, index.ranking, answer.ranking, answer.ranking), strict=True))
    attribution = attribute(lists, work.judgements, measure=work.headline, there=there)
    curve = _curve(reach.ranking, work.judgements)
    work.seconds += perf_counter() - started
    embed = asked.ms if asked.vectors else None
    first = next((q for n, q in enumerate(work.task.questions) if n not in asked.unread), None)
    return Outcome(
        name=name,
        role=role,
        scores=scores,
        intervals=spread,
        encoders=stock.specs,
        setup=setup,
        spaces=_spaces(asked),
        plan={} if first is None else asked.plan(first, _depth(work, setup)).to_dict(),
        ranking=answer.ranking,
        attribution=attribution,
        curve=curve,
        latency=Latency(embed, answer.ms, *percentiles(singles), len(singles)),
        missing=_missing(work, asked, there),
        notes=asked.notes,
        seconds={"add": stock.seconds, "index": building},
    )


def _depth(work: Work, setup: Setup) -> int:
    return work.depth if setup.depth is None else setup.depth


def _answer(work: Work, asked: Asked) -> Answer:
    """Ask, unless that was done; lists are as wide as the task needs, whatever was recalled."""
    depth = _depth(work, asked.setup)
    key = (asked.setup.index, asked.setup.spaces, asked.setup.held, depth)
    if key not in work.answers:
        made = ask(asked, depth, progress=work.options.progress)
        work.answers[key] = replace(made, ranking=_wide(made.ranking, work.depth))
    return work.answers[key]


def _reach(work: Work, asked: Asked, answer: Answer) -> Answer:
    """Search deeper than the measures need, where that is cheap and finds the same: exactly."""
    depth = min(_REACH, len(work.task.items))
    plain = asked.setup.kind == "exact" and asked.setup.depth is None
    if not plain or depth <= 2 * work.depth or len(work.judgements) * len(work.task.items) > _CHEAP:
        return answer
    return ask(asked, depth, progress=work.options.progress)


def _wide(ranking: Ranking, depth: int) -> Ranking:
    short = ((0, 0), (0, max(0, depth - ranking.depth)))
    return Ranking(
        np.pad(ranking.rows, short, constant_values=-1), np.pad(ranking.scores, short, constant_values=-np.inf)
    )


def _there(work: Work, asked: Asked) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Return (n,) which right answers could be found: the item was taken in, and the question was read."""
    relevant = work.judgements.relevant
    held = np.zeros(len(work.task.items), np.bool_)
    held[asked.stock.places] = True
    read = np.ones(len(work.judgements), np.bool_)
    read[sorted(asked.unread)] = False
    return held[relevant.rows] & read[relevant.owner]


def _missing(work: Work, asked: Asked, there: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Missing:
    owner = work.judgements.relevant.owner
    lost = np.bincount(owner[~there], minlength=len(work.judgements))
    return Missing(
        items=asked.stock.reasons,
        unread={work.judgements.ids[n]: reason for n, reason in sorted(asked.unread.items())},
        touched=int((lost > 0).sum()),
        hopeless=int((lost == work.judgements.counts).sum()),
    )


def _spaces(asked: Asked) -> tuple[str, ...]:
    wanted = asked.setup.spaces
    columns = [c for c in asked.stock.columns if c.key == asked.task.target]
    return tuple(f"{c.space.name}@{c.space.revision}" for c in columns if not wanted or c.space.name in wanted)


def percentiles(singles: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile, 0 where nothing was measured."""
    if not singles:
        return 0.0, 0.0
    p50, p95 = np.percentile(singles, [50, 95])
    return float(p50), float(p95)


def _curve(ranking: Ranking, judgements: Judgements) -> dict[int, float]:
    """Return the share of questions with a right answer among the first d, for depths d about a factor 1.5 apart."""
    depths = sorted({1, *(round(1.5**n) for n in range(40)), ranking.depth})
    measures = [f"Success@{depth}" for depth in depths if depth <= ranking.depth]
    scores = evaluate(ranking, judgements, measures)
    return {int(name.split("@")[1]): scores.mean(name) for name in measures}


def _random(work: Work) -> Outcome:
    started = perf_counter()
    level, seed = work.options.level, work.options.seed
    scores, spread = baseline.random(work.judgements, work.task.measures, depth=work.depth, seed=seed, level=level)
    work.seconds += perf_counter() - started
    drawn = next(iter(spread.values())).resamples
    note = f"exact expectation over all orders; the interval holds {level:.0%} of {drawn} random orders, seed {seed}"
    return Outcome("random", "random", scores, spread, notes=(note,))


def _compare(work: Work, outcomes: Sequence[Outcome]) -> list[Comparison]:
    """Test all against the first on the headline, corrected together; random is an expectation and is not tested."""
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
