import math

import pytest
import torch

from quiver.encoders.artemis import loss, score

HERE = torch.device("cpu")


def test_classification_by_hand() -> None:
    scores = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    # Rows: 3 / 4 and 1 / 2.
    assert loss.classification(scores, 1.0).item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    assert loss.classification(scores, 2.0).item() == pytest.approx((math.log(10 / 9) + math.log(2)) / 2)


def test_classification_looks_at_rows_only() -> None:
    scores = torch.tensor([[1.0, 0.0], [5.0, 2.0]])
    assert loss.classification(scores, 1.0) != loss.classification(scores.T, 1.0)


def test_right_answers_of_others_do_not_compete() -> None:
    scores = torch.randn(3, 3)
    same = torch.eye(3, dtype=torch.bool)
    torch.testing.assert_close(loss.classification(scores, 1.0, same_BN=same), loss.classification(scores, 1.0))
    same[0, 2] = True
    others = scores.clone()
    others[0, 2] = -torch.inf
    torch.testing.assert_close(loss.classification(scores, 1.0, same_BN=same), loss.classification(others, 1.0))


def test_targets_of_this_rank_may_start_later() -> None:
    scores = torch.randn(2, 6)
    turned = loss.classification(scores.roll(4, dims=1), 1.0, first=4)
    torch.testing.assert_close(turned, loss.classification(scores, 1.0))


def test_sharper_temperature_lowers_the_loss_of_a_right_ranking() -> None:
    scores = torch.eye(4)
    values = [loss.classification(scores, math.exp(tau)).item() for tau in (0.0, 1.0, 2.65926)]
    assert values == sorted(values, reverse=True)


def test_soft_triplet_by_hand_and_without_overflow() -> None:
    vectors = torch.tensor([[0.0], [1.0], [2.0], [100.0]])
    # d(0, 1) - d(0, 2) = 1 - 4, and d(0, 3) - d(0, 0) = 10,000, whose exponential no float holds.
    assert loss.soft_triplet(vectors, torch.tensor([[0, 1, 2]])).item() == pytest.approx(math.log1p(math.exp(-3)))
    assert loss.soft_triplet(vectors, torch.tensor([[0, 3, 0]])).item() == pytest.approx(10_000)


def test_pairs_leave_out_what_is_right_for_both() -> None:
    same = torch.zeros(3, 3, dtype=torch.bool)
    same[0, 1] = True
    positive, negative = loss.pairs(3, both=True, same_BB=same, device=HERE)
    assert positive.nonzero()[:, 1].tolist() == [3, 4, 5, 0, 1, 2]
    assert negative[0].tolist() == [False, False, True, False, False, True]
    assert negative[5].tolist() == [True, True, False, True, True, False]
    positive, negative = loss.pairs(3, both=False, same_BB=None, device=HERE)
    assert (positive.shape, negative.sum().item()) == ((3, 6), 12)


def test_draw_keeps_all_where_there_are_few_and_is_random() -> None:
    triplets = torch.tensor([[0, 1, n] for n in range(2, 9)] + [[2, 1, 0]])
    torch.manual_seed(0)
    drawn = [loss.draw(triplets, 3) for _ in range(20)]
    assert {tuple(each[:, 0].tolist()) for each in drawn} == {(0, 0, 0, 2)}
    assert {n for each in drawn for n in each[:3, 2].tolist()} == set(range(2, 9))


def test_spread_by_hand() -> None:
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # ||a * t|| is e^2 and 1: logarithms 2 and 0 have variance 1.
    uneven = score.Term(torch.ones(1, 2), torch.tensor([[math.exp(4.0), 1.0]]))
    even = score.Term(torch.ones(1, 2), torch.ones(1, 2))
    assert loss.spread({"change": uneven}, target).item() == pytest.approx(1)
    assert loss.spread({"change": uneven, "keep": even}, target).item() == pytest.approx(0.5)
    assert loss.spread({"composed": score.Term(torch.ones(1, 2))}, target).item() == 0
