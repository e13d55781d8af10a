"""Measures computed by ir-measures: the reference, and those without a formula here."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from quiver.benchmarks.metric.judgement import Judgements
from quiver.benchmarks.metric.measure import Doubles
from quiver.benchmarks.metric.ranking import Ranking
from quiver.errors import BadSpec, optional


def compute(names: Sequence[str], ranking: Ranking, judgements: Judgements) -> dict[str, Doubles]:
    """Compute measures with ir-measures.

    Its tools order equal scores by descending item id: settle ties first (``place.arrange``). It handles one Python
    object per listed item, so it takes seconds for a million.

    Args:
        names: spellings of ir-measures.
        ranking: without ties.
        judgements: what is relevant.

    Returns:
        (q,) float64 figures by name; 0 for a query that has no answer or nothing relevant.

    Raises:
        BadSpec: ir-measures cannot read a name, has no tool for it, or does not average it over queries.
        MissingExtra: ir-measures is not installed.
    """
    with optional():
        import ir_measures
    asked = {_parse(name): name for name in names}
    relevant, starts = judgements.relevant.rows, judgements.relevant.starts
    qrels = {
        str(query): dict(zip(map(str, relevant[start:stop]), map(int, judgements.grades[start:stop]), strict=True))
        for query, (start, stop) in enumerate(pairwise(starts))
    }
    run = {str(query): _scored(ranking, query) for query in range(len(ranking))}
    figures = {name: np.zeros(len(judgements)) for name in names}
    try:
        for metric in ir_measures.iter_calc(list(asked), qrels, run):
            figures[asked[metric.measure]][int(metric.query_id)] = metric.value
    except (ValueError, RuntimeError) as error:
        raise BadSpec(f"ir-measures cannot compute {', '.join(names)}: {error}") from error
    return figures


def _parse(name: str) -> Any:
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
    except (NameError, ValueError, SyntaxError, TypeError, AttributeError) as error:
        raise BadSpec(f"there is no measure {name!r}: {' '.join(str(error).split())}") from error
    if not isinstance(measure.aggregator(), ir_measures.MeanAgg):
        raise BadSpec(f"{name} is not averaged over queries")
    return measure


def _scored(ranking: Ranking, query: int) -> dict[str, float]:
    rows, scores = ranking.rows[query], ranking.scores[query]
    kept = (rows >= 0) & (scores > -np.inf)
    return dict(zip(map(str, rows[kept]), map(float, scores[kept]), strict=True))
