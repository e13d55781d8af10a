"""Measures: by hand, against ir-measures, against every order of the ties, and what must hold whatever the data."""

from itertools import pairwise, permutations, product

import numpy as np
import pytest

from quiver.benchmarks.metric import Judgements, Ragged, Ranking, arrange, chance, evaluate, find, parse, place, rank
from quiver.benchmarks.metric import ranking as arrays
from quiver.benchmarks.metric.provider import compute
from quiver.errors import BadData, BadSpec

# Query 0 ranks its items 0 1 2 3 4; query 1 ranks 1 4 2 3 0; query 2 has items 0, 1 and 2 tied on top, then 3, 4.
SCORES = np.array([[0.9, 0.8, 0.7, 0.6, 0.5], [0.1, 0.5, 0.3, 0.2, 0.4], [0.6, 0.6, 0.6, 0.2, 0.1]], np.float32)
LOG3 = np.log2(3)
BY_HAND = {
    "R@1": [1 / 2, 0, 0],
    "R@3": [1, 0, 1],
    "Success@1": [1, 0, 0],
    "Success@4": [1, 1, 1],
    "P@3": [2 / 3, 0, 1 / 3],
    "RR": [1, 1 / 4, 1 / 3],
    "RR@3": [1, 0, 1 / 3],
    "AP": [(1 + 2 / 3) / 2, 1 / 4, 1 / 3],
    "AP@1": [1 / 2, 0, 0],
    "APh@1": [1, 0, 0],
    "APh@3": [(1 + 2 / 3) / 2, 0, 1 / 3],
    "nDCG@3": [(1 + 2 / 2) / (2 + 1 / LOG3), 0, 1 / 2],
    "nDCG(dcg='exp-log2')@3": [(1 + 3 / 2) / (3 + 1 / LOG3), 0, 1 / 2],
    "Soft@1": [0.1, 0, 0],
    "Soft@3": [0.2, 0, 0.1],
    "MedR": [1, 4, 3],
    "MeanR": [1, 4, 3],
}
AVERAGE_OF_QUERY_2 = {
    "R@1": 1 / 3,
    "Success@2": 2 / 3,
    "RR": (1 + 1 / 2 + 1 / 3) / 3,
    "AP": (1 + 1 / 2 + 1 / 3) / 3,
    "nDCG@3": (1 + 1 / LOG3 + 1 / 2) / 3,
    "MedR": 2,
}
RULES = ("pessimistic", "optimistic", "stable")
KNOWN = ("R@1", "R@7", "Success@1", "Success@5", "P@3", "RR", "RR@4", "AP", "AP@5", "nDCG", "nDCG@5")


def judged(relevant, *, total, groups=None):
    """Judgements from one {row: grade} per query."""
    return Judgements(
        ids=[f"q{number}" for number in range(len(relevant))],
        relevant=Ragged.of([list(grades) for grades in relevant]),
        grades=np.array([grade for grades in relevant for grade in grades.values()], np.int64),
        competing=np.full(len(relevant), total, np.int64),
        groups=groups or [""] * len(relevant),
    )


TINY = judged([{0: 1, 2: 2}, {3: 1}, {1: 1}], total=5, groups=["a", "a", "b"])


def made(seed, *, queries=30, items=25, depth=None, levels=6):
    """Random scores full of ties, graded judgements, queries without relevant items, queries without answers."""
    rng = np.random.default_rng(seed)
    ranking = rank(rng.integers(levels, size=(queries, items)).astype(np.float32) - levels / 2, depth=depth)
    counts = rng.integers(0, 6, size=queries)
    relevant = [dict.fromkeys(rng.choice(items, count, replace=False).tolist(), 1) for count in counts]
    relevant = [{row: int(rng.integers(1, 4)) for row in grades} for grades in relevant]
    rows = ranking.rows.copy()
    rows[rng.random(queries) < 0.1] = -1
    return Ranking(rows, ranking.scores), judged(relevant, total=items)


@pytest.mark.parametrize("measure", BY_HAND)
def test_every_measure_agrees_with_three_queries_worked_by_hand(measure):
    np.testing.assert_allclose(evaluate(rank(SCORES), TINY, [measure]).of(measure), BY_HAND[measure], rtol=1e-12)


def test_tie_rules_agree_with_a_tie_of_three_worked_by_hand():
    ranks = {rule: evaluate(rank(SCORES), TINY, ["MedR"], tie=rule).of("MedR")[2] for rule in (*RULES, "average")}
    assert ranks == {"pessimistic": 3, "optimistic": 1, "stable": 2, "average": 2}
    averages = evaluate(rank(SCORES), TINY, list(AVERAGE_OF_QUERY_2), tie="average")
    for measure, figure in AVERAGE_OF_QUERY_2.items():
        assert averages.of(measure)[2] == pytest.approx(figure, abs=1e-12)


