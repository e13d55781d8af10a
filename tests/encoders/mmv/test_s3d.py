"""S3D-G against the reference network, block by block and as a whole."""

import numpy as np
import pytest
import torch
from tests.encoders.mmv.golden import distance, fill, load, tensor, under
from tests.encoders.mmv.hashed import hashed_tree
from torch import Tensor, nn

from quiver.encoders.mmv.s3d import S3DG, Gate, Mixed, Unit, fold
from quiver.encoders.mmv.same import MaxPool
from quiver.encoders.mmv.weights import from_haiku
from quiver.errors import BadData, BadSpec

BLOCKS = load("s3d_blocks")
FULL = load("s3d_full")
CHANNELS = (8, 6, 10, 4, 7, 5)
MODULES = {
    "sep_conv_bn_relu": lambda: Unit(4, 5, kernel=3, time=3),
    "sep_conv_bn_relu_gated": lambda: Unit(4, 5, kernel=3, time=3, gated=True),
    "sep_conv_stride2": lambda: Unit(4, 5, kernel=3, time=3, stride=2),
    "stem_7x7x7_s2_evenT_oddW": lambda: Unit(3, 6, kernel=7, stride=2, taps=7),
    "stem_space_to_depth_2x4x4": lambda: Unit(24, 6, kernel=4, taps=2),
    "mixed_gated": lambda: Mixed(9, CHANNELS),
    "mixed_nogate_2d": lambda: Mixed(9, CHANNELS, time=1, gated=False),
}
AFTER_ONE, AFTER_TWO = "state_after_1_train_step_from_zero", "state_after_2nd_train_step_input_x*0.5+0.25"


def filled(block: str) -> nn.Module:
    return fill(MODULES[block](), BLOCKS, block, root="Mixed_x" if block.startswith("mixed") else "SUnit3D")


@pytest.fixture(scope="module")
def tower() -> S3DG:
    params = hashed_tree(FULL["meta/param_names"], FULL["meta/param_shapes"])
    state = hashed_tree(FULL["meta/state_names"], FULL["meta/state_shapes"])
    net = S3DG()
    net.load_state_dict(from_haiku(params, state, root="S3D"))
    return net.eval()


@pytest.mark.parametrize("block", MODULES)
def test_block_equals_the_reference(block: str) -> None:
    ours = filled(block)(tensor(BLOCKS[f"{block}/in/x"]))
    assert distance(ours, BLOCKS[f"{block}/out/eval"]) < 1e-5


def test_gate_equals_the_reference() -> None:
    gate = fill(Gate(6), BLOCKS, "self_gating", root="self_gating")
    assert distance(gate(tensor(BLOCKS["self_gating/in/x"])), BLOCKS["self_gating/out/eval"]) < 1e-5


