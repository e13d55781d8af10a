"""Rankings as arrays: sorting, subsets, exclusions, ranks, and what a task's questions become."""

import numpy as np
import pytest

from quiver.benchmarks.metric import Judgements, Ragged, Ranking, drop, evaluate, find, judge, order, rank, ranks
from quiver.benchmarks.metric import ranking as arrays
from quiver.benchmarks.metric.place import cut
from quiver.errors import BadData, BadSpec
from quiver.task import Question, Task
from quiver.types import Item, Query


def test_equal_scores_are_listed_by_row_and_minus_infinity_does_not_compete():
    ranking = rank(np.array([[0.5, 0.9, 0.5, -np.inf]]))
    assert ranking.rows.tolist() == [[1, 0, 2, -1]]
    assert ranking.scores.tolist() == [[0.9, 0.5, 0.5, -np.inf]]


def test_candidates_are_ranked_among_themselves():
    ranking = order(Ragged.of([[7, 3, 5], [], [2]]), np.array([0.1, 0.4, 0.4, -1.0]))
    assert ranking.rows.tolist() == [[3, 5, 7], [-1, -1, -1], [2, -1, -1]]


def test_excluded_items_go_and_the_others_move_up():
    ranking = Ranking(np.array([[4, 2, 9], [2, 4, -1]]), np.array([[3.0, 2, 1], [3, 2, -np.inf]]))
    less = drop(ranking, Ragged.of([[2, 8], []]))
    assert less.rows.tolist() == [[4, 9, -1], [2, 4, -1]]
    assert less.scores.tolist() == [[3, 1, -np.inf], [3, 2, -np.inf]]
    assert ranking.rows.tolist() == [[4, 2, 9], [2, 4, -1]]


def test_dropping_equals_never_having_scored(monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK", 50)
    rng = np.random.default_rng(1)
    scores = rng.random((20, 15))
    excluded = [rng.choice(15, rng.integers(4), replace=False).tolist() for _ in range(20)]
    dropped = drop(rank(scores), Ragged.of(excluded))
    for query, rows in enumerate(excluded):
        scores[query, rows] = -np.inf
    np.testing.assert_array_equal(dropped.rows, rank(scores).rows)
    np.testing.assert_array_equal(dropped.scores, rank(scores).scores)


def test_ranks_follow_the_order_of_the_judgements():
    judgements = Judgements(["a", "b"], Ragged.of([[3, 0, 5], [1]]), np.array([1, 1, 1, 1]), np.array([6, 6]), ["", ""])
    ranking = Ranking(np.array([[0, 2, 3, 4], [2, 0, 3, 4]]), np.array([[4.0, 3, 2, 1], [4, 3, 2, 1]]))
    assert ranks(ranking, judgements).tolist() == [3, 1, 0, 0]
    with pytest.raises(BadSpec, match="average settles no ranks"):
        ranks(ranking, judgements, tie="average")
    with pytest.raises(BadSpec, match="tie rule must be one of"):
        ranks(ranking, judgements, tie="lucky")


def test_better_grades_come_first_among_optimistic_ties_and_last_among_pessimistic_ones():
    judgements = Judgements(["a"], Ragged.of([[0, 1]]), np.array([1, 3]), np.array([4]), [""])
    level = rank(np.zeros((1, 4)))
    assert ranks(level, judgements, tie="optimistic").tolist() == [2, 1]
    assert ranks(level, judgements, tie="pessimistic").tolist() == [3, 4]
    assert ranks(level, judgements, tie="stable").tolist() == [1, 2]


def test_a_relevant_item_tied_with_the_unseen_is_not_found_at_worst():
    judgements = Judgements(["a"], Ragged.of([[2]]), np.array([1]), np.array([100]), [""])
    ranking = Ranking(np.array([[0, 1, 2]]), np.array([[0.9, 0.5, 0.5]]))
    assert ranks(ranking, judgements, tie="pessimistic").tolist() == [0]
    assert ranks(ranking, judgements, tie="optimistic").tolist() == [2]
    assert cut(find(ranking, judgements), judgements).tolist() == [True]
    whole = Judgements(["a"], judgements.relevant, judgements.grades, np.array([3]), [""])
    assert ranks(ranking, whole, tie="pessimistic").tolist() == [3]
    assert cut(find(ranking, whole), whole).tolist() == [False]


def test_the_order_is_kept_where_scores_cannot_be_compared():
    ranking = Ranking.listed(np.array([[5, 3, -1]]))
    judgements = Judgements(["a"], Ragged.of([[3]]), np.array([1]), np.array([9]), [""])
    assert ranks(ranking, judgements).tolist() == [2]


def task(*questions):
    items = [Item(name, {"text": name}) for name in "abcde"]
    return Task("made", "0", items, questions, ("R@1",), "text", "all", "made here")


def test_questions_become_rows_and_what_does_not_compete_is_not_relevant():
    hold = Query(media={"text": "x"})
    judgements = judge(
        task(
            Question("one", hold, {"b": 2, "d": 1}, exclude=("d",), group="g"),
            Question("two", hold, {"e": 1, "a": 1}, exclude=("c",), candidates=("c", "e", "d")),
        )
    )
    assert (list(judgements.ids), list(judgements.groups)) == (["one", "two"], ["g", ""])
    assert (judgements.relevant.rows.tolist(), judgements.grades.tolist()) == ([1, 4], [2, 1])
    assert (judgements.counts.tolist(), judgements.competing.tolist()) == ([1, 1], [4, 2])


def test_a_question_about_an_absent_item_is_refused():
    with pytest.raises(BadData, match="item 'z', which the task lacks"):
        judge(task(Question("one", Query(media={"text": "x"}), {"z": 1})))
    with pytest.raises(BadData, match="there are no queries"):
        judge(task())


def test_a_subset_picked_out_of_a_short_list_finds_less_than_one_ranked_by_itself():
    scores = np.array([[0.9, 0.8, 0.7, 0.2, 0.3, 0.1]])
    subset, judgements = [3, 4, 5], Judgements(["a"], Ragged.of([[4]]), np.array([1]), np.array([3]), [""])
    picked = drop(rank(scores, depth=3), Ragged.of([[0, 1, 2]]))
    assert evaluate(picked, judgements, ["Success@1"]).mean("Success@1") == 0
    own = order(Ragged.of([subset]), scores[0, subset])
    assert evaluate(own, judgements, ["Success@1"]).mean("Success@1") == 1


@pytest.mark.parametrize(
    ("rows", "scores", "message"),
    [
        (np.zeros((2, 3), np.int64), np.zeros((2, 2)), "two"),
        (np.zeros((2, 0), np.int64), np.zeros((2, 0)), "depth >= 1"),
        (np.zeros((2, 2), np.int32), np.zeros((2, 2)), "int64 rows"),
        (np.zeros((2, 2), np.int64), np.zeros((2, 2), np.int64), "float scores"),
    ],
)
def test_arrays_that_are_no_ranking_are_refused(rows, scores, message):
    with pytest.raises(BadData, match=message):
        Ranking(rows, scores)


def test_nan_scores_are_refused_before_they_are_sorted_away():
    with pytest.raises(BadData, match="query number 1 has a NaN"):
        rank(np.array([[1.0, 0.0], [np.nan, 1.0]]), depth=1)


def test_judgements_that_do_not_fit_are_refused():
    one = Ragged.of([[1]])
    with pytest.raises(BadData, match="at least 1"):
        Judgements(["a"], one, np.array([0]), np.array([3]), [""])
    with pytest.raises(BadData, match="different lengths"):
        Judgements(["a", "b"], one, np.array([1]), np.array([3]), [""])
