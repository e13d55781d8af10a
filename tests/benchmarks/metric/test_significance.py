"""Intervals hold the truth as often as they say; tests agree with enumeration and with what Holm wrote."""

from itertools import product

import numpy as np
import pytest

from quiver.benchmarks.metric import Scores, compare, holm, intervals, resampled
from quiver.benchmarks.metric import significance as module
from quiver.errors import BadData, BadSpec


def scored(values, groups=None, tie="pessimistic", measure="RR", sources=()):
    values = np.asarray(values, np.float64)
    return Scores({measure: values}, groups or [""] * len(values), tie, 0, 0, 0, 0, sources)


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = (np.arange(2000) % 4 == 0).astype(float)
    mine = intervals(scored(values), resamples=20_000, seed=1)["RR"]
    half = 1.959964 * np.sqrt(0.25 * 0.75 / 2000)
    assert mine.value == 0.25
    assert (mine.low, mine.high) == (pytest.approx(0.25 - half, abs=8e-4), pytest.approx(0.25 + half, abs=8e-4))
    assert (mine.level, mine.resamples, mine.seed) == (0.95, 20_000, 1)


def test_nineteen_in_twenty_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(400):
        mine = intervals(scored(rng.random(60) < 0.4), resamples=500, seed=seed)["RR"]
        held += mine.low <= 0.4 <= mine.high
    assert 0.90 <= held / 400 <= 0.98


def test_queries_are_drawn_within_their_group():
    # Each group is constant: whatever is drawn within it, its mean is the same.
    mine = intervals(scored([1.0] * 5 + [0.0] * 95, ["a"] * 5 + ["b"] * 95), resamples=200)["RR"]
    assert (mine.low, mine.value, mine.high) == (0.5, 0.5, 0.5)


def test_a_small_group_widens_the_interval_of_the_average_over_groups():
    rng = np.random.default_rng(2)
    values = rng.random(1000)
    even = intervals(scored(values, ["a"] * 500 + ["b"] * 500))["RR"]
    odd = intervals(scored(values, ["a"] * 10 + ["b"] * 990))["RR"]
    assert odd.high - odd.low > 3 * (even.high - even.low)


def test_the_interval_of_a_median_is_of_medians():
    mine = intervals(scored([1, 1, 1, 9, 9], measure="MedR"), resamples=4000)["MedR"]
    assert (mine.value, mine.low, mine.high) == (1, 1, 9)


@pytest.mark.parametrize("measure", ["RR", "MedR"])
def test_asking_each_source_thrice_makes_nothing_surer(measure):
    values = np.random.default_rng(8).integers(1, 30, 50).astype(float)
    once = intervals(scored(values, measure=measure), resamples=400)[measure]
    sources = [f"s{n}" for n in range(50)] * 3
    thrice = intervals(scored(np.tile(values, 3), measure=measure, sources=sources), resamples=400)[measure]
    assert (thrice.low, thrice.value, thrice.high) == pytest.approx((once.low, once.value, once.high))
    naive = intervals(scored(np.tile(values, 3), measure=measure), resamples=400)[measure]
    assert naive.high - naive.low < 0.8 * (once.high - once.low)


def test_sources_of_many_queries_weigh_more_and_empty_ones_stand_alone():
    # Two sources: one of three queries that are right, one of a single query that is not. Drawn alike, twice each time.
    mine = scored([1, 1, 1, 0], sources=["a", "a", "a", ""])
    drawn = np.round(module._draw(mine, mine.values, 4000, 0)[:, 0], 6)
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [0, 0.75, 1] and counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_nineteen_in_twenty_intervals_hold_the_truth_where_queries_go_together():
    rng = np.random.default_rng(0)
    sources = [f"s{n // 4}" for n in range(240)]
    held = {"sources": 0, "queries": 0}
    for seed in range(200):
        values = np.repeat(rng.random(60) < 0.4, 4)
        for name, given in (("sources", sources), ("queries", ())):
            mine = intervals(scored(values, sources=given), resamples=300, seed=seed)["RR"]
            held[name] += mine.low <= 0.4 <= mine.high
    assert 0.90 <= held["sources"] / 200 <= 0.98 and held["queries"] / 200 < 0.8