def test_groups_are_averaged_before_they_are_averaged():
    scores = evaluate(rank(SCORES), TINY, ["RR", "MedR"])
    assert scores.by_group("MRR") == pytest.approx({"a": (1 + 1 / 4) / 2, "b": 1 / 3})
    assert scores.mean("RR") == pytest.approx(((1 + 1 / 4) / 2 + 1 / 3) / 2)
    assert scores.mean("MedR") == pytest.approx((2.5 + 3) / 2)


def test_a_query_without_an_answer_or_without_relevant_items_counts_as_nothing_found():
    rows = rank(SCORES).rows.copy()
    rows[0] = -1
    scores = evaluate(Ranking(rows, rank(SCORES).scores), judged([{0: 1}, {1: 1}, {}], total=5), ["RR", "MedR"])
    assert (scores.n, scores.missing, scores.barren) == (3, 1, 1)
    assert scores.mean("RR") == pytest.approx(1 / 3)
    assert scores.of("MedR").tolist() == [5, 1, 5]


def test_a_relevant_item_beyond_the_list_has_the_last_rank_there_is():
    assert evaluate(rank(SCORES, depth=4), TINY, ["MedR"]).of("MedR").tolist() == [1, 4, 3]
    # Cut after the tie of three: a fourth of that score may exist, so the relevant one is not found for certain.
    assert evaluate(rank(SCORES, depth=3), TINY, ["MedR"]).of("MedR").tolist() == [1, 5, 5]


@pytest.mark.parametrize(("seed", "depth", "tie"), list(product(range(4), (None, 9), RULES)))
def test_figures_equal_those_of_ir_measures(seed, depth, tie):
    ranking, judgements = made(seed, depth=depth)
    ours = evaluate(ranking, judgements, KNOWN, tie=tie)
    theirs = compute(KNOWN, arrange(ranking, find(ranking, judgements), judgements, tie), judgements)
    for measure in KNOWN:
        np.testing.assert_allclose(ours.of(measure), theirs[measure], atol=1e-12, err_msg=measure)


def test_steep_gain_equals_that_of_ir_measures_with_its_gains_spelt_out():
    ranking, judgements = made(5)
    steep = evaluate(ranking, judgements, ["nDCG(dcg='exp-log2')@5"], tie="stable")
    order = arrange(ranking, find(ranking, judgements), judgements, "stable")
    spelt = "nDCG(gains={1:1,2:3,3:7})@5"
    np.testing.assert_allclose(
        next(iter(steep.values.values())), compute([spelt], order, judgements)[spelt], atol=1e-12
    )


def test_a_measure_without_a_formula_here_is_computed_by_ir_measures():
    ranking, judgements = made(6)
    scores = evaluate(ranking, judgements, ["Rprec", "P(rel=2)@5", "R@5"])
    assert list(scores.values) == ["Rprec", "P(rel=2)@5", "R@5"]
    grades = [dict(zip(r, g, strict=True)) for r, g in zip(*per_query(judgements), strict=True)]
    order = arrange(ranking, find(ranking, judgements), judgements, "pessimistic").rows
    by_loop = [sum(g.get(row, 0) >= 2 for row in rows[:5].tolist()) / 5 for rows, g in zip(order, grades, strict=True)]
    np.testing.assert_allclose(scores.of("P(rel=2)@5"), by_loop)


def per_query(judgements):
    starts = judgements.relevant.starts[1:-1]
    parts = (judgements.relevant.rows, judgements.grades)
    return tuple([part.tolist() for part in np.split(array, starts)] for array in parts)


@pytest.mark.parametrize("seed", range(3))
def test_measures_of_our_own_equal_a_plain_loop(seed):
    ranking, judgements = made(seed, levels=1000)
    scores = evaluate(ranking, judgements, ["APh@7", "Soft@7", "MedR"])
    for query, (rows, grades) in enumerate(zip(*per_query(judgements), strict=True)):
        grade = dict(zip(rows, grades, strict=True))
        listed = [grade.get(row, 0) for row in ranking.rows[query].tolist()]
        hits = [place for place, each in enumerate(listed, 1) if each]
        precisions = [(number + 1) / place for number, place in enumerate(hits) if place <= 7]
        assert scores.of("APh@7")[query] == pytest.approx(np.mean(precisions) if precisions else 0.0)
        assert scores.of("Soft@7")[query] == pytest.approx(max(listed[:7]) / 10)
        assert scores.of("MedR")[query] == (hits[0] if hits else 25)


