"""Names and layouts of released weights."""

import numpy as np
import pytest
from tests.encoders.mmv.golden import load
from tests.encoders.mmv.hashed import hashed_tree

from quiver.encoders.mmv.resnet import ResNet
from quiver.encoders.mmv.s3d import S3DG
from quiver.encoders.mmv.weights import from_haiku, rename, to_torch
from quiver.errors import BadData

S3D = load("s3d_full")


@pytest.mark.parametrize(
    ("theirs", "root", "ours"),
    [
        ("S3D/Conv2d_2c_3x3/~/conv3_d_1/w", "S3D", "layers.Conv2d_2c_3x3.conv_1.weight"),
        ("top/visual_module/~/S3D/Conv2d_2c_3x3/__cross_replica_batch_norm_1/scale", "S3D",
         "layers.Conv2d_2c_3x3.norm_1.weight"),
        ("S3D/Mixed_3b/Branch_0_Conv2d_0a_1x1/self_gating/b", "S3D",
         "layers.Mixed_3b.Branch_0_Conv2d_0a_1x1.gate.bias"),
        ("S3D/Mixed_5c/Branch_2_Conv2d_0b_3x3/__batch_norm/~/var_ema/average", "S3D",
         "layers.Mixed_5c.Branch_2_Conv2d_0b_3x3.norm.running_var"),
        ("TSMResNetV2/tsm_resnet_unit_2/block_5/shortcut_conv/w", "TSMResNetV2", "stages.2.5.shortcut.weight"),
        ("TSMResNetV2/tsm_resnet_stem/w", "TSMResNetV2", "stem.weight"),
        ("a/~/res_net_v2/~/block_group_3/block_1/~/conv_0/w", "res_net_v2", "stages.3.1.conv_0.weight"),
        ("a/~/res_net_v2/__batch_norm/offset", "res_net_v2", "norm.bias"),
    ],
)  # fmt: skip
def test_names_are_translated(theirs: str, root: str, ours: str) -> None:
    assert rename(theirs, root=root) == ours


def test_frames_seen_at_once_lie_earliest_first() -> None:
    theirs = np.random.default_rng(0).normal(size=(7, 3, 2, 4, 5)).astype(np.float32)  # T H W I O
    ours = to_torch("stem/w", theirs).numpy()
    for t, h, w, i, o in np.ndindex(theirs.shape):
        assert ours[o, t * 4 + i, h, w] == theirs[t, h, w, i, o]


def test_a_kernel_over_time_has_its_frames_in_rows() -> None:
    theirs = np.random.default_rng(0).normal(size=(3, 1, 1, 4, 5)).astype(np.float32)
    ours = to_torch("conv3_d_1/w", theirs).numpy()
    for t, i, o in np.ndindex(3, 4, 5):
        assert ours[o, i, t, 0] == theirs[t, 0, 0, i, o]


def test_towers_come_out_of_one_tree_complete_and_of_their_own_module() -> None:
    audio, params, state = load("tsm_audio_full_hashed"), {}, {}
    for tree, kind in ((params, "param"), (state, "state")):
        s3d = hashed_tree(S3D[f"meta/{kind}_names"], S3D[f"meta/{kind}_shapes"])
        sound = hashed_tree(audio[f"audio_resnet18/meta/{kind}_names"], audio[f"audio_resnet18/meta/{kind}_shapes"])
        tree.update({f"top/visual_module/~/{name}": array for name, array in s3d.items()})
        tree.update({f"top/audio_module/~/{name}": array for name, array in sound.items()})
    for root, net in (("S3D", S3DG()), ("res_net_v2", ResNet(depth=18))):
        net.load_state_dict(from_haiku(params, state, root=root), strict=True)


def test_stem_of_released_s3d_fits() -> None:
    names = [str(name) for name in S3D["meta/param_names"]]
    shapes = [str(shape) for shape in S3D["meta/param_shapes"]]
    shapes[names.index("S3D/Conv2d_1a_7x7/~/conv3_d/w")] = "2x4x4x24x64"
    state = hashed_tree(S3D["meta/state_names"], S3D["meta/state_shapes"])
    S3DG(space_to_depth=True).load_state_dict(from_haiku(hashed_tree(names, shapes), state, root="S3D"))


def test_converted_arrays_share_no_memory_with_the_checkpoint() -> None:
    array = np.ones((1, 1, 1, 4), np.float32)
    to_torch("a/scale", array).zero_()
    assert array.sum() == 4


def test_averages_that_are_still_biased_and_counters_are_left_out() -> None:
    state = {
        f"m/__batch_norm/~/mean_ema/{kind}": np.ones((1, 2), np.float32) for kind in ("average", "hidden", "counter")
    }
    converted = from_haiku({"m/b": np.zeros(2, np.float32)}, state, root="m")
    assert converted.keys() == {"bias", "norm.running_mean", "norm.num_batches_tracked"}


def test_another_checkpoint_is_refused_by_name() -> None:
    with pytest.raises(BadData, match="no module 'TSMResNetV2': it begins with S3D"):
        from_haiku({"S3D/a/w": np.zeros((1, 1), np.float32)}, {}, root="TSMResNetV2")
    with pytest.raises(BadData, match=r"a/w has the shape \(1, 1, 1\)"):
        to_torch("a/w", np.zeros((1, 1, 1), np.float32))
