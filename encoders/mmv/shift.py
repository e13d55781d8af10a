"""The temporal shift: a few channels of each frame come from the next one, a few from the one before.

Lin et al. 2019, TSM: Temporal Shift Module, arXiv:1811.08383, as used by Alayrac et al. 2020, arXiv:2006.16228.
Reference: google-deepmind/deepmind-research, mmv/models/tsm_utils.py, Apache-2.0, where the shifted blocks of channels
also change places: [last n, of the next frame | middle | first n, of the frame before].
Deviates: refuses fewer channels than 1 / fraction, where the reference returns an empty tensor.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from quiver.errors import BadSpec


class Shift(nn.Module):
    """The shift as a layer.

    Args:
        channels: of its input.
        fraction: of them that is shifted each way, at most 1/2.

    Attributes:
        static: let the blocks change places but stay in their frames, which is the same for a clip that stands still.

    Raises:
        BadSpec: the fraction is not in (0, 1/2], or not one channel would be shifted.
    """

    def __init__(self, channels: int, fraction: float) -> None:
        super().__init__()
        if not 0 < fraction <= 0.5:
            raise BadSpec(f"shift must be in (0, 1/2], not {fraction}")
        self.count, self.static = int(channels * fraction), False
        if not self.count:
            raise BadSpec(
                f"shift={fraction:g} of {channels} channels is none: give at least {1 / fraction:.0f} channels"
            )

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        """Shift (B, T, H, W, C); what comes from outside the clip is 0."""
        return swapped(x_BTHWC, self.count) if self.static else shifted(x_BTHWC, self.count)


def shifted(x_BTHWC: Tensor, count: int) -> Tensor:
    """Put ``count`` channels of the next frame in front and as many of the frame before at the end."""
    return cast(Tensor, _Shifted.apply(x_BTHWC, count))


def swapped(x_BTHWC: Tensor, count: int) -> Tensor:
    """Let the first and the last ``count`` channels change places."""
    return torch.cat([x_BTHWC[..., -count:], x_BTHWC[..., count:-count], x_BTHWC[..., :count]], -1)


class _Shifted(torch.autograd.Function):
    """The shift, which is its own transpose: twice to three times as fast, forth and back, as slices put together."""

    @staticmethod
    def forward(context: Any, x_BTHWC: Tensor, count: int) -> Tensor:
        context.count = count
        y = x_BTHWC.clone(memory_format=torch.contiguous_format)
        y[:, :-1, :, :, :count] = x_BTHWC[:, 1:, :, :, -count:]
        y[:, 1:, :, :, -count:] = x_BTHWC[:, :-1, :, :, :count]
        y[:, -1, :, :, :count] = 0
        y[:, 0, :, :, -count:] = 0
        return y

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return shifted(gradients[0], context.count), None