@pytest.mark.parametrize("seed", range(6))
def test_average_is_the_mean_over_every_order_of_the_ties(seed):
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.integers(3, size=6))[::-1].astype(np.float32)
    judgements = judged([{int(row): int(rng.integers(1, 4)) for row in rng.choice(6, 3, replace=False)}], total=6)
    orders = [o for o in permutations(range(6)) if all(scores[a] >= scores[b] for a, b in pairwise(o))]
    names = ["R@2", "Success@1", "Success@3", "P@4", "RR", "RR@3", "AP", "AP@3", "nDCG@4", "Soft@2", "MedR"]
    repeated = judged([dict(zip(*(p[0] for p in per_query(judgements)), strict=True))] * len(orders), total=6)
    each = evaluate(Ranking.listed(np.array(orders)), repeated, names)
    average = evaluate(Ranking(np.arange(6)[None], scores[None]), judgements, names, tie="average")
    for name in names:
        assert average.of(name)[0] == pytest.approx(each.of(name).mean(), abs=1e-12), name


def test_chance_is_the_mean_over_every_order_of_all_items():
    names = ["R@2", "Success@2", "RR", "AP@3", "APh@3", "APh@5", "nDCG@4", "Soft@2", "MeanR"]
    orders = np.array(list(permutations(range(6))))
    relevant = {0: 1, 3: 2, 4: 1}
    each = evaluate(Ranking.listed(orders), judged([relevant] * len(orders), total=6), names)
    random = chance(judged([relevant], total=6), names)
    for name in names:
        assert random.of(name)[0] == pytest.approx(each.of(name).mean(), abs=1e-12), name


def test_chance_finds_one_item_among_n_in_the_first_k_with_probability_k_over_n():
    random = chance(judged([{7: 1}] * 3, total=100_000), ["Success@10", "R@50", "MedR"])
    assert random.mean("Success@10") == pytest.approx(1e-4)
    assert random.mean("R@50") == pytest.approx(5e-4)
    assert random.mean("MedR") == pytest.approx(50_000.5)


def test_a_random_ranking_comes_near_to_chance():
    rng = np.random.default_rng(0)
    judgements = judged([{int(row): 1} for row in rng.integers(50, size=4000)], total=50)
    scores = evaluate(rank(rng.random((4000, 50))), judgements, ["Success@5", "RR"])
    random = chance(judgements, ["Success@5", "RR"])
    assert random.mean("Success@5") == pytest.approx(0.1)
    assert scores.mean("Success@5") == pytest.approx(0.1, abs=0.015)
    assert scores.mean("RR") == pytest.approx(random.mean("RR"), abs=0.015)


@pytest.mark.parametrize("kind", ["R", "Success", "Soft", "AP", "RR"])
def test_a_larger_k_never_gives_less(kind):
    ranking, judgements = made(8)
    names = [f"{kind}@{k}" for k in range(1, 26)]
    for tie in (*RULES, "average"):
        scores = evaluate(ranking, judgements, names, tie=tie)
        assert (np.diff([scores.of(name) for name in names], axis=0) >= -1e-12).all()


def test_no_order_of_ties_is_worse_than_pessimistic_or_better_than_optimistic():
    ranking, judgements = made(9)
    names = [name for name in KNOWN if name not in {"nDCG", "nDCG@5"}]
    low, high, *between = (
        evaluate(ranking, judgements, names, tie=tie) for tie in ("pessimistic", "optimistic", "stable", "average")
    )
    for name in names:
        for middle in between:
            assert (low.of(name) <= middle.of(name) + 1e-12).all()
            assert (middle.of(name) <= high.of(name) + 1e-12).all()


def test_items_and_queries_may_be_renumbered():
    rng = np.random.default_rng(3)
    scores = rng.random((8, 12)).astype(np.float32)
    relevant = [{int(row): 1 for row in rng.choice(12, 3, replace=False)} for _ in range(8)]
    before = evaluate(rank(scores), judged(relevant, total=12), KNOWN)
    items, queries = rng.permutation(12), rng.permutation(8)
    moved = [{int(np.flatnonzero(items == row)[0]): 1 for row in relevant[query]} for query in queries]
    after = evaluate(rank(scores[queries][:, items]), judged(moved, total=12), KNOWN)
    for name in KNOWN:
        np.testing.assert_allclose(after.of(name), before.of(name)[queries])


