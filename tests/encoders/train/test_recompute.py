"""Activation checkpointing changes memory, not results."""

import copy

import torch
from torch import nn

from quiver.encoders._train.recompute import recompute


def network() -> nn.Sequential:
    torch.manual_seed(0)
    parts = [nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.4), nn.Linear(32, 6))]
    parts.append(nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32, momentum=None), nn.Tanh(), nn.Linear(32, 6)))
    return nn.Sequential(*parts)


def step(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return the loss after a backward pass, and the numbers that were kept for it."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = model(x).square().mean()
    for parameter in model.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    value.backward()
    return value, sum(kept.values())


def test_losses_gradients_and_running_statistics_are_the_same_for_less_memory():
    plain, lean = network(), network()
    recompute(lean)
    x = torch.randn(64, 6)
    for _ in range(2):
        (one, much), (other, little) = step(plain, x), step(lean, x)
        assert torch.equal(one, other) and little < much / 3
    for (name, mine), theirs in zip(plain.named_parameters(), lean.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad), name
    for (name, mine), theirs in zip(plain.named_buffers(), lean.buffers(), strict=True):
        assert torch.equal(mine, theirs), name
    assert [each.momentum for each in lean.modules() if isinstance(each, nn.BatchNorm1d)] == [0.1, None]


def test_a_copy_computes_with_its_own_weights_and_evaluation_is_plain():
    model = network()
    recompute(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    x = torch.randn(8, 6)
    assert torch.equal(model.eval()(x), network().eval()(x))
    assert not other(x).any() and model.train()(x).any()
    assert model.state_dict().keys() == network().state_dict().keys()
