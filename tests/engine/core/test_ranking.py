import numpy as np
import pytest

from quiver.engine.core.ranking import Best, Ranked, combine, reciprocal


def ranked(rows, scores=None):
    rows = np.array([rows], np.int64)
    scores = -np.arange(rows.shape[1], dtype=np.float32)[None] if scores is None else np.array([scores], np.float32)
    return Ranked("made", scores, rows)


def fused(*lists):
    scores = np.hstack([reciprocal(each, 60) for each in lists])
    return combine(scores, np.hstack([each.rows for each in lists]), how="sum")


def test_reciprocal_rank_fusion_gives_the_numbers_computed_by_hand():
    scores, rows = fused(ranked([1, 2, 3]), ranked([4, 2]))
    assert rows[0].tolist() == [2, 1, 4, 3, -1]
    assert scores[0, :4].tolist() == pytest.approx([2 / 62, 1 / 61, 1 / 61, 1 / 63])


def test_the_order_of_lists_does_not_matter():
    lists = [ranked([5, 1, 9]), ranked([9, 5]), ranked([2, 9, 7])]
    forward, backward = fused(*lists), fused(*lists[::-1])
    assert forward[1].tolist() == backward[1].tolist()
    assert forward[0][0].tolist() == pytest.approx(backward[0][0].tolist())


def test_an_item_found_twice_keeps_its_better_score():
    scores, rows = combine(np.array([[0.2, 0.9, 0.5]]), np.array([[7, 3, 7]]), how="max")
    assert rows.tolist() == [[3, 7, -1]]
    assert scores[0, :2].tolist() == [0.9, 0.5]


def test_ties_go_to_the_lower_row():
    assert combine(np.array([[0.5, 0.5, 0.5]]), np.array([[9, 2, 4]]), how="max")[1].tolist() == [[2, 4, 9]]


def test_missing_candidates_never_win():
    scores, rows = combine(np.array([[-np.inf, -3.0]]), np.array([[-1, 4]]), how="max")
    assert rows.tolist() == [[4, -1]] and scores[0, 0] == -3.0


def test_queries_of_a_batch_do_not_mix():
    scores, rows = combine(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([[7, 7], [7, 7]]), how="sum")
    assert rows.tolist() == [[7, -1], [7, -1]] and scores[:, 0].tolist() == [3.0, 3.0]


def test_excluded_rows_are_gone_and_the_rest_keeps_its_order():
    kept = ranked([4, 8, 2, 6]).without([np.array([8])], 3)
    assert kept.rows.tolist() == [[4, 2, 6]]


def test_no_candidates_stay_no_candidates():
    scores, rows = combine(np.empty((2, 0)), np.empty((2, 0), np.int64), how="sum")
    assert scores.shape == rows.shape == (2, 0)


def test_the_best_of_parts_are_the_best_of_the_whole_with_ties_to_the_lower_row():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, (5, 200)).astype(np.float32)
    order = rng.permutation(200)
    best = Best(5, 7)
    for part in np.split(order, [3, 90, 91]):
        best.look(scores[:2, part], part)
        best.look(scores[2:, part], part, start=2)
    expected = np.lexsort((np.broadcast_to(np.arange(200), scores.shape), -scores))[:, :7]
    assert best.rows.tolist() == expected.tolist()
    assert best.scores.tolist() == np.take_along_axis(scores, expected, 1).tolist()
