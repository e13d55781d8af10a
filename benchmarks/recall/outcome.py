"""How to measure, and what was found: one outcome for each system, and what holds for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quiver.benchmarks.metric import Comparison, Interval, Judgements, Ranking, Scores
from quiver.benchmarks.recall.attribution import Attribution
from quiver.benchmarks.recall.setup import Setup
from quiver.errors import BadSpec
from quiver.task import Task


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure.

    Attributes:
        work: folder for what is kept between runs; None for ``~/.cache/quiver/bench``.
        measures: spellings in the place of the task's own, the headline first.
        baselines: whether random and classic are added.
        seed: of everything drawn.
        resamples: of intervals and tests.
        level: of the intervals.
        progress: whether to show progress bars; None where a terminal is watching.
    """

    work: Path | None = None
    measures: tuple[str, ...] = ()
    baselines: bool = True
    seed: int = 0
    resamples: int = 10_000
    level: float = 0.95
    progress: bool | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds per question.

    Attributes:
        embed: reading and embedding it, as measured when that was done; None where there was nothing to embed.
        batch: searching, many questions together.
        p50: planning and searching, one question at a time: the median of ``alone`` questions.
        p95: likewise the 95th percentile.
        alone: how many questions that was measured with.
    """

    embed: float | None
    batch: float
    p50: float
    p95: float
    alone: int


@dataclass(frozen=True, slots=True)
class Missing:
    """What could not take part; all of it counts as not found, and no denominator is smaller for it.

    Attributes:
        items: why an item could not be taken in, by id.
        unread: why a question could not be asked, by id.
        touched: questions with a right answer among those items.
        hopeless: questions with no other right answer than those.
    """

    items: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    touched: int = 0
    hopeless: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One system on the task.

    Attributes:
        name: what it is called in tables.
        role: ``asked``, ``classic`` (added as a baseline) or ``random``.
        encoders: the specs.
        setup: how it searched; None for random.
        spaces: name and revision of the spaces searched.
        plan: the engine's plan of its first question, as JSON-able values.
        scores: its figures.
        intervals: by measure.
        ranking: what it found, as places in the task's items; None for random.
        attribution: where its losses come from; None for random.
        curve: by depth d, the share of questions with a right answer among the first d.
        kept: by depth d, the share of the first d of the exact search, or exact scan, that are among the first d here;
            empty for what is exact itself, and for rerankers.
        latency: None for random.
        missing: what could not take part.
        notes: what the reader should know.
        seconds: of adding items, building an index.
    """

    name: str
    role: str
    scores: Scores
    intervals: Mapping[str, Interval]
    encoders: tuple[str, ...] = ()
    setup: Setup | None = None
    spaces: tuple[str, ...] = ()
    plan: Mapping[str, Any] = field(default_factory=dict)
    ranking: Ranking | None = None
    attribution: Attribution | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    kept: Mapping[int, Interval] = field(default_factory=dict)
    latency: Latency | None = None
    missing: Missing = field(default_factory=Missing)
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusedSystem:
    """A system that could not run."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """All systems on one task.

    Attributes:
        task: what was asked; its questions may be without their right answers, which are in ``judgements``.
        judgements: what is relevant.
        headline: the measure whose losses are attributed.
        outcomes: one for each system, in the order of the table.
        refused: systems that could not run, and why.
        comparisons: paired tests of the systems, corrected for their number.
        seed: of everything drawn.
        depth: places of each list.
        seconds: of evaluation alone, without search.
        notes: what holds for all systems.
    """

    task: Task
    judgements: Judgements
    headline: str
    outcomes: Sequence[Outcome]
    refused: Sequence[RefusedSystem]
    comparisons: Sequence[Comparison]
    seed: int
    depth: int
    seconds: float
    notes: tuple[str, ...] = ()

    def outcome(self, name: str) -> Outcome:
        """Return the outcome of a system.

        Raises:
            BadSpec: there is no such system.
        """
        for each in self.outcomes:
            if each.name == name:
                return each
        raise BadSpec(f"no system is called {name!r}: there are {', '.join(o.name for o in self.outcomes)}")
