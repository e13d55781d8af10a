"""Pre-activation residual networks (v2) over frames: the audio tower, and what the video tower TSM is made of.

He et al. 2016, Identity Mappings in Deep Residual Networks, arXiv:1603.05027, as used by Alayrac et al. 2020,
Self-Supervised MultiModal Versatile Networks, arXiv:2006.16228.
Reference: google-deepmind/deepmind-research, mmv/models/resnet.py and tsm_resnet.py, Apache-2.0. Its depth 18 begins
each block with a 1x1 convolution where the original has 3x3; so does ours, or released weights would not fit.
Deviates: batch normalisation keeps PyTorch's running averages (unbiased variance, starting from 0 and 1; the reference
keeps the biased variance and removes the bias of the start). Decay 0.9 there is momentum 0.1 here.
Shapes: B clips or sounds, T frames, H rows, W columns, C channels; of a sound, F mel bands.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from quiver.encoders.mmv.same import FrameConv, MaxPool, norm_relu
from quiver.encoders.mmv.shift import Shift
from quiver.errors import BadData, BadSpec


class Stage(NamedTuple):
    """Blocks of one size; from the second stage on, the first of them halves rows and columns.

    Attributes:
        blocks: how many.
        width: channels they pass on.
        inner: channels between their three convolutions 1x1, 3x3, 1x1; 0 for blocks of two, 1x1 and 3x3.
    """

    blocks: int
    width: int
    inner: int


class Stem(NamedTuple):
    """The first convolution, which has no normalisation.

    Attributes:
        width: channels.
        kernel: rows and columns.
        stride: likewise.
        pool: take the largest of 3x3 at stride 2 afterwards.
    """

    width: int = 64
    kernel: int = 7
    stride: int = 2
    pool: bool = True


#: The networks of the papers, by depth.
DEPTHS = {
    18: (Stage(2, 64, 0), Stage(2, 128, 0), Stage(2, 256, 0), Stage(2, 512, 0)),
    50: (Stage(3, 256, 64), Stage(4, 512, 128), Stage(6, 1024, 256), Stage(3, 2048, 512)),
}
#: Networks for a CPU, 64 wide with ``SMALL_STEM``: of 20 thousand weights for sound, and of 37 thousand for frames, of
#: which there are so many that most of the time would go into what has their full size.
SMALL = (Stage(1, 16, 8), Stage(1, 32, 16), Stage(1, 64, 32))
SMALL_FRAMES = (Stage(0, 16, 0), Stage(2, 32, 16), Stage(2, 64, 32))
SMALL_STEM = Stem(16, 5, 2, pool=False)


class Block(nn.Module):
    """x + f(relu(norm(x))), where f sees neighbouring frames if there is a shift.

    Where size or width change, the first x is a 1x1 convolution of relu(norm(x)), which is not shifted.

    Args:
        inputs: channels in.
        width: channels out.
        inner: as in ``Stage``.
        stride: of the 3x3 convolution.
        shift: fraction of channels shifted each way; 0 for none.
    """

    def __init__(self, inputs: int, width: int, *, inner: int, stride: int = 1, shift: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs)
        self.shortcut = FrameConv(inputs, width, stride=stride) if (inputs, stride) != (width, 1) else None
        self.shift = Shift(inputs, shift) if shift else nn.Identity()
        first = inner or width
        self.conv_0 = FrameConv(inputs, first)
        self.norm_1 = nn.BatchNorm1d(first)
        self.conv_1 = FrameConv(first, first, kernel=3, stride=stride)
        if inner:
            self.norm_2 = nn.BatchNorm1d(inner)
            self.conv_2 = FrameConv(inner, width)
        self.bottleneck = inner > 0

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        """Map (B, T, H, W, inputs) to (B, T, H', W', width)."""
        ready = norm_relu(self.norm, x_BTHWC)
        y = self.conv_0(self.shift(ready))
        y = self.conv_1(norm_relu(self.norm_1, y))
        if self.bottleneck:
            y = self.conv_2(norm_relu(self.norm_2, y))
        return y + (x_BTHWC if self.shortcut is None else self.shortcut(ready))


class ResNet(nn.Module):
    """The tower for sound: log-mel in, one vector out.

    Args:
        depth: 18 or 50, used where no stages are given.
        widen: factor on all channels.
        stages: another network; see ``SMALL``.
        stem: its beginning; see ``SMALL_STEM``.
        inputs: channels of the input.
        shift: fraction of channels shifted each way in every block; 0 for none.

    Attributes:
        width: of the vector.

    Raises:
        BadSpec: no such depth, no stage, or fewer channels than can be shifted.
    """

    def __init__(
        self,
        *,
        depth: int = 50,
        widen: int = 1,
        stages: Sequence[Stage] | None = None,
        stem: Stem = Stem(),  # noqa: B008 - a tuple
        inputs: int = 1,
        shift: float = 0.0,
    ) -> None:
        super().__init__()
        if stages is None and depth not in DEPTHS:
            raise BadSpec(f"resnet depth must be {' or '.join(map(str, DEPTHS))}, not {depth}")
        chosen = DEPTHS[depth] if stages is None else stages
        if not chosen:
            raise BadSpec("resnet stages must hold at least one stage")
        self.width = stem.width * widen
        self.stem = FrameConv(inputs, self.width, kernel=stem.kernel, stride=stem.stride)
        self.pool = MaxPool((1, 3, 3), (1, 2, 2)) if stem.pool else nn.Identity()
        self.stages = nn.ModuleList()
        for number, (blocks, width, inner) in enumerate(chosen):
            stage = Stage(blocks, width * widen, inner * widen)
            self.stages.append(build(self.width, stage, stride=2 if number else 1, shift=shift))
            self.width = stage.width
        self.norm = nn.BatchNorm1d(self.width)

    def forward(self, mel_BTF1: Tensor) -> Tensor:
        """Embed sounds.

        Args:
            mel_BTF1: (B, T, F, 1) float, as ``logmel`` gives it with a last axis.

        Returns:
            (B, width) float32: the mean over time and bands.

        Raises:
            BadData: they are not of that form.
        """
        if mel_BTF1.ndim != 4 or mel_BTF1.shape[-1] != 1:
            raise BadData(f"sounds must be (B, T, F, 1) log-mel, not {tuple(mel_BTF1.shape)}")
        return self.last(mel_BTF1[:, None]).mean((1, 2, 3), dtype=torch.float32)

    def last(self, x_BTHWC: Tensor) -> Tensor:
        """Return what is averaged in the end: (B, T, H', W', width), normalised and not negative."""
        _, x = deque(self.endpoints(x_BTHWC), maxlen=1).pop()  # the last, while those before are let go
        return norm_relu(self.norm, x)

    def endpoints(self, x_BTHWC: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield ``stem``, ``stages.0`` ... and what they give, (B, T, H', W', C), before the last normalisation."""
        x = self.pool(self.stem(x_BTHWC))
        yield "stem", x
        for number, stage in enumerate(self.stages):
            x = stage(x)
            yield f"stages.{number}", x


def build(inputs: int, stage: Stage, *, stride: int, shift: float = 0.0) -> nn.Sequential:
    """Build the blocks of a stage, the first of which has the stride."""
    blocks: list[Block] = []
    for number in range(stage.blocks):
        step = 1 if number else stride
        given = stage.width if number else inputs
        blocks.append(Block(given, stage.width, inner=stage.inner, stride=step, shift=shift))
    return nn.Sequential(*blocks)
