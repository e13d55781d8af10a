"""TSM against the reference network, shift by shift, block by block and as a whole."""

import numpy as np
import pytest
import torch
from tests.encoders.mmv.golden import distance, fill, load, tensor
from tests.encoders.mmv.hashed import hashed_tree
from torch import Tensor, nn

from quiver.encoders.mmv.resnet import SMALL, SMALL_STEM, Block, Stage, Stem, build
from quiver.encoders.mmv.shift import Shift, shifted, swapped
from quiver.encoders.mmv.tsm import TSMResNet
from quiver.encoders.mmv.weights import from_haiku
from quiver.errors import BadData, BadSpec

BLOCKS = load("tsm_blocks")
FULL = load("tsm_audio_full_hashed")
LAYERS = {"tsm_resnet_stem": "stem"} | {f"tsm_resnet_unit_{n}": f"stages.{n}" for n in range(4)}


def clips(block: str, name: str = "x_BTxHxWxC") -> Tensor:
    """Read (B * T, H, W, C) as (B, T, H, W, C)."""
    return tensor(BLOCKS[f"{block}/in/{name}"]).unflatten(0, (-1, int(BLOCKS[f"{block}/in/num_frames"])))


def from_time_major(x: np.ndarray, frames: int) -> Tensor:
    """Read (T * B, H, W, C) as (B, T, H, W, C)."""
    return tensor(x).unflatten(0, (frames, -1)).transpose(0, 1)


def half(x: Tensor) -> Tensor:
    """Round to bfloat16, as the reference does when it shifts in that layout."""
    return x.bfloat16().float()


def block_of(name: str, *, shift: float = 1 / 8) -> Block:
    inputs, stride = {"block_proj_stride2": (16, 2), "block_identity": (32, 1)}[name]
    return fill(Block(inputs, 32, inner=8, stride=stride, shift=shift), BLOCKS, name, root="TSMResNetBlock")


def tower(shift: float) -> TSMResNet:
    params, state = (
        hashed_tree(FULL[f"tsm50/meta/{kind}_names"], FULL[f"tsm50/meta/{kind}_shapes"]) for kind in ("param", "state")
    )
    net = TSMResNet(shift=shift)
    net.load_state_dict(from_haiku(params, state, root="TSMResNetV2"))
    return net.eval()


@pytest.mark.parametrize("fraction", [1 / 8, 1 / 4, 1 / 2])
def test_shift_equals_the_reference(fraction: float) -> None:
    ours = Shift(16, fraction)(clips("shift_gpu"))
    assert np.array_equal(ours.flatten(0, 1), BLOCKS[f"shift_gpu/out/frac_{fraction:g}"])


@pytest.mark.parametrize("block", ["shift_tpu", "shift_tpu_bf16"])
def test_shift_equals_the_references_other_layout(block: str) -> None:
    name = "x_TBxHxWxC" if block == "shift_tpu" else "x"
    ours = half(Shift(16, 1 / 8)(from_time_major(BLOCKS[f"{block}/in/{name}"], 4)))
    assert torch.equal(ours, from_time_major(BLOCKS[f"{block}/out/frac_0.125"], 4))


def test_one_frame_loses_both_shifted_blocks() -> None:
    ours = Shift(16, 1 / 8)(tensor(BLOCKS["shift_gpu/in/x_BTxHxWxC"])[:, None])
    assert np.array_equal(ours[:, 0], BLOCKS["shift_gpu/out/frac_0.125_num_frames_1"])


def test_shift_by_hand() -> None:
    clip = torch.arange(24.0).view(1, 3, 1, 1, 8)  # frame t holds 8t .. 8t + 7
    assert shifted(clip, 2).squeeze().tolist() == [
        [14, 15, 2, 3, 4, 5, 0, 0],
        [22, 23, 10, 11, 12, 13, 0, 1],
        [0, 0, 18, 19, 20, 21, 8, 9],
    ]
    assert swapped(clip, 2)[0, 1].flatten().tolist() == [14, 15, 10, 11, 12, 13, 8, 9]


def test_gradient_of_the_shift_is_that_of_slices() -> None:
    clip = torch.randn(2, 3, 1, 2, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: shifted(x, 2), clip)


def test_fewer_channels_than_can_be_shifted_are_refused() -> None:
    assert BLOCKS["shift_gpu/out/C4_frac_0.125_shape_fault"][0] == 0  # the reference loses all frames
    with pytest.raises(BadSpec, match=r"shift=0\.125 of 4 channels is none: give at least 8"):
        TSMResNet(stages=[Stage(1, 4, 4)], stem=Stem(4, 3, 1, pool=False))
    with pytest.raises(BadSpec, match=r"in \(0, 1/2\]"):
        Shift(16, 0.6)


def test_frames_are_folded_and_averaged_as_in_the_reference() -> None:
    video = tensor(BLOCKS["prepare_inputs/in/x"])
    assert np.array_equal(video.flatten(0, 1), BLOCKS["prepare_inputs/out/x"])
    rows = BLOCKS["prepare_outputs/in/x"]
    assert distance(tensor(rows).unflatten(0, (-1, 3)).mean(1), BLOCKS["prepare_outputs/out/gpu_T3"]) < 1e-6
    assert distance(from_time_major(rows, 3).mean(1), BLOCKS["prepare_outputs/out/tpu_T3"]) < 1e-6


