"""Deflation: a video tower for single pictures, at the price of one frame.

Alayrac et al. 2020, Self-Supervised MultiModal Versatile Networks, arXiv:2006.16228. The authors published no code for
it; the paper's summaries say: sum each kernel over its frames (S3D-G), switch the shift off (TSM), then learn new scale
and offset of the normalisation so that a picture gives what a clip of it standing still gives. The difference that is
left to learn comes from the ends of the clip, where the network sees zeros, and from what gates spread from there.
Deviates: steps, rate and pictures of that training are not known; the defaults are ours. Without the shift, its blocks
of channels still change places, since the weights behind them expect that.
Shapes: B pictures, T frames, H rows, W columns.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor, nn

from quiver.encoders.mmv.s3d import S3DG
from quiver.encoders.mmv.same import FrameConv, TimeConv
from quiver.encoders.mmv.shift import Shift
from quiver.encoders.mmv.tsm import TSMResNet
from quiver.errors import BadData

#: A batch of pictures, and what the tower makes of them standing still.
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far the deflated tower was from the tower on clips that stand still.

    Attributes:
        before: mean absolute difference of a component, before.
        after: likewise, after; never more than before.
    """

    before: float
    after: float


class Deflated(nn.Module):
    """A video tower that takes pictures; its weights are its own.

    Args:
        tower: the one to deflate, which stays as it is.

    Attributes:
        width: of the vector.
    """

    def __init__(self, tower: S3DG | TSMResNet) -> None:
        super().__init__()
        self.tower, self.width = deepcopy(tower), tower.width
        # The fold of released S3D weights needs two frames to make one.
        self.frames = 2 if isinstance(tower, S3DG) and tower.space_to_depth else 1
        for part in self.tower.modules():
            if isinstance(part, FrameConv | TimeConv):
                part.deflate()
            elif isinstance(part, Shift):
                part.static = True

    def forward(self, image_BHWC: Tensor) -> Tensor:
        """Embed pictures, (B, H, W, 3) float from 0 to 1, as (B, width)."""
        return self.tower(still(image_BHWC, self.frames))


def still(image_BHWC: Tensor, frames: int) -> Tensor:
    """Return clips (B, T, H, W, 3) of pictures that stand still.

    Raises:
        BadData: not a batch of pictures.
    """
    if image_BHWC.ndim != 4:
        raise BadData(f"pictures must be (B, H, W, 3), not {tuple(image_BHWC.shape)}")
    return image_BHWC[:, None].expand(-1, frames, -1, -1, -1)


def calibrate(
    deflated: Deflated,
    tower: S3DG | TSMResNet,
    images: Iterable[Tensor],
    *,
    frames: int = 32,
    steps: int = 300,
    rate: float = 1e-3,
) -> Calibration:
    """Learn scale and offset of the deflated tower's normalisation, in place, and nothing else.

    Minimises the mean of |deflated(picture) - tower(clip of the picture)| with Adam, running averages as they are.

    Args:
        deflated: what learns; left in eval mode.
        tower: the tower it was made from, left in eval mode.
        images: batches (B, H, W, 3) on the towers' device, of which at most ``steps`` are read, kept, and taken
            in turn.
        frames: T of the clips.
        steps: of Adam.
        rate: learning rate.

    Returns:
        The distances, over the pictures learnt from. If learning did not bring the two nearer it is undone.

    Raises:
        BadData: there are no pictures.
    """
    deflated.eval()
    pairs = list(_pairs(tower.eval(), islice(images, steps), frames))
    if not pairs:
        raise BadData("calibration needs at least one batch of pictures and one step")
    learnt = list(_affine(deflated))
    start = [parameter.detach().clone() for parameter in learnt]
    before = _distance(deflated, pairs)
    _descend(deflated, learnt, islice(cycle(pairs), steps), rate=rate)
    after = _distance(deflated, pairs)
    if after < before:
        return Calibration(before, after)
    for parameter, value in zip(learnt, start, strict=True):
        parameter.data.copy_(value)
    return Calibration(before, before)


def _affine(module: nn.Module) -> Iterator[nn.Parameter]:
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            yield from part.parameters(recurse=False)


@torch.no_grad()
def _pairs(tower: nn.Module, images: Iterable[Tensor], frames: int) -> Iterator[Pair]:
    for image_BHWC in images:
        yield image_BHWC, tower(still(image_BHWC, frames))


@torch.no_grad()
def _distance(deflated: Deflated, pairs: list[Pair]) -> float:
    total = sum(float((deflated(image) - target).abs().sum()) for image, target in pairs)
    return total / sum(target.numel() for _, target in pairs)


def _descend(deflated: Deflated, learnt: list[nn.Parameter], pairs: Iterator[Pair], *, rate: float) -> None:
    """Step along the gradient of ``learnt`` alone, whichever parameters want one before and after."""
    wanted = {parameter: parameter.requires_grad for parameter in deflated.parameters()}
    deflated.requires_grad_(False)
    for parameter in learnt:
        parameter.requires_grad_()
    optimiser = torch.optim.Adam(learnt, lr=rate)
    with torch.enable_grad():
        for image_BHWC, target in pairs:
            optimiser.zero_grad()
            (deflated(image_BHWC) - target).abs().mean().backward()
            optimiser.step()
    optimiser.zero_grad()
    for parameter, flag in wanted.items():
        parameter.requires_grad_(flag)
