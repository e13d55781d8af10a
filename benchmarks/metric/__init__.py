"""Metrics: rankings as arrays, ranks under a stated tie rule, figures per query, intervals and tests.

>>> import numpy as np
>>> from quiver.benchmarks.metric import Judgements, Ragged, evaluate, rank
>>> ranking = rank(np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.1]]))
>>> judgements = Judgements(["a", "b"], Ragged.of([[2], [1]]), np.array([1, 1]), np.array([3, 3]), ["", ""])
>>> scores = evaluate(ranking, judgements, ["Success@1", "RR"])
>>> scores.mean("Success@1"), scores.mean("RR"), scores.ties
(0.0, 0.5, 1)
"""

from quiver.benchmarks.metric.judgement import Judgements, judge
from quiver.benchmarks.metric.measure import Measure, parse
from quiver.benchmarks.metric.place import Tie, arrange, find, ranks
from quiver.benchmarks.metric.ranking import Ragged, Ranking, drop, order, rank
from quiver.benchmarks.metric.score import Scores, chance, evaluate
from quiver.benchmarks.metric.significance import Comparison, Interval, compare, holm, intervals, resampled
from quiver.benchmarks.metric.trec import read_qrels, read_run, write_qrels, write_run

__all__ = [
    "Comparison",
    "Interval",
    "Judgements",
    "Measure",
    "Ragged",
    "Ranking",
    "Scores",
    "Tie",
    "arrange",
    "chance",
    "compare",
    "drop",
    "evaluate",
    "find",
    "holm",
    "intervals",
    "judge",
    "order",
    "parse",
    "rank",
    "ranks",
    "read_qrels",
    "read_run",
    "resampled",
    "write_qrels",
    "write_run",
]