@pytest.mark.parametrize(("shift", "name"), [(1 / 8, "shift_0.125"), (0.0, "shift_off_frac0")])
@pytest.mark.parametrize("block", ["block_proj_stride2", "block_identity"])
def test_block_equals_the_reference(block: str, shift: float, name: str) -> None:
    ours = block_of(block, shift=shift)(clips(block))
    assert distance(ours.flatten(0, 1), BLOCKS[f"{block}/{name}/out/eval"]) < 1e-5


def test_block_in_training_normalises_by_the_batch() -> None:
    ours = block_of("block_proj_stride2").train()(clips("block_proj_stride2"))
    assert distance(ours.flatten(0, 1), BLOCKS["block_proj_stride2/shift_0.125/out/train_mode"]) < 1e-5


def test_block_equals_the_references_other_layout() -> None:
    case, block = "block_identity/tpu_mode_time_major", block_of("block_identity")
    block.shift.register_forward_hook(lambda _, __, y: half(y))
    ours = block(from_time_major(BLOCKS[f"{case}/in/x_TBxHxWxC"], 4))
    assert distance(ours.transpose(0, 1).flatten(0, 1), BLOCKS[f"{case}/out/eval"]) < 1e-5


def test_stage_equals_the_reference() -> None:
    stage = build(16, Stage(2, 32, 8), stride=2, shift=1 / 8)
    fill(stage, BLOCKS, "unit_2blocks_stride2", root="tsm_resnet_unit")
    ours = stage(clips("unit_2blocks_stride2"))
    assert distance(ours.flatten(0, 1), BLOCKS["unit_2blocks_stride2/out/eval"]) < 1e-5


@pytest.mark.parametrize("shift", [1 / 8, 0.0])
def test_every_layer_of_the_whole_net_equals_the_reference(shift: float) -> None:
    net, video = tower(shift), tensor(FULL["tsm50/in/u8"]).float() / 256
    out = f"tsm50/shift_{shift}/out"
    with torch.no_grad():
        layers, last, vector = dict(net.endpoints(video)), net.last(video), net(video)
    given = {name: layers[ours] for name, ours in LAYERS.items()} | {"last_conv": last}
    for name, x in given.items():
        assert tuple(x[0].shape) == tuple(FULL[f"{out}/{name}/shape"])
        assert distance(x[0].mean((1, 2)), FULL[f"{out}/{name}/mean_over_HW"]) < 3e-5
    assert distance(vector, FULL[f"{out}/Embeddings"]) < 3e-5
    if shift:  # half precision there
        assert distance(vector, FULL["tsm50/tpu_mode_bf16_shift/out/Embeddings"]) < 1e-2


def weights(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(("widen", "count", "width"), [(1, 23_500_352, 2048), (2, 93_891_712, 4096)])
def test_the_paper_counts_as_many_weights(widen: int, count: int, width: int) -> None:
    with torch.device("meta"):
        net = TSMResNet(widen=widen)
    assert weights(net) == count
    assert net.width == width


def test_a_clip_of_the_paper_shrinks_as_published() -> None:
    with torch.device("meta"):
        layers = dict(TSMResNet().endpoints(torch.empty(1, 32, 224, 224, 3)))
    assert [tuple(layers[f"stages.{n}"].shape[2:]) for n in range(4)] == [
        (56, 56, 256),
        (28, 28, 512),
        (14, 14, 1024),
        (7, 7, 2048),
    ]


def small(*, shift: float = 1 / 8) -> TSMResNet:
    torch.manual_seed(0)
    return TSMResNet(stages=SMALL, stem=SMALL_STEM, shift=shift)


def test_without_a_shift_a_clip_is_the_mean_of_its_frames() -> None:
    net, video = small(shift=0).eval(), torch.rand(2, 4, 32, 32, 3)
    torch.testing.assert_close(net(video), net(video.flatten(0, 1)[:, None]).unflatten(0, (2, 4)).mean(1))


def test_each_block_sees_exactly_one_frame_further() -> None:
    net, video = small().eval(), torch.rand(1, 9, 32, 32, 3)
    changed = video.clone()
    changed[:, 4] = 1 - changed[:, 4]
    with torch.no_grad():
        pairs = zip(net.endpoints(video), net.endpoints(changed), strict=True)
        reach = [(a - b).abs().amax((0, 2, 3, 4)).nonzero().flatten().tolist() for (_, a), (_, b) in pairs]
    assert reach == [[4], [3, 4, 5], [2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7]]


def test_small_net_trains_and_rows_do_not_see_each_other() -> None:
    net, video = small(), torch.rand(3, 4, 32, 32, 3)
    assert net.width == net(video).shape[1] == 64
    net.eval()
    torch.testing.assert_close(net(video)[1:2], net(video[1:2]))
    net.train()(video).square().sum().backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in net.parameters())


def test_one_frame_is_refused_where_it_would_lose_channels() -> None:
    with pytest.raises(BadData, match="deflate the tower"):
        small()(torch.rand(2, 1, 32, 32, 3))
