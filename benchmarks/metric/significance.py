"""Statistical significance: bootstrap intervals, and paired tests between systems.

Queries from one source, such as captions of one photo, stay together: intervals resample sources, each with
all of its queries (a cluster bootstrap; Davison & Hinkley 1997, section 3.8), and tests flip the signs of all queries
of a source together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from quiver.benchmarks.metric.measure import Doubles, parse
from quiver.benchmarks.metric.score import Scores
from quiver.errors import BadData, BadSpec, optional
from quiver.types import Rows

RESAMPLES = 10_000
#: Cells per block of resamples: 32 MB of float64.
BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its percentile bootstrap interval.

    Attributes:
        value: the figure.
        low: lower end.
        high: upper end.
        level: confidence level, such as 0.95.
        resamples: number of resamples.
        seed: random seed.
    """

    value: float
    low: float
    high: float
    level: float
    resamples: int
    seed: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems on the same queries.

    Attributes:
        a: name of one.
        b: name of the other.
        measure: canonical spelling.
        effect: mean of b - a (over groups of the means within them), with its interval.
        p: two-sided p of the paired permutation test: signs of the differences flipped at random, source by source.
        adjusted: p after Holm's correction for all comparisons made together.
        changed: number of queries on which they differ.
        n: number of queries.
    """

    a: str
    b: str
    measure: str
    effect: Interval
    p: float
    adjusted: float
    changed: int
    n: int


def intervals(scores: Scores, *, resamples: int = RESAMPLES, level: float = 0.95, seed: int = 0) -> dict[str, Interval]:
    """Bootstrap the averages of all measures over sources of queries, drawn with replacement within each group.

    A query without a source is its own source. Groups that have a source in common, such as several draws of the
    same questions, are drawn from together.

    Returns:
        One by canonical spelling.
    """
    names = list(scores.values)
    drawn = _draw(scores, scores.values, resamples, seed)
    return {name: _interval(scores.mean(name), drawn[:, i], level, seed) for i, name in enumerate(names)}


def resampled(table: Doubles, *, sources: Sequence[str] = (), resamples: int = RESAMPLES, seed: int = 0) -> Doubles:
    """Return (resamples, m) means of the columns of a table (q, m) over resampled sources, the same ones for all.

    For figures that are not measures of a ranking: the quantiles of a column are the interval of its mean, and those of
    a difference of columns are the interval of that difference.

    Args:
        table: (q, m) float64, a row for each query.
        sources: (q,) names; queries of one source stay together. Without them, each query is its own source.
        resamples: number of resamples.
        seed: random seed.
    """
    return _resampled(Scores({}, [""] * len(table), "pessimistic", 0, 0, 0, 0, sources), table, (), resamples, seed)


def _interval(value: float, drawn: Doubles, level: float, seed: int) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level, len(drawn), seed)


def _draw(scores: Scores, values: Mapping[str, Doubles], resamples: int, seed: int) -> Doubles:
    """Return (resamples, m) averages of resampled sources, the same ones for all m measures."""
    medians = [number for number, name in enumerate(values) if parse(name).median]
    return _resampled(scores, np.stack(list(values.values()), axis=1), medians, resamples, seed)


def _resampled(scores: Scores, table: Doubles, medians: Sequence[int], resamples: int, seed: int) -> Doubles:
    rng = np.random.default_rng(seed)
    total = np.zeros((resamples, table.shape[1]))
    for groups in _strata(scores):
        rows = np.concatenate(groups)
        source, count = _sources(scores, rows)
        ends = np.cumsum([len(own) for own in groups])[:-1]
        for start, stop in _blocks(resamples, len(rows)):
            times = _times(rng.integers(count, size=(stop - start, count)))[:, source]
            for own, part in zip(groups, np.split(times, ends, axis=1), strict=True):
                total[start:stop] += _averages(table[own], part, medians)
    return total / len(scores.members)


def _averages(table: Doubles, times: Doubles, medians: Sequence[int]) -> Doubles:
    """Return (r, m) means of values (n, m) with counts (r, n); medians in some columns."""
    whole = times.sum(axis=1, keepdims=True)
    times = np.where(whole > 0, times, 1.0)  # a group without any drawn source stays unchanged
    found = times @ table / times.sum(axis=1, keepdims=True)
    for column in medians:
        found[:, column] = _medians(table[:, column], times)
    return found


def _strata(scores: Scores) -> list[list[Rows]]:
    """Join the rows of groups that have a source in common."""
    found: list[tuple[set[str], list[Rows]]] = []
    for rows in scores.members.values():
        own = {scores.sources[row] for row in rows.tolist()} - {""} if scores.sources else set[str]()
        joined = [each for each in found if each[0] & own]
        found = [each for each in found if not each[0] & own]
        groups = [group for _, groups in joined for group in groups]
        found.append((own.union(*(names for names, _ in joined)), [*groups, rows]))
    return [groups for _, groups in found]


def _sources(scores: Scores, rows: Rows) -> tuple[Rows, int]:
    """Return (n,) the source number of each query, and the number of sources."""
    if not scores.sources:
        return np.arange(len(rows)), len(rows)
    number: dict[object, int] = {}
    code = [number.setdefault(scores.sources[row] or row, len(number)) for row in rows.tolist()]
    return np.array(code, np.int64), len(number)


def _medians(values: Doubles, times: Doubles) -> Doubles:
    """Return (r,) medians of values (n,) with counts (r, n)."""
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(times[:, order], axis=1)
    half = upto[:, -1:] / 2
    low, high = ((upto < half).sum(axis=1), (upto <= half).sum(axis=1))
    return (values[order][low] + values[order][high]) / 2


def _times(drawn: Rows) -> Doubles:
    """Count the draws of each source per resample, so that means are one matrix product."""
    count, n = drawn.shape
    flat = (drawn + np.arange(count)[:, None] * n).ravel()
    return np.bincount(flat, minlength=count * n).reshape(count, n).astype(np.float64)


def _blocks(resamples: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(BLOCK // width, 1)
    for start in range(0, resamples, step):
        yield start, min(start + step, resamples)


def compare(
    systems: Mapping[str, Scores],
    measures: Sequence[str],
    *,
    against: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Comparison]:
    """Test systems in pairs on each measure, with one correction for all tests.

    Args:
        systems: figures by name, of the same queries in the same order, under the same tie rule.
        measures: spellings of measures that are averaged; a median has no paired test here.
        against: the system to compare all others with; None compares all pairs.
        resamples: sign flips, and bootstrap resamples of the effect. Few changed queries are enumerated exactly.
        seed: random seed of both.

    Raises:
        BadData: the systems were not measured on the same queries by the same rule.
        BadSpec: ``against`` is not one of them, or a measure was not computed or is a median.
    """
    if against is not None and against not in systems:
        raise BadSpec(f"no system is called {against!r}; there are {', '.join(systems)}")
    _alike(systems)
    names = list(systems)
    pairs = [(against, b) for b in names if b != against] if against else list(combinations(names, 2))
    made = [each for pair in pairs for each in _compare(pair, systems, measures, resamples, seed)]
    corrected = holm([each.p for each in made])
    return [replace(each, adjusted=adjusted) for each, adjusted in zip(made, corrected, strict=True)]


def _alike(systems: Mapping[str, Scores]) -> None:
    kinds = {(tuple(scores.groups), scores.tie) for scores in systems.values()}
    if len(kinds) > 1:
        raise BadData(f"{', '.join(systems)} were not measured on the same queries by the same tie rule")


def _compare(
    pair: tuple[str, str], systems: Mapping[str, Scores], measures: Sequence[str], resamples: int, seed: int
) -> Iterator[Comparison]:
    a, b = (systems[name] for name in pair)
    spelt = [parse(measure) for measure in measures]
    if medians := [measure.name for measure in spelt if measure.median]:
        raise BadSpec(f"{medians[0]} is a median and has no paired test here: compare MeanR or RR")
    moved = {measure.name: b.of(measure.name) - a.of(measure.name) for measure in spelt}
    drawn = _draw(a, moved, resamples, seed)
    for column, (name, difference) in enumerate(moved.items()):
        effect = _interval(b.mean(name) - a.mean(name), drawn[:, column], 0.95, seed)
        p = _flip(_by_source(a, difference * _weights(a)), resamples, seed)
        yield Comparison(*pair, name, effect, p, p, int(np.count_nonzero(difference)), a.n)


def _weights(scores: Scores) -> Doubles:
    """Return (q,) the weight of each query in the average over groups."""
    weights = np.zeros(scores.n)
    for rows in scores.members.values():
        weights[rows] = 1 / (len(scores.members) * len(rows))
    return weights


def _by_source(scores: Scores, values: Doubles) -> Doubles:
    """Return (s,) the sums of values (q,) over the queries of each source."""
    source, count = _sources(scores, np.arange(scores.n))
    return np.bincount(source, weights=values, minlength=count).astype(np.float64)


def _flip(difference: Doubles, resamples: int, seed: int) -> float:
    """Return the two-sided p of the sum under random signs; sources without a difference cannot change it."""
    with optional():
        from scipy.stats import permutation_test

    moved = difference[difference != 0]
    if len(moved) < 2:  # both signs of a single difference are equally far from 0
        return 1.0
    result = permutation_test(
        (moved,),
        lambda flipped, axis: flipped.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(BLOCK // len(moved), 1),
        rng=np.random.default_rng(seed),
    )
    return float(min(result.pvalue, 1.0))


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p values for multiple testing (Holm 1979): the i-th smallest of m times m - i + 1, monotone.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(ps, np.float64)
    sorted_ = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[sorted_] = np.maximum.accumulate(p[sorted_] * np.arange(len(p), 0, -1))
    return [float(each) for each in np.minimum(adjusted, 1.0)]
