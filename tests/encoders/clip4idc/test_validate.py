"""The retrieval protocol, against the reference's figures where it has no fault."""

import numpy as np
import pytest
from tests.encoders.clip4idc.golden import golden

from quiver.encoders.clip4idc.validate import pair_ranks, sentence_ranks


def several():
    """Return scores (20, 6) of the golden file's sentences, and the pair of each."""
    held = golden("clip4idc_metrics")
    counts = held["in/sentence_counts"]
    padded = held["in/sim_multi_sentence_neginf_padded"]  # (pair, sentence, pair)
    scores = np.concatenate([rows[:count] for rows, count in zip(padded, counts, strict=True)])
    return held, scores, np.repeat(np.arange(6), counts)


def test_several_sentences_a_pair_rank_as_in_the_reference():
    held, scores, owner = several()
    right = owner[:, None] == np.arange(6)
    tied = (scores == scores[right][:, None]) & ~right
    assert np.argwhere(tied).shape == (1, 2)  # the reference counts this tie for the right answer
    for nudge, lost in ((1e-4, 0), (0, 1)):
        forth = sentence_ranks(scores - nudge * tied, [np.array([each]) for each in owner], right)
        assert forth.mean() == pytest.approx(float(held["out/multi/text_to_pair/MeanR"]) + lost / 20, abs=1e-5)
        for k in (1, 5, 10):
            hits = float(held[f"out/multi/text_to_pair/R{k}"]) - (100 * lost / 20 if k == 1 else 0)
            assert 100 * (forth <= k).mean() == pytest.approx(hits, abs=1e-4)
    back = pair_ranks(scores, owner, right)
    for k in (1, 5, 10):
        assert 100 * (back <= k).mean() == pytest.approx(float(held[f"out/multi/pair_to_text/R{k}"]), abs=1e-4)
    assert back.mean() == pytest.approx(float(held["out/multi/pair_to_text/MeanR"]), abs=1e-5)
    groups = np.maximum.reduceat(scores, np.flatnonzero(np.diff(owner, prepend=-1)))
    np.testing.assert_array_equal(groups.T, held["out/multi/pair_to_group_sim"])


def test_ties_count_once_and_against_the_right_answer():
    held = golden("clip4idc_metrics")
    scores, own = held["in/sim_one_sentence"], np.eye(9, dtype=bool)
    by_hand = [1 + sum(scores[i, j] >= scores[i, i] for j in range(9) if j != i) for i in range(9)]
    assert sentence_ranks(scores, [np.array([i]) for i in range(9)], own).tolist() == by_hand
    assert len(held["out/rows/ranks_incl_tie_duplicates"]) == 13  # the reference has thirteen ranks of nine questions
    turned = [1 + sum(scores[j, i] >= scores[i, i] for j in range(9) if j != i) for i in range(9)]
    assert pair_ranks(scores, np.arange(9), own).tolist() == turned


def test_what_answers_too_does_not_compete():
    scores = np.array([[0.5, 0.9, 0.1], [0.2, 0.4, 0.8], [0.3, 0.7, 0.6]], np.float32)
    right = np.array([[True, True, False], [False, True, False], [False, False, True]])
    # sentence 0 is true of pairs 0 and 1; asked as the sentence of pair 0 alone
    forth = sentence_ranks(scores, [np.array([0]), np.array([1]), np.array([2])], right)
    assert forth.tolist() == [1, 2, 2]
    # pair 1 is nearest to sentence 0, which is true of it as well, and then to sentence 2 (0.7), which is not
    assert pair_ranks(scores, np.array([0, 1, 2]), right).tolist() == [1, 2, 2]


def test_the_best_of_several_right_pairs_counts():
    scores = np.array([[0.5, 0.9, 0.7]], np.float32)
    right = np.array([[True, False, True]])
    assert sentence_ranks(scores, [np.array([0, 2])], right).tolist() == [2]
