"""Options and results of a benchmark: one outcome per system, and the facts common to all."""

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
    """Measurement options.

    Attributes:
        work: folder of the caches between runs; None for ``~/.cache/quiver/bench``.
        measures: names of measures, the headline first; replaces the measures of the task.
        baselines: whether to add the baselines ``random`` and ``classic``.
        seed: random seed.
        resamples: number of resamples for intervals and tests.
        level: confidence level of the intervals.
        progress: whether to show progress bars; None shows them on a terminal.
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
        embed: reading and embedding, measured when it was embedded; None if there was nothing to embed.
        batch: search, in batches.
        p50: planning and search, one question at a time: median of ``alone`` questions.
        p95: likewise the 95th percentile.
        alone: number of questions measured one at a time.
    """

    embed: float | None
    batch: float
    p50: float
    p95: float
    alone: int


@dataclass(frozen=True, slots=True)
class Missing:
    """Items and questions that failed; they count as not found and stay in all denominators.

    Attributes:
        items: reason why an item could not be ingested, by id.
        unread: reason why a question could not be searched, by id.
        touched: number of questions with a right answer among those items.
        hopeless: number of questions whose right answers are all among those items.
    """

    items: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    touched: int = 0
    hopeless: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Results of one system on the task.

    Attributes:
        name: name in tables.
        role: ``asked``, ``classic`` (added as a baseline) or ``random``.
        encoders: the specs.
        setup: its search configuration; None for random.
        spaces: name and revision of the spaces searched.
        plan: the engine's plan of its first question, as JSON-able values.
        scores: its scores by measure.
        intervals: by measure.
        ranking: its hits, as places in the task's items; None for random.
        attribution: its losses by cause; None for random.
        curve: by depth d, the share of questions with a right answer among the first d.
        kept: by depth d, the share of the first d of the exact search, or exact scan, that are in the first d here;
            empty for exact systems and for rerankers.
        latency: None for random.
        missing: items and questions that failed.
        notes: remarks for the reader.
        seconds: time of adding items and of building an index.
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
    """A system that could not run, and the reason."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """All systems on one task.

    Attributes:
        task: the task; its questions may lack their right answers, which are in ``judgements``.
        judgements: the right answers.
        headline: the measure whose losses are attributed.
        outcomes: one for each system, in the order of the table.
        refused: systems that could not run, with the reason.
        comparisons: paired tests of the systems, corrected for multiple testing.
        seed: random seed.
        depth: length of each result list.
        seconds: time of evaluation alone, without search.
        notes: remarks on all systems.
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
