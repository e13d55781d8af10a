"""The projection heads of MMV: from a tower's features into a space, and from the fine space into the coarse one.

Alayrac et al. 2020, "Self-supervised multimodal versatile networks", arXiv:2006.16228.
Reference: google-deepmind/deepmind-research, mmv/models/mm_embeddings.py, Apache-2.0.
Deviates: running variances are PyTorch's, of the unbiased batch variance and starting at 1, where Haiku averages the
biased one from nothing; the outputs in training and in evaluation with given statistics are the same.
Shapes: B rows, F features, D width of a space.
"""

import math

from torch import Tensor, nn
from torch.nn.functional import normalize, relu


def norm(width: int) -> nn.BatchNorm1d:
    """Return a batch normalisation with the reference's numbers: decay 0.9, epsilon 1e-5, scale and offset learnt."""
    return nn.BatchNorm1d(width, eps=1e-5, momentum=0.1)


class VideoHead(nn.Module):
    """Linear, BN, ReLU, Linear, BN; the second Linear has no bias, which BN would take away."""

    def __init__(self, width: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.inner_norm = norm(hidden)
        self.outer = nn.Linear(hidden, dim, bias=False)
        self.outer_norm = norm(dim)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Map (B, F) to (B, D)."""
        return self.outer_norm(self.outer(relu(self.inner_norm(self.inner(features_BF)))))


class CoarseHead(nn.Module):
    """ReLU, Linear, BN: from the fine space to the coarse one, the same weights for video and audio.

    With ``unit``, fine vectors first get the length sqrt(D): then their direction alone decides, and a vector that an
    index keeps at unit length goes exactly where the original would have gone. Without, as in the paper, the length
    counts too, and only ``embed`` can go there.
    """

    def __init__(self, fine: int, dim: int, *, unit: bool) -> None:
        super().__init__()
        self.unit = unit
        self.linear = nn.Linear(fine, dim)
        self.norm = norm(dim)

    def forward(self, fine_BD: Tensor) -> Tensor:
        """Map (B, fine) to (B, D)."""
        if self.unit:
            fine_BD = math.sqrt(fine_BD.shape[1]) * normalize(fine_BD, dim=1)
        return self.norm(self.linear(relu(fine_BD)))
