"""The losses, by hand."""

import math

import numpy as np
import pytest
import torch

from quiver.encoders.fashionbert.loss import Batch, losses, mlm, mpm, tia


def test_word_loss_is_the_mean_negative_log_probability():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]))
    assert mlm(logits, torch.tensor([1, 2])).item() == pytest.approx(-(math.log(0.25) + math.log(0.7)) / 2)


def test_patch_loss_takes_the_divergence_of_the_guess_from_the_target():
    target, guess = torch.tensor([[0.75, 0.25]]), torch.tensor([[0.5, 0.5]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    other = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert mpm(guess.log(), target.log()).item() == pytest.approx(expected)
    assert abs(expected - other) > 0.01


def test_patch_loss_is_zero_for_equal_distributions_only_and_ignores_a_constant():
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.standard_normal((6, 9), np.float32)) for _ in range(2))
    assert mpm(x, x + 3).item() == pytest.approx(0, abs=1e-6)
    assert mpm(x, y).item() > 0.1
    assert mpm(x - 2, y + 5).item() == pytest.approx(mpm(x, y).item(), rel=1e-4)


def test_match_loss_calls_class_one_a_match():
    logits = torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    p = 1 / (1 + math.exp(-2))
    expected = -(math.log(p) + math.log(1 - p)) / 2
    assert tia(logits, torch.tensor([1, 0])).item() == pytest.approx(expected)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    picked, hidden = torch.zeros(2, 4, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool)
    picked[0, 1] = picked[1, 2] = hidden[0, 3] = hidden[1, 0] = True
    words = torch.tensor([[2, 7, 3, 0], [2, 8, 9, 3]])
    features = torch.from_numpy(rng.standard_normal((2, 4, 16), np.float32))
    return Batch(words.clone(), words, picked, features, hidden, torch.tensor([1, 0]))


def test_words_and_patches_are_learnt_from_matching_pairs_unless_told_otherwise(model, batch):
    out = model(batch.text, batch.patches, batch.picked, batch.hidden)
    own, both = losses(out, batch), losses(out, batch, matched=False)
    assert own.values["mlm"].item() == pytest.approx(mlm(out.words[:1], torch.tensor([7])).item())
    assert both.values["mlm"].item() == pytest.approx(mlm(out.words, torch.tensor([7, 9])).item())
    assert own.values["mpm"].item() == pytest.approx(mpm(out.patches[:1], batch.patches[0, 3:]).item())
    target = torch.stack([batch.patches[0, 3], batch.patches[1, 0]])
    assert both.values["mpm"].item() == pytest.approx(mpm(out.patches, target).item())
    assert own.values["tia"] == both.values["tia"]
    assert list(own.values) == ["mlm", "tia", "mpm"]


def test_a_batch_without_matches_teaches_nothing_but_matching(model, batch):
    batch = batch._replace(match=torch.zeros(2, dtype=torch.long))
    found = losses(model(batch.text, batch.patches, batch.picked, batch.hidden), batch)
    assert found.active == {"tia"}
    assert found.values["mlm"] == found.values["mpm"] == 0
    found.values["mpm"].backward()  # a zero in the graph, so that ranks agree on what has gradients
    assert model.guess_patch.weight.grad.abs().sum() == 0
