"""Figures per query, and their averages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quiver.benchmarks.metric import provider
from quiver.benchmarks.metric.judgement import Judgements
from quiver.benchmarks.metric.measure import Doubles, Measure, parse
from quiver.benchmarks.metric.place import Places, Standing, Tie, arrange, cut, find, settle, tied
from quiver.benchmarks.metric.ranking import Ranking
from quiver.errors import BadSpec
from quiver.types import Rows, strings


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The figures of one system on one task. All queries are in the denominator.

    Attributes:
        values: (q,) float64 by canonical spelling.
        groups: (q,) names.
        tie: the tie rule.
        missing: queries without any hit; they count as nothing found.
        barren: queries without a relevant item; they count as nothing found.
        ties: queries on which tied scores matter: the tie rules can differ on them.
        cut: queries for which a deeper list could matter, since theirs ends within a tie.
        sources: (q,) names of the source of each query, see ``Judgements``.
    """

    values: Mapping[str, Doubles]
    groups: Sequence[str]
    tie: Tie
    missing: int
    barren: int
    ties: int
    cut: int
    sources: Sequence[str] = ()

    @property
    def n(self) -> int:
        """Number of queries: the denominator."""
        return len(self.groups)

    @property
    def members(self) -> dict[str, Rows]:
        """The numbers of the queries of each group, by its name, sorted."""
        names, code = np.unique(np.asarray(self.groups, np.str_), return_inverse=True)
        return {str(name): np.flatnonzero(code == number) for number, name in enumerate(names)}

    def by_group(self, measure: str) -> dict[str, float]:
        """Return the average of each group, by name, sorted.

        Raises:
            BadSpec: the measure was not computed.
        """
        spelt, values = parse(measure), self.of(measure)
        return {name: _average(spelt, values[rows]) for name, rows in self.members.items()}

    def mean(self, measure: str) -> float:
        """Return the average over groups of the averages within them (of the medians, for MedR).

        Raises:
            BadSpec: the measure was not computed.
        """
        return float(np.mean(list(self.by_group(measure).values())))

    def of(self, measure: str) -> Doubles:
        """Return (q,) the figures of a measure, by any of its spellings.

        Raises:
            BadSpec: the measure was not computed.
        """
        name = parse(measure).name
        if name not in self.values:
            raise BadSpec(f"{name} was not computed; computed: {', '.join(self.values)}")
        return self.values[name]


def _average(measure: Measure, values: Doubles) -> float:
    return float(np.median(values) if measure.median else np.mean(values))


def evaluate(ranking: Ranking, judgements: Judgements, measures: Sequence[str], *, tie: Tie = "pessimistic") -> Scores:
    """Measure a ranking.

    Args:
        ranking: one row for each query of ``judgements``. Search one place deeper than the largest cutoff, so that a
            tie at the cutoff is seen.
        judgements: what is relevant.
        measures: spellings, see ``quiver.benchmarks.metric.measure``.
        tie: tie rule for equal scores, see ``quiver.benchmarks.metric.place``.

    Raises:
        BadData: scores are NaN or rise, an item is listed twice, or the queries are not those of ``judgements``.
        BadSpec: a measure cannot be read, or reaches deeper than the lists while more items compete.
    """
    asked = [parse(name) for name in strings(measures, "measures")]
    places = find(ranking, judgements)
    for measure in asked:
        _reach(measure, ranking, places)
    values = _compute(asked, settle(places, judgements, tie))
    if others := [measure.name for measure in asked if not measure.ours]:
        values |= provider.compute(others, arrange(ranking, places, judgements, tie), judgements)
    return Scores(
        values={measure.name: values[measure.name] for measure in asked},
        groups=judgements.groups,
        tie=tie,
        missing=int((places.length == 0).sum()),
        barren=int((judgements.counts == 0).sum()),
        ties=int(tied(places, judgements).sum()),
        cut=int(cut(places, judgements).sum()),
        sources=judgements.sources,
    )


def _reach(measure: Measure, ranking: Ranking, places: Places) -> None:
    if (measure.cutoff or 0) > ranking.depth and places.full.any():
        raise BadSpec(
            f"{measure.name} needs deeper lists than {ranking.depth}, since more items compete: search deeper"
        )


def _compute(measures: Sequence[Measure], standing: Standing) -> dict[str, Doubles]:
    return {measure.name: measure.compute(standing) for measure in measures if measure.ours}


def chance(judgements: Judgements, measures: Sequence[str]) -> Scores:
    """Return the exact expectation of the figures over random orders of all competing items.

    Its figure per query is that of a system that scores all items the same, under tie rule ``average``.

    Raises:
        BadSpec: a measure cannot be read, or is not computed here.
    """
    owner = judgements.relevant.owner
    above = np.zeros(len(owner), np.int64)
    standing = Standing(owner, judgements.grades, above, judgements.competing[owner], judgements.competing)
    asked = [parse(name) for name in strings(measures, "measures")]
    if others := [measure.name for measure in asked if not measure.ours]:
        raise BadSpec(f"there is no closed form of {others[0]} for a random order")
    barren = int((judgements.counts == 0).sum())
    tied = len(judgements) - barren
    values = _compute(asked, standing)
    return Scores(values, judgements.groups, "average", 0, barren, tied, 0, judgements.sources)
