from math import comb

import numpy as np
import pytest

from quiver.benchmarks.metric import Judgements, Ragged
from quiver.benchmarks.recall import baseline
from quiver.errors import BadSpec


def judged(relevant, competing):
    lists = Ragged.of([list(range(count)) for count in relevant])
    n = len(relevant)
    return Judgements(
        [f"q{i}" for i in range(n)], lists, np.ones(len(lists.rows), np.int64), np.array(competing), [""] * n
    )


def test_a_random_order_finds_something_as_often_as_drawing_without_putting_back():
    scores, _ = baseline.random(judged([1, 3], [10, 20]), ["Success@5", "R@5"], depth=6)
    assert scores.of("Success@5").tolist() == pytest.approx([0.5, 1 - comb(17, 5) / comb(20, 5)])
    assert scores.of("R@5").tolist() == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize("competing", [12, 40, 5000])
def test_the_interval_is_that_of_drawn_orders_whatever_way_they_are_drawn(competing):
    """Of 400 questions with p = 0.1 the hits are binomial: 95 % lie within 1.96 standard deviations."""
    relevant = max(1, competing // 50)
    depth = max(1, competing // 40)
    measure = f"Success@{depth}"
    p = 1 - comb(competing - relevant, depth) / comb(competing, depth)
    _, spread = baseline.random(judged([relevant] * 400, [competing] * 400), [measure], depth=depth + 1)
    wide = 1.96 * np.sqrt(p * (1 - p) / 400)
    assert spread[measure].value == pytest.approx(p)
    assert spread[measure].low == pytest.approx(p - wide, abs=0.4 * wide)
    assert spread[measure].high == pytest.approx(p + wide, abs=0.4 * wide)


def test_questions_with_few_and_many_competitors_are_drawn_together():
    _, spread = baseline.random(judged([1] * 200 + [1] * 200, [4] * 200 + [4000] * 200), ["R@8"], depth=9)
    assert spread["R@8"].value == pytest.approx(0.5 * 1 + 0.5 * 8 / 4000)
    assert spread["R@8"].low >= 0.5


def test_the_seed_decides_the_orders():
    judgements = judged([2] * 331, [50] * 331)
    first, again, other = (baseline.random(judgements, ["R@5"], depth=6, seed=seed)[1]["R@5"] for seed in (1, 1, 2))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


def test_measures_without_a_closed_form_are_left_out():
    judgements = judged([1], [10])
    assert list(baseline.random(judgements, ["R@5", "ERR@5"], depth=6)[1]) == ["R@5"]
    with pytest.raises(BadSpec, match="no measure of ERR@5 has a closed form"):
        baseline.random(judgements, ["ERR@5"], depth=6)


def test_a_long_list_out_of_few_items_is_drawn_at_once_and_evenly():
    drawn = baseline._draw(np.full(4000, 500), 101, np.random.default_rng(0))
    assert (np.sort(drawn, axis=1)[:, 1:] != np.sort(drawn, axis=1)[:, :-1]).all()
    counts = np.bincount(drawn.ravel(), minlength=500)  # each 808 times, give or take 25
    assert abs(counts - 808).max() < 5.5 * 25.4
    assert abs(np.bincount(drawn[:, -1], minlength=500) - 8).max() < 6 * 2.83  # the last place prefers none