def test_identical_vectors_find_themselves():
    judgements = judged([{row: 1} for row in range(40)], total=40)
    scores = evaluate(rank(np.eye(40)), judgements, ["R@1", "RR", "AP", "nDCG@1", "MedR"])
    assert {name: scores.mean(name) for name in scores.values} == dict.fromkeys(scores.values, 1.0)


def test_a_system_that_scores_everything_the_same_is_at_chance_at_best_and_finds_nothing_at_worst():
    judgements = judged([{row: 1} for row in range(40)], total=40)
    same, names = rank(np.zeros((40, 40))), ["R@5", "RR", "AP", "nDCG@9", "APh@5"]
    for name in names:
        assert evaluate(same, judgements, [name], tie="average").mean(name) == chance(judgements, [name]).mean(name)
    assert evaluate(same, judgements, ["R@5"]).mean("R@5") == 0
    assert evaluate(same, judgements, ["R@5"]).ties == 40


def test_figures_do_not_depend_on_how_queries_are_cut_into_blocks(monkeypatch):
    ranking, judgements = made(11, queries=50)
    whole = evaluate(ranking, judgements, KNOWN)
    monkeypatch.setattr(arrays, "BLOCK", 60)
    pieces = evaluate(ranking, judgements, KNOWN)
    for name in KNOWN:
        np.testing.assert_array_equal(pieces.of(name), whole.of(name))
    assert (pieces.ties, pieces.cut, pieces.missing) == (whole.ties, whole.cut, whole.missing)


@pytest.mark.parametrize("seed", range(5))
def test_a_list_cut_amid_ties_promises_no_more_than_the_whole_list(seed):
    whole, judgements = made(seed, levels=4)
    short = Ranking(whole.rows[:, :8].copy(), whole.scores[:, :8].copy())
    names = ["R@7", "Success@7", "R@3"]
    low, full = evaluate(short, judgements, names), evaluate(whole, judgements, names)
    differ = np.zeros(len(judgements), bool)
    for name in names:
        assert (low.of(name) <= full.of(name)).all()
        differ |= low.of(name) != full.of(name)
    assert not differ[~place.cut(find(short, judgements), judgements)].any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Recall@5", "R@5 for the share"),
        ("R", "needs a cutoff"),
        ("R@0", "cannot read"),
        ("MedR@5", "takes no cutoff"),
        ("recall at 5", "no measure"),
        ("NumRet", "not averaged"),
        ("R@@5", "cannot read"),
    ],
)
def test_a_measure_that_cannot_be_meant_is_refused(name, message):
    with pytest.raises(BadSpec, match=message):
        evaluate(rank(SCORES), TINY, [name])


def test_spellings_of_one_measure_are_one():
    assert [parse(name).name for name in ("MRR", "MAP@5", "NDCG@10", 'nDCG(dcg="exp-log2")@2')] == [
        "RR",
        "AP@5",
        "nDCG@10",
        "nDCG(dcg='exp-log2')@2",
    ]


def test_a_cutoff_deeper_than_the_lists_is_refused_unless_they_hold_everything():
    with pytest.raises(BadSpec, match="R@4 needs deeper lists than 3"):
        evaluate(rank(SCORES, depth=3), TINY, ["R@4"])
    assert evaluate(rank(SCORES), TINY, ["R@100"]).of("R@100").tolist() == [1, 1, 1]


def test_broken_rankings_are_refused_with_the_name_of_the_query():
    good = rank(SCORES)
    scores = good.scores.copy()
    scores[1, 2] = np.nan
    with pytest.raises(BadData, match="query q1 has a NaN"):
        evaluate(Ranking(good.rows, scores), TINY, ["RR"])
    with pytest.raises(BadData, match="query q1 has scores that rise"):
        evaluate(Ranking(good.rows, np.where(np.arange(3)[:, None] == 1, -good.scores, good.scores)), TINY, ["RR"])
    rows = good.rows.copy()
    rows[2, 4] = rows[2, 0]
    with pytest.raises(BadData, match=f"query q2 lists item number {rows[2, 0]} twice"):
        evaluate(Ranking(rows, good.scores), TINY, ["RR"])
    with pytest.raises(BadData, match="2 queries for judgements of 3"):
        evaluate(rank(SCORES[:2]), TINY, ["RR"])


def test_open_ties_without_a_closed_form_are_refused():
    scores = np.array([[0.9, 0.5, 0.5, 0.1]])
    with pytest.raises(BadSpec, match="APh@4 has no closed form"):
        evaluate(rank(scores), judged([{0: 1, 1: 1}], total=4), ["APh@4"], tie="average")
    with pytest.raises(BadSpec, match="average is no order"):
        evaluate(rank(scores), judged([{0: 1}], total=4), ["Rprec"], tie="average")
