"""Random baseline: the figures of a random order.

The figures are expectations over all orders, in closed form. The interval shows the spread of single random orders: it
contains the given share of the figures of seeded random orders of the same questions.

Shapes: q questions, n right answers of all questions together.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.metric import Interval, Judgements, Scores, chance, parse
from quiver.benchmarks.metric.place import Standing
from quiver.errors import BadSpec
from quiver.types import Rows

#: Minimum and maximum number of random orders, and limit of places and answers over all of them.
_LEAST, _MOST, _BUDGET = 20, 200, 50_000_000


def random(
    judgements: Judgements, measures: Sequence[str], *, depth: int, seed: int = 0, level: float = 0.95
) -> tuple[Scores, dict[str, Interval]]:
    """Return the expected figures of a random order, and the interval of single orders by measure.

    Args:
        judgements: what is relevant.
        measures: names of measures; those without a closed form are skipped.
        depth: length of the lists of the other systems.
        seed: of the orders.
        level: share of the orders inside the interval.

    Raises:
        BadSpec: none of the measures has a closed form.
    """
    asked = [measure for measure in map(parse, measures) if measure.ours]
    if not asked:
        raise BadSpec(f"no measure of {', '.join(measures)} has a closed form for a random order")
    expected = chance(judgements, [measure.name for measure in asked])
    cost = len(judgements.grades) + len(judgements) * depth
    drawn = int(np.clip(_BUDGET // max(cost, 1), _LEAST, _MOST))
    orders = _orders(judgements, depth, drawn, np.random.default_rng(seed))
    figures = [[_mean(expected, measure.name, measure.compute(order)) for measure in asked] for order in orders]
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return expected, {
        measure.name: Interval(expected.mean(measure.name), float(low[n]), float(high[n]), level, drawn, seed)
        for n, measure in enumerate(asked)
    }


def _mean(like: Scores, name: str, values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    scores = Scores({name: values}, like.groups, like.tie, 0, 0, 0, 0)
    return scores.mean(name)


def _orders(judgements: Judgements, depth: int, count: int, rng: np.random.Generator) -> Iterator[Standing]:
    """Draw random orders; by symmetry, the first n items of each question are its n right answers."""
    owner, starts = judgements.relevant.owner, judgements.relevant.starts
    for _ in range(count):
        rank = np.zeros(len(owner), np.int64)
        for at in range(0, len(judgements), step := max(1, (1 << 22) // depth)):
            part = slice(at, at + step)
            drawn = _draw(judgements.competing[part], depth, rng)
            question, place = np.nonzero((drawn >= 0) & (drawn < judgements.counts[part, None]))
            rank[starts[at + question] + drawn[question, place]] = place + 1
        yield Standing(owner, judgements.grades, np.maximum(rank - 1, 0), np.sign(rank), judgements.competing)


def _draw(competing: Rows, depth: int, rng: np.random.Generator) -> Rows:
    """Return (q, depth) distinct numbers below ``competing`` in random order, padded with -1."""
    if depth * 4 > competing.max(initial=0):
        keys = rng.random((len(competing), int(competing.max(initial=0))))
        keys[np.arange(keys.shape[1]) >= competing[:, None]] = 2.0
        drawn = np.argsort(keys, axis=1)[:, :depth]
        return np.where(np.take_along_axis(keys, drawn, axis=1) < 1.5, drawn, -1)
    drawn = np.full((len(competing), depth), -1, np.int64)
    small = competing < depth * 4
    if small.any():
        drawn[small] = _padded(_draw(competing[small], depth, rng), depth)
    left = np.flatnonzero(~small)
    again = np.ones((len(left), depth), bool)
    while len(left):  # only repeated numbers are drawn again: no number is preferred, so all orders stay equally likely
        fresh = (rng.random((len(left), depth)) * competing[left, None]).astype(np.int64)
        drawn[left] = np.where(again, fresh, drawn[left])
        again = _repeated(drawn[left])
        left, again = left[again.any(axis=1)], again[again.any(axis=1)]
    return drawn


def _repeated(drawn: Rows) -> NDArray[np.bool_]:
    """Return a mask of the numbers that occur earlier in their row."""
    order = np.argsort(drawn, axis=1, kind="stable")
    ordered = np.take_along_axis(drawn, order, axis=1)
    repeated = np.zeros_like(drawn, dtype=np.bool_)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return repeated


def _padded(drawn: Rows, depth: int) -> Rows:
    return np.pad(drawn, ((0, 0), (0, depth - drawn.shape[1])), constant_values=-1)