def test_the_interval_of_an_effect_draws_sources_too():
    rng = np.random.default_rng(9)
    a, b = rng.random((2, 40))
    sources = [f"s{n}" for n in range(40)] * 2
    twice = [scored(np.tile(each, 2), sources=sources) for each in (a, b)]
    (alone,) = compare({"a": scored(a), "b": scored(b)}, ["RR"], resamples=300)
    (pair,) = compare(dict(zip("ab", twice, strict=True)), ["RR"], resamples=300)
    assert (pair.effect.low, pair.effect.high) == pytest.approx((alone.effect.low, alone.effect.high))


def test_draws_of_the_same_questions_make_an_interval_no_surer_than_their_sources():
    values = np.random.default_rng(8).random(40)
    sources = [f"s{n}" for n in range(40)]
    once = intervals(scored(values, sources=sources), resamples=400)["RR"]
    drawn = scored(np.tile(values, 5), [f"draw{n}" for n in range(5) for _ in range(40)], sources=sources * 5)
    five = intervals(drawn, resamples=400)["RR"]
    assert (five.low, five.value, five.high) == pytest.approx((once.low, once.value, once.high))
    # A group whose only source is not drawn stays as it is.
    few = scored([1.0, 0.0, 0.0, 0.0], ["a", "a", "a", "b"], sources=["s", "t", "u", "s"])
    assert np.isfinite(module._draw(few, few.values, 200, 0)).all()


def test_the_signs_of_a_source_are_flipped_together():
    a, b = np.zeros(12), np.zeros(12)
    b[:6] = [0.5, 0.25, 0.25, 1.0, -0.125, 0.75]
    sources = ["s", "s", "t", "t", "u", ""] + [f"v{n}" for n in range(6)]
    (only,) = compare({name: scored(each, sources=sources) for name, each in (("a", a), ("b", b))}, ["RR"])
    moved = np.array([0.75, 1.25, -0.125, 0.75])
    sums = [np.dot(signs, moved) for signs in product((1, -1), repeat=4)]
    assert only.p == pytest.approx(np.mean(np.abs(sums) >= moved.sum() - 1e-12)) and only.changed == 6


def test_intervals_repeat_and_do_not_depend_on_blocks(monkeypatch):
    scores = scored(np.random.default_rng(1).random(50))
    first = intervals(scores, resamples=300, seed=4)
    assert intervals(scores, resamples=300, seed=4) == first
    assert intervals(scores, resamples=300, seed=5) != first
    monkeypatch.setattr(module, "BLOCK", 500)
    assert intervals(scores, resamples=300, seed=4)["RR"].low == pytest.approx(first["RR"].low, abs=1e-12)


def test_few_changed_queries_are_tested_by_every_sign():
    a, b = np.zeros(40), np.zeros(40)
    b[:5] = [0.5, 0.25, 1.0, -0.125, 0.75]
    (only,) = compare({"a": scored(a), "b": scored(b)}, ["MRR"])
    sums = [np.dot(signs, b[:5]) for signs in product((1, -1), repeat=5)]
    assert only.p == pytest.approx(np.mean(np.abs(sums) >= b.sum() - 1e-12))
    assert (only.changed, only.n, only.measure, only.effect.value) == (5, 40, "RR", pytest.approx(b.mean()))


def test_systems_of_one_kind_are_called_different_one_time_in_twenty():
    rng = np.random.default_rng(3)
    called = 0
    for seed in range(300):
        a, b = rng.random((2, 40))
        called += compare({"a": scored(a), "b": scored(b)}, ["RR"], resamples=300, seed=seed)[0].p <= 0.05
    assert 0.02 <= called / 300 <= 0.09


