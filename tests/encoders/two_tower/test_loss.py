"""Losses are those of the papers, and what is no wrong answer counts nowhere."""

import math

import pytest
import torch
from torch.nn import functional

from quiver.encoders.two_tower.loss import infonce, sigmoid


def nothing(size: int) -> torch.Tensor:
    return torch.zeros(size, size, dtype=torch.bool)


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(6, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)


def test_infonce_of_two_pairs_is_what_a_pencil_gives() -> None:
    value = infonce(torch.tensor([[1.0, 0.0], [2.0, 3.0]]), known=nothing(2))
    rows = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-1))
    columns = math.log(1 + math.exp(1)) + math.log(1 + math.exp(-3))
    assert value.item() == pytest.approx((rows + columns) / 4, abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_infonce_is_the_mean_of_two_cross_entropies(logits: torch.Tensor, smoothing: float) -> None:
    both = [functional.cross_entropy(each, torch.arange(6), label_smoothing=smoothing) for each in (logits, logits.T)]
    value = infonce(logits, known=nothing(6), smoothing=smoothing)
    torch.testing.assert_close(value, sum(both) / 2)


def test_sigmoid_of_two_pairs_is_what_a_pencil_gives() -> None:
    value = sigmoid(torch.tensor([[1.0, -2.0], [0.0, 3.0]]), known=nothing(2))
    terms = [math.log(1 + math.exp(each)) for each in (-1, -2, 0, -3)]
    assert value.item() == pytest.approx(sum(terms) / 2, abs=1e-6)


def test_sigmoid_is_binary_cross_entropy_over_all_pairs(logits: torch.Tensor) -> None:
    expected = functional.binary_cross_entropy_with_logits(logits, torch.eye(6), reduction="sum") / 6
    torch.testing.assert_close(sigmoid(logits, known=nothing(6)), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_known_pair_is_as_good_as_absent_from_infonce(logits: torch.Tensor, smoothing: float) -> None:
    known = nothing(6)
    known[1, 4] = True
    value = infonce(logits, known=known, smoothing=smoothing)
    value.backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1, 4] == 0
    row = [0, 1, 2, 3, 5]
    alone = functional.cross_entropy(logits[1, row], torch.tensor(1), label_smoothing=smoothing)
    others = functional.cross_entropy(logits[[0, 2, 3, 4, 5]], torch.tensor([0, 2, 3, 4, 5]), label_smoothing=smoothing)
    column = functional.cross_entropy(logits[[0, 2, 3, 4, 5], 4], torch.tensor(3), label_smoothing=smoothing)
    columns = functional.cross_entropy(
        logits.T[[0, 1, 2, 3, 5]], torch.tensor([0, 1, 2, 3, 5]), label_smoothing=smoothing
    )
    torch.testing.assert_close(value, (alone + 5 * others + column + 5 * columns) / 12)


def test_known_pair_is_as_good_as_absent_from_sigmoid(logits: torch.Tensor) -> None:
    known = nothing(6)
    known[1, 4] = known[2, 2] = True
    lost = functional.softplus(logits[1, 4]) / 6  # the diagonal is positive whatever is known
    torch.testing.assert_close(sigmoid(logits, known=known), sigmoid(logits, known=nothing(6)) - lost)


def test_where_all_is_known_only_the_positives_are_left(logits: torch.Tensor) -> None:
    assert infonce(logits, known=~nothing(6)).item() == 0
