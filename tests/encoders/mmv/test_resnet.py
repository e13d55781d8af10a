"""The audio tower against the reference network."""

import numpy as np
import pytest
import torch
from tests.encoders.mmv.golden import distance, load, tensor
from tests.encoders.mmv.hashed import hashed_tree
from torch import nn

from quiver.encoders.mmv.resnet import SMALL, SMALL_STEM, ResNet, Stage
from quiver.encoders.mmv.same import padding
from quiver.encoders.mmv.weights import from_haiku
from quiver.errors import BadData, BadSpec

FULL = load("tsm_audio_full_hashed")


def weights(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("depth", [18, 50])
def test_whole_net_equals_the_reference(depth: int) -> None:
    name = f"audio_resnet{depth}"
    params, state = (
        hashed_tree(FULL[f"{name}/meta/{kind}_names"], FULL[f"{name}/meta/{kind}_shapes"])
        for kind in ("param", "state")
    )
    net = ResNet(depth=depth)
    net.load_state_dict(from_haiku(params, state, root="res_net_v2"))
    net.eval()
    mel = tensor(FULL[f"{name}/in/mel"])
    with torch.no_grad():
        vector = net(mel)
        *_, (_, last) = net.endpoints(mel[:, None])
    assert weights(net) == FULL[f"{name}/meta/n_params"]
    assert tuple(last[:, 0].shape) == tuple(FULL[f"{name}/out/last_conv_shape"])
    assert distance(last.mean((1, 2, 3)), FULL[f"{name}/out/last_conv_mean_over_TF"]) < 3e-5
    assert distance(vector, FULL[f"{name}/out/output"]) < 3e-5


def test_small_net_trains_and_rows_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    net, mel = ResNet(stages=SMALL, stem=SMALL_STEM), torch.rand(3, 40, 32, 1)
    assert net.width == net(mel).shape[1] == 64
    net.eval()
    torch.testing.assert_close(net(mel)[1:2], net(mel[1:2]))
    net.train()(mel).square().sum().backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in net.parameters())


def test_widening_doubles_every_channel() -> None:
    plain, wide = ResNet(stages=SMALL, stem=SMALL_STEM), ResNet(stages=SMALL, stem=SMALL_STEM, widen=2)
    assert wide.width == 2 * plain.width
    for one, two in zip(plain.parameters(), wide.parameters(), strict=True):
        assert two.shape[0] == 2 * one.shape[0]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before_and_behind"),
    [
        (224, 7, 2, (2, 3)),
        (225, 7, 2, (3, 3)),
        (6, 3, 2, (0, 1)),
        (7, 3, 2, (1, 1)),
        (5, 1, 2, (0, 0)),
        (5, 4, 1, (1, 2)),
    ],
)
def test_padding_is_tensorflows(size: int, kernel: int, stride: int, before_and_behind: tuple[int, int]) -> None:
    assert padding(size, kernel, stride) == before_and_behind
    padded = size + sum(before_and_behind)
    assert (padded - kernel) // stride + 1 == np.ceil(size / stride)


def test_stages_of_a_json_file_are_as_good_as_named_ones() -> None:
    torch.manual_seed(0)
    named = ResNet(stages=(Stage(1, 8, 4), Stage(1, 16, 0)), stem=SMALL_STEM)
    torch.manual_seed(0)
    plain = ResNet(stages=[[1, 8, 4], [1, 16, 0]], stem=SMALL_STEM)
    for one, two in zip(named.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, two)


def test_unknown_depths_are_refused() -> None:
    with pytest.raises(BadSpec, match="must be 18 or 50, not 34"):
        ResNet(depth=34)


def test_a_net_without_stages_is_refused() -> None:
    with pytest.raises(BadSpec, match="at least one stage"):
        ResNet(stages=())


def test_sounds_without_a_last_axis_are_refused() -> None:
    with pytest.raises(BadData, match=r"sounds must be \(B, T, F, 1\)"):
        ResNet(stages=SMALL, stem=SMALL_STEM)(torch.zeros(2, 40, 32))
