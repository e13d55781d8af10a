"""The change itself, past the blocks: what the pooled features of two pictures have more or less of.

Ours, for encoders of pairs that start from nothing: each feature's mean and largest value over all places of the
picture after, minus those of the picture before, go through a hidden layer and are added to both class tokens. What the
blocks find is added to that with a gain that is learnt and begins at 0, so that training begins with the vector of a
difference. Without this way past them, the blocks first have to find out that the change is a difference, and learn
scenes by their looks instead (the README has figures).
Legend: B pairs, n pictures, P patches of a picture, F features of a patch, D dim of the space; T = 2 (P + 1) tokens.
"""

import torch
from torch import Tensor, nn

from quiver.encoders.clip4idc.config import Vision


class Change(nn.Module):
    """Adds the change to the class tokens.

    Args:
        config: ``change`` hidden units, and F.
        dim: D.

    Attributes:
        spread: (2 F,) by which means and largest values are divided.
        gain: (D,) of the class tokens that the blocks give.
    """

    spread: Tensor

    def __init__(self, config: Vision, dim: int) -> None:
        super().__init__()
        self.second = config.patches + 1
        self.register_buffer("spread", torch.ones(2 * config.feature))
        self.layers = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(2 * config.feature, config.change),
            nn.GELU(),
            nn.Linear(config.change, dim),
        )
        self.gain = nn.Parameter(torch.zeros(dim))

    def measure(self, features_nPF: Tensor) -> None:
        """Take the scale from the training set's pictures."""
        self.spread.copy_(pooled(features_nPF).std(0, correction=0).clamp(min=1e-3))

    def forward(self, pictures_B2PF: Tensor, tokens_BTD: Tensor) -> Tensor:
        """Return all tokens of pairs, those of the two classes with the change."""
        before, after = (pooled(pictures_B2PF.to(self.spread.dtype)) / self.spread).unbind(dim=1)
        change_B1D = self.layers(after - before)[:, None]
        first, second = tokens_BTD.split([self.second, self.second], dim=1)
        both = ((part[:, :1] * self.gain + change_B1D, part[:, 1:]) for part in (first, second))
        return torch.cat([each for pair in both for each in pair], dim=1)


def pooled(features: Tensor) -> Tensor:
    """Return the mean and the largest value of features (..., P, F) over their places, (..., 2 F)."""
    return torch.cat([features.mean(dim=-2), features.amax(dim=-2)], dim=-1)