@pytest.mark.parametrize(
    ("block", "kernel", "stride"),
    [
        ("maxpool_k133_s122_same", (1, 3, 3), (1, 2, 2)),
        ("maxpool_k333_s222_same", (3, 3, 3), (2, 2, 2)),
        ("maxpool_k222_s222_same", (2, 2, 2), (2, 2, 2)),
    ],
)
def test_pool_never_picks_padding_over_negative_values(
    block: str, kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> None:
    ours = MaxPool(kernel, stride)(tensor(BLOCKS[f"{block}/in/x"]))
    assert distance(ours, BLOCKS[f"{block}/out/eval"]) == 0


@pytest.mark.parametrize("block", ["sep_conv_bn_relu", "mixed_gated"])
def test_training_normalises_by_the_batch(block: str) -> None:
    ours = filled(block).train()(tensor(BLOCKS[f"{block}/in/x"]))
    assert distance(ours, BLOCKS[f"{block}/out/train"]) < 1e-5


@pytest.mark.parametrize("block", ["sep_conv_bn_relu", "mixed_gated"])
def test_running_averages_follow_the_references_batch_statistics_by_pytorchs_rule(block: str) -> None:
    root = "Mixed_x" if block.startswith("mixed") else "SUnit3D"
    module, x = filled(block), tensor(BLOCKS[f"{block}/in/x"])
    fresh = {
        name: torch.zeros_like(value) if "mean" in name else torch.ones_like(value)
        for name, value in module.state_dict().items()
        if "running" in name
    }
    module.load_state_dict(module.state_dict() | fresh)
    module.train()
    first, second = (
        from_haiku(under(BLOCKS, f"{block}/w/"), under(BLOCKS, f"{block}/out/{step}/"), root=root)
        for step in (AFTER_ONE, AFTER_TWO)
    )
    module(x)
    one = {name: value.clone() for name, value in module.state_dict().items() if name in fresh}
    module(0.5 * x + 0.25)
    two = module.state_dict()
    count = x[..., 0].numel()
    assert len(fresh) == (4 if block == "sep_conv_bn_relu" else 16)
    for name, start in fresh.items():
        unbiased = count / (count - 1) if "var" in name else 1.0
        # The reference's average without bias of the start is the batch's own statistic after one step, and
        # (0.09 s1 + 0.1 s2) / 0.19 after two.
        of_second = (0.19 * second[name] - 0.09 * first[name]) / 0.1
        expected_one = 0.9 * start + 0.1 * unbiased * first[name]
        expected_two = 0.9 * expected_one + 0.1 * unbiased * of_second
        torch.testing.assert_close(one[name], expected_one, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(two[name], expected_two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip", ["clipA", "clipB"])
def test_every_layer_of_the_whole_net_equals_the_reference(tower: S3DG, clip: str) -> None:
    video = tensor(FULL[f"{clip}/in/u8"]).float() / 256
    with torch.no_grad():
        layers = dict(tower.endpoints(video))
        embedding = tower(video)
    names = {name.split("/")[2] for name in FULL if name.startswith(f"{clip}/out/") and name.endswith("shape")}
    assert names == layers.keys()
    for name, x in layers.items():
        expected = under(FULL, f"{clip}/out/{name}/")
        assert tuple(x.shape) == tuple(expected["shape"])
        assert distance(x.mean((1, 2, 3)), expected["mean_over_THW"]) < 1e-5
        assert distance(x[:, 0, 0, 0], expected["voxel_first_0_0_0"]) < 1e-5
        assert distance(x[:, -1, -1, -1], expected["voxel_last"]) < 1e-5
    assert distance(layers["Mixed_5c"], FULL[f"{clip}/out/Mixed_5c/full"]) < 1e-5
    assert distance(embedding, FULL[f"{clip}/out/Embeddings"]) < 1e-5


def weights(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_paper_counts_9_1_million_weights() -> None:
    assert weights(S3DG()) == FULL["meta/n_params"] == 9_162_704


def test_gates_are_1_225_008_of_them() -> None:
    assert sum(weights(part) for part in S3DG().modules() if isinstance(part, Gate)) == 1_225_008


def test_a_clip_of_the_paper_shrinks_as_published() -> None:
    with torch.device("meta"):
        layers = dict(S3DG().endpoints(torch.empty(1, 16, 224, 224, 3)))
    assert {name: tuple(layers[name].shape[1:]) for name in ("Conv2d_2c_3x3", "Mixed_3c", "Mixed_4f", "Mixed_5c")} == {
        "Conv2d_2c_3x3": (8, 56, 56, 192),
        "Mixed_3c": (8, 28, 28, 480),
        "Mixed_4f": (4, 14, 14, 832),
        "Mixed_5c": (2, 7, 7, 1024),
    }


def test_stem_of_released_weights_takes_2x2x2_pixels_as_channels() -> None:
    with torch.device("meta"):
        net = S3DG(space_to_depth=True)
        layers = dict(net.endpoints(torch.empty(1, 16, 224, 224, 3)))
    assert net.layers[0].conv.weight.shape == (64, 2 * 24, 4, 4)
    assert layers["Conv2d_1a_7x7"].shape == (1, 8, 112, 112, 64)
    assert layers["Mixed_5c"].shape == (1, 2, 7, 7, 1024)


def test_weights_begin_as_in_haiku() -> None:
    torch.manual_seed(0)
    unit = Unit(24, 64, kernel=4, taps=2, gated=True)
    for weight in (unit.conv.weight, unit.gate.weight):
        deviation = weight[0].numel() ** -0.5
        assert weight.abs().max() <= 2 * deviation
        assert float(weight.detach().std()) == pytest.approx(0.8796 * deviation, rel=0.03)  # of a normal cut off at 2
    assert not unit.gate.bias.any()


def test_fold_orders_channels_by_time_row_column_colour() -> None:
    video = np.arange(4 * 2 * 6 * 3, dtype=np.float32).reshape(1, 4, 2, 6, 3)
    folded = fold(tensor(video)).numpy()
    assert folded.shape == (1, 2, 1, 3, 24)
    for dt, dh, dw, colour in np.ndindex(2, 2, 2, 3):
        channel = ((dt * 2 + dh) * 2 + dw) * 3 + colour
        assert folded[0, 1, 0, 2, channel] == video[0, 2 + dt, dh, 4 + dw, colour]


def test_a_narrow_net_trains_and_rows_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    net, video = S3DG(widen=1 / 8), torch.rand(3, 4, 32, 32, 3)
    assert net.width == net(video).shape[1] == 128
    net.eval()
    torch.testing.assert_close(net(video)[1:2], net(video[1:2]))
    net.train()(video).square().sum().backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in net.parameters())


@pytest.mark.parametrize(
    "video", [torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8, 1), torch.zeros(1, 4, 8, 8, 3).byte()]
)
def test_what_is_no_clip_is_refused(video: Tensor) -> None:
    with pytest.raises(BadData, match=r"clips must be \(B, T, H, W, 3\)"):
        S3DG(widen=1 / 16)(video)


def test_odd_sizes_cannot_be_folded() -> None:
    with pytest.raises(BadData, match="even sizes, not 3 frames of 8x8"):
        S3DG(widen=1 / 16, space_to_depth=True)(torch.zeros(1, 3, 8, 8, 3))


def test_a_net_without_channels_is_refused() -> None:
    with pytest.raises(BadSpec, match="at least 1/16"):
        S3DG(widen=1 / 32)
