"""Figures of a system beside its measures: latency, success by depth, and agreement with exact search.

Shapes: q questions, k places.
"""

from collections.abc import Sequence

import numpy as np

from quiver.benchmarks.metric import Interval, Judgements, Ranking, Scores, evaluate
from quiver.benchmarks.metric.measure import Doubles
from quiver.benchmarks.metric.significance import intervals
from quiver.benchmarks.recall.outcome import Options
from quiver.types import Rows


def percentiles(singles: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile; 0 if nothing was measured."""
    if not singles:
        return 0.0, 0.0
    p50, p95 = np.percentile(singles, [50, 95])
    return float(p50), float(p95)


def curve(ranking: Ranking, judgements: Judgements) -> dict[int, float]:
    """Return Success@d for depths d about a factor 1.5 apart."""
    depths = sorted({1, *(round(1.5**n) for n in range(40)), ranking.depth})
    measures = [f"Success@{depth}" for depth in depths if depth <= ranking.depth]
    scores = evaluate(ranking, judgements, measures)
    return {int(name.split("@")[1]): scores.mean(name) for name in measures}


def kept(
    oracle: Ranking, ranking: Ranking, judgements: Judgements, cutoffs: Sequence[int], options: Options
) -> dict[int, Interval]:
    """Return the share of the exact first k that are in the first k, for each cutoff k."""
    able = np.flatnonzero(oracle.rows[:, 0] >= 0).tolist()  # only questions that could be searched
    names = {f"R@{k}": k for k in cutoffs}
    shares = {name: _share(oracle.rows[able, :k], ranking.rows[able, :k]) for name, k in names.items()}
    groups, sources = ([of[n] for n in able] if of else () for of in (judgements.groups, judgements.sources))
    scores = Scores(shares, groups, "pessimistic", 0, 0, 0, 0, sources)
    found = intervals(scores, resamples=options.resamples, level=options.level, seed=options.seed)
    return {k: found[name] for name, k in names.items()}


def _share(wanted: Rows, found: Rows) -> Doubles:
    """Return (q,) the share of the wanted places (q, k) that were found."""
    pairs = zip(wanted, found, strict=True)
    return np.array([np.isin(right[right >= 0], ours).mean() for right, ours in pairs], np.float64)