def test_a_clear_difference_is_found_and_its_sign_is_b_less_a():
    rng = np.random.default_rng(4)
    a = rng.random(200)
    (better,) = compare({"a": scored(a), "b": scored(a + 0.1 + 0.1 * rng.random(200))}, ["RR"], resamples=2000)
    assert better.p == pytest.approx(2 / 2001, rel=1.01)
    assert 0.14 < better.effect.low < better.effect.value < better.effect.high < 0.16


def test_a_system_does_not_differ_from_itself():
    scores = scored(np.random.default_rng(5).random(30))
    (same,) = compare({"a": scores, "b": scores}, ["RR"])
    assert (same.p, same.adjusted, same.changed, same.effect.low, same.effect.high) == (1.0, 1.0, 0, 0.0, 0.0)


def test_a_single_changed_query_is_no_evidence():
    (only,) = compare({"a": scored(np.zeros(9)), "b": scored(np.eye(9)[0])}, ["RR"], resamples=50)
    assert (only.p, only.changed, only.effect.value) == (1.0, 1, pytest.approx(1 / 9))


def test_groups_weigh_the_same_in_a_test():
    # One query of the small group outweighs the many of the large one: the exact p is that of weights 1/2 and 1/6.
    a, b = np.zeros(4), np.array([1.0, -1.0, -1.0, -1.0])
    (only,) = compare({"a": scored(a, ["s", "l", "l", "l"]), "b": scored(b, ["s", "l", "l", "l"])}, ["RR"])
    assert only.effect.value == 0.0
    assert only.p == 1.0


def test_every_pair_is_compared_or_all_with_one():
    rng = np.random.default_rng(6)
    systems = {name: scored(rng.random(20)) for name in "abc"}
    assert [(each.a, each.b) for each in compare(systems, ["RR"], resamples=50)] == [("a", "b"), ("a", "c"), ("b", "c")]
    with_b = compare(systems, ["RR"], against="b", resamples=50)
    assert [(each.a, each.b) for each in with_b] == [("b", "a"), ("b", "c")]
    assert [each.adjusted for each in with_b] == pytest.approx(holm([each.p for each in with_b]))


def test_holm_agrees_with_an_example_worked_by_hand():
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, the last raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_cannot_be_compared_is_refused():
    a, b = scored(np.zeros(3)), scored(np.ones(3))
    with pytest.raises(BadData, match="same queries"):
        compare({"a": a, "b": scored(np.zeros(4))}, ["RR"])
    with pytest.raises(BadData, match="same tie rule"):
        compare({"a": a, "b": scored(np.zeros(3), tie="optimistic")}, ["RR"])
    with pytest.raises(BadSpec, match="AP was not computed"):
        compare({"a": a, "b": b}, ["AP"])
    with pytest.raises(BadSpec, match="no system is called 'c'"):
        compare({"a": a, "b": b}, ["RR"], against="c")
    with pytest.raises(BadSpec, match="median"):
        compare({"a": scored([1, 2], measure="MedR"), "b": scored([1, 2], measure="MedR")}, ["MedR"])


def test_means_are_resampled_together_and_by_source():
    rng = np.random.default_rng(0)
    first = rng.random(400)
    table = np.stack([first, first - 0.25, np.full(400, 0.5)], axis=1)
    drawn = resampled(table, resamples=2000, seed=1)
    assert drawn.shape == (2000, 3)
    np.testing.assert_allclose(drawn[:, 0] - drawn[:, 1], 0.25)  # the same queries are drawn for all columns
    np.testing.assert_allclose(drawn[:, 2], 0.5)
    assert np.std(drawn[:, 0]) == pytest.approx(np.std(first) / 20, rel=0.1)
    halves = np.repeat([0.0, 1.0], 200)[:, None]
    apart = resampled(halves, sources=["a"] * 200 + ["b"] * 200, resamples=2000, seed=1)
    assert set(np.unique(apart)) == {0.0, 0.5, 1.0}  # a source is drawn as a whole
