"""S3D-G: an Inception network over clips, its convolutions split into space and time, its channels gated.

Xie et al. 2018, Rethinking Spatiotemporal Feature Learning, arXiv:1712.04851, as used by Alayrac et al. 2020,
Self-Supervised MultiModal Versatile Networks, arXiv:2006.16228.
Reference: google-deepmind/deepmind-research, mmv/models/s3d.py, Apache-2.0. Layers are named as there.
Deviates: batch normalisation keeps PyTorch's running averages (unbiased variance, starting from 0 and 1; the reference
keeps the biased variance and removes the bias of the start). Decay 0.9 there is momentum 0.1 here.
Shapes: B clips, T frames, H rows, W columns, C channels.
"""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from quiver.encoders.mmv.same import FrameConv, MaxPool, TimeConv, begin, norm_relu
from quiver.errors import BadData, BadSpec

#: Channels of each Mixed block: of branch 0, of the two convolutions of branch 1, of those of branch 2, of branch 3.
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
#: Pools, by the block that follows them: kernel and stride.
POOLS = {
    "Mixed_3b": ("MaxPool_3a_3x3", (1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ("MaxPool_4a_3x3", (3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ("MaxPool_5a_2x2", (2, 2, 2), (2, 2, 2)),
}


class Unit(nn.Module):
    """Convolution, normalisation, ReLU; then, if separable, the same over time; then, if gated, the gate.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: rows and columns.
        stride: of rows and columns, and of time where it is convolved at all.
        time: frames of the convolution over time; 0 for none.
        taps: frames that the first convolution sees at once.
        gated: weigh each channel by a sigmoid of all channels' means over the clip.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        time: int = 0,
        taps: int = 1,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.conv = FrameConv(inputs, outputs, kernel=kernel, stride=stride, taps=taps)
        self.norm = nn.BatchNorm1d(outputs)
        if time:
            self.conv_1 = TimeConv(outputs, outputs, kernel=time, stride=stride)
            self.norm_1 = nn.BatchNorm1d(outputs)
        self.gate = Gate(outputs) if gated else nn.Identity()
        self.separable = time > 0

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        """Map (B, T, H, W, inputs) to (B, T', H', W', outputs)."""
        x = norm_relu(self.norm, self.conv(x_BTHWC))
        if self.separable:
            x = norm_relu(self.norm_1, self.conv_1(x))
        return self.gate(x)


class Gate(nn.Linear):
    """Self-gating: x * sigmoid(W mean(x) + b), the mean over time, rows and columns."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def reset_parameters(self) -> None:
        """Start as Haiku does."""
        begin(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        """Weigh the channels of (B, T, H, W, C)."""
        weights_BC = super().forward(x_BTHWC.mean((1, 2, 3)))
        return x_BTHWC * torch.sigmoid(weights_BC)[:, None, None, None]


class Mixed(nn.Module):
    """Four views of one input, side by side: a pixel, two neighbourhoods in space and time, and their largest values.

    Args:
        inputs: channels in.
        channels: as in ``MIXED``.
        time: frames of the convolutions over time.
        gated: gate what each branch gives.
    """

    def __init__(
        self, inputs: int, channels: tuple[int, int, int, int, int, int], *, time: int = 3, gated: bool = True
    ) -> None:
        super().__init__()
        zero, one_a, one_b, two_a, two_b, three = channels
        self.Branch_0_Conv2d_0a_1x1 = Unit(inputs, zero, gated=gated)
        self.Branch_1_Conv2d_0a_1x1 = Unit(inputs, one_a)
        self.Branch_1_Conv2d_0b_3x3 = Unit(one_a, one_b, kernel=3, time=time, gated=gated)
        self.Branch_2_Conv2d_0a_1x1 = Unit(inputs, two_a)
        self.Branch_2_Conv2d_0b_3x3 = Unit(two_a, two_b, kernel=3, time=time, gated=gated)
        self.pool = MaxPool((3, 3, 3), (1, 1, 1))
        self.Branch_3_Conv2d_0b_1x1 = Unit(inputs, three, gated=gated)
        self.width = zero + one_b + two_b + three

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        """Map (B, T, H, W, inputs) to (B, T, H, W, width)."""
        branches = (
            self.Branch_0_Conv2d_0a_1x1(x_BTHWC),
            self.Branch_1_Conv2d_0b_3x3(self.Branch_1_Conv2d_0a_1x1(x_BTHWC)),
            self.Branch_2_Conv2d_0b_3x3(self.Branch_2_Conv2d_0a_1x1(x_BTHWC)),
            self.Branch_3_Conv2d_0b_1x1(self.pool(x_BTHWC)),
        )
        return torch.cat(branches, -1)


class S3DG(nn.Module):
    """The tower: a clip in, one vector out.

    Args:
        widen: factor on all channels; below 1 it makes a net for a CPU.
        space_to_depth: fold 2x2x2 pixels into channels before the first convolution, as the released weights want.
            The clip's three sizes must then be even.

    Attributes:
        width: of the vector; 1024 at full size.

    Raises:
        BadSpec: no channel is left.
    """

    def __init__(self, *, widen: float = 1.0, space_to_depth: bool = False) -> None:
        super().__init__()
        if not widen >= 1 / 16:  # 16 is the fewest channels there are
            raise BadSpec(f"s3d widen must be at least 1/16, not {widen}")
        stem, middle = round(64 * widen), round(192 * widen)
        first = Unit(24, stem, kernel=4, taps=2) if space_to_depth else Unit(3, stem, kernel=7, stride=2, taps=7)
        layers: OrderedDict[str, nn.Module] = OrderedDict(Conv2d_1a_7x7=first)
        layers["MaxPool_2a_3x3"] = MaxPool((1, 3, 3), (1, 2, 2))
        layers["Conv2d_2b_1x1"] = Unit(stem, stem)
        layers["Conv2d_2c_3x3"] = Unit(stem, middle, kernel=3, time=3, gated=True)
        self.width = middle
        for name, channels in MIXED.items():
            if name in POOLS:
                pool, kernel, stride = POOLS[name]
                layers[pool] = MaxPool(kernel, stride)
            zero, one_a, one_b, two_a, two_b, three = (round(channel * widen) for channel in channels)
            layers[name] = block = Mixed(self.width, (zero, one_a, one_b, two_a, two_b, three))
            self.width = block.width
        self.layers = nn.Sequential(layers)
        self.space_to_depth = space_to_depth

    def forward(self, video_BTHWC: Tensor) -> Tensor:
        """Embed clips.

        Args:
            video_BTHWC: (B, T, H, W, 3) float, 0 to 1.

        Returns:
            (B, width) float32: the mean over time, rows and columns of the last block.

        Raises:
            BadData: the clips cannot be read so.
        """
        return self.layers(self._input(video_BTHWC)).mean((1, 2, 3), dtype=torch.float32)

    def endpoints(self, video_BTHWC: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the name of each layer and what it gives, (B, T', H', W', C)."""
        x = self._input(video_BTHWC)
        for name, layer in self.layers.named_children():
            x = layer(x)
            yield name, x

    def _input(self, video_BTHWC: Tensor) -> Tensor:
        return fold(check_clips(video_BTHWC)) if self.space_to_depth else check_clips(video_BTHWC)


def check_clips(video_BTHWC: Tensor) -> Tensor:
    """Refuse what is not a batch of coloured clips in floating point."""
    if video_BTHWC.ndim != 5 or video_BTHWC.shape[-1] != 3 or not video_BTHWC.is_floating_point():
        given = f"{tuple(video_BTHWC.shape)} {video_BTHWC.dtype}"
        raise BadData(f"clips must be (B, T, H, W, 3) in floating point from 0 to 1, not {given}")
    return video_BTHWC


def fold(video_BTHWC: Tensor) -> Tensor:
    """Fold 2x2x2 pixels into channels, in the order time, row, column, colour.

    Raises:
        BadData: a size is odd.
    """
    frames, rows, columns = video_BTHWC.shape[1:4]
    if frames % 2 or rows % 2 or columns % 2:
        raise BadData(f"space_to_depth needs even sizes, not {frames} frames of {rows}x{columns}")
    parts = video_BTHWC.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    return parts.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4)
