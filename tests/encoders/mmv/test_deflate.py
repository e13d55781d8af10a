"""A picture through the deflated tower against a clip of it standing still."""

import numpy as np
import pytest
import torch
from tests.encoders.mmv.golden import distance, fill, load, tensor
from torch import Tensor, nn

from quiver.encoders.mmv.deflate import Deflated, calibrate, still
from quiver.encoders.mmv.resnet import SMALL, SMALL_STEM, Block
from quiver.encoders.mmv.s3d import S3DG, Mixed, Unit
from quiver.encoders.mmv.same import FrameConv, TimeConv
from quiver.encoders.mmv.tsm import TSMResNet
from quiver.errors import BadData

GOLDEN = load("tsm_blocks")
IMAGE = tensor(GOLDEN["deflation/in/image"])[:, None]


def vary(net: nn.Module) -> nn.Module:
    """Give the normalisation something to do, then fix it."""
    torch.manual_seed(1)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.uniform_(part.weight, 0.75, 1.25)
            nn.init.uniform_(part.bias, -0.2, 0.2)
            nn.init.uniform_(part.running_mean, -0.1, 0.1)
            nn.init.uniform_(part.running_var, 0.6, 1.4)
    return net.eval()


def tower(kind: str) -> S3DG | TSMResNet:
    torch.manual_seed(0)
    nets = {
        "s3d": lambda: S3DG(widen=1 / 8),
        "s3d_folded": lambda: S3DG(widen=1 / 8, space_to_depth=True),
        "tsm": lambda: TSMResNet(stages=SMALL, stem=SMALL_STEM),
    }
    return vary(nets[kind]())


KINDS = ("s3d", "s3d_folded", "tsm")


def block(*, shift: float = 1 / 8) -> Block:
    return fill(Block(32, 32, inner=8, shift=shift), GOLDEN, "block_identity", root="TSMResNetBlock")


def test_clip_standing_still_equals_the_reference() -> None:
    ours = block()(IMAGE.expand(-1, 5, -1, -1, -1))[0]
    assert distance(ours, GOLDEN["deflation/out/static_clip_T5_shift_on_all_frames"]) < 1e-5


def test_without_the_shift_but_with_the_swap_a_picture_equals_the_frames_inside() -> None:
    static, frames = block(), GOLDEN["deflation/out/static_clip_T5_shift_on_all_frames"]
    static.shift.static = True
    ours = static(IMAGE)[0]
    assert [distance(ours, frames[t : t + 1]) < 1e-5 for t in range(5)] == [False, True, True, True, False]


def test_without_the_swap_it_would_be_another_picture() -> None:
    ours = block(shift=0)(IMAGE)[0]
    assert distance(ours, GOLDEN["deflation/out/official_frac0_on_image"]) < 1e-5
    assert distance(ours, GOLDEN["deflation/out/static_clip_T5_shift_on_all_frames"][2:3]) > 0.2


LAYERS = {
    "stem": (lambda: FrameConv(3, 4, kernel=3, stride=1, taps=3), 3),
    "time": (lambda: TimeConv(3, 4, kernel=3), 3),
    "unit": (lambda: vary(Unit(3, 4, kernel=3, time=3)), 3),
    "mixed": (lambda: vary(Mixed(9, (8, 6, 10, 4, 7, 5), gated=False)), 9),
}


def deflated(layer: nn.Module) -> nn.Module:
    for part in layer.modules():
        if isinstance(part, FrameConv | TimeConv):
            part.deflate()
    return layer


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_layers_agree_inside_the_clip_and_differ_at_its_ends(name: str) -> None:
    make, channels = LAYERS[name]
    torch.manual_seed(0)
    layer, image = make(), torch.rand(2, 6, 7, channels)
    clip = layer(still(image, 5))
    longer = layer(still(image, 9))[:, 2:-2]  # a clip whose ends are repeated rather than zero
    picture = deflated(layer)(still(image, 1))
    near = [torch.allclose(clip[:, t], picture[:, 0], atol=1e-5) for t in range(5)]
    assert near == [False, True, True, True, False]
    torch.testing.assert_close(longer, picture.expand_as(longer), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_gates_carry_the_ends_into_the_whole_clip() -> None:
    torch.manual_seed(0)
    unit, image = vary(Unit(3, 4, kernel=3, time=3, gated=True)), torch.rand(2, 6, 7, 3)
    clip = unit(still(image, 5))
    inside = (clip[:, 2] - deflated(unit)(still(image, 1))[:, 0]).abs().max()
    assert 1e-4 < inside < 0.1


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_longer_a_clip_stands_still_the_nearer_the_picture(kind: str) -> None:
    net, image = tower(kind), torch.rand(2, 32, 32, 3)
    picture = Deflated(net)(image)
    assert picture.shape == (2, net.width)
    far = [float((net(still(image, frames)) - picture).abs().mean()) for frames in (8, 32, 128)]
    assert far[0] > far[1] > far[2] > 0
    assert far[2] < 0.2 * far[0]


@pytest.mark.parametrize("kind", KINDS)
def test_deflation_leaves_the_tower_as_it_is(kind: str) -> None:
    net = tower(kind)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    video = torch.rand(1, 4, 16, 16, 3)
    expected = net(video)
    Deflated(net)(video[:, 0]).sum().backward()
    assert torch.equal(net(video), expected)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_calibration_brings_pictures_nearer_by_scale_and_offset_alone(kind: str) -> None:
    net = tower(kind)
    net.requires_grad_(False)  # as a loaded model is
    picture = Deflated(net)
    before = {name: value.clone() for name, value in picture.state_dict().items()}
    images = [torch.rand(4, 16, 16, 3) * torch.rand(4, 1, 1, 3) for _ in range(3)]
    found = calibrate(picture, net, iter(images), frames=6, steps=40, rate=3e-3)
    assert found.after < 0.7 * found.before
    with torch.no_grad():
        truth = np.mean([float((picture(image) - net(still(image, 6))).abs().mean()) for image in images])
    assert found.after == pytest.approx(truth, rel=1e-5)
    changed = {name for name, value in picture.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.split(".")[-2].startswith("norm") and name.endswith(("weight", "bias")) for name in changed)
    assert not any(parameter.requires_grad for parameter in picture.parameters())


def test_calibration_that_does_harm_is_undone() -> None:
    net = tower("tsm")
    picture, image = Deflated(net), torch.rand(4, 16, 16, 3)
    before = {name: value.clone() for name, value in picture.state_dict().items()}
    found = calibrate(picture, net, [image], frames=6, steps=3, rate=10.0)
    assert found.after == found.before > 0
    assert all(torch.equal(value, before[name]) for name, value in picture.state_dict().items())


@pytest.mark.parametrize(("images", "steps"), [([], 10), ([torch.rand(1, 16, 16, 3)], 0)])
def test_calibration_needs_pictures_and_steps(images: list[Tensor], steps: int) -> None:
    net = tower("tsm")
    with pytest.raises(BadData, match="at least one batch"):
        calibrate(Deflated(net), net, images, steps=steps)


def test_a_single_picture_without_its_batch_is_refused() -> None:
    with pytest.raises(BadData, match=r"pictures must be \(B, H, W, 3\), not \(16, 16, 3\)"):
        Deflated(tower("tsm"))(torch.rand(16, 16, 3))
