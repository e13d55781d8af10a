"""The Combiner of CLIP4Cir: a learned mixture of picture and words, plus a joint term of both.

Baldrati, Bertini, Uricchio, Del Bimbo, "Conditioned and Composed Image Retrieval Combining and Partially Fine-Tuning
CLIP-Based Features", CVPRW 2022. Reference: ABaldrati/CLIP4Cir, MIT; written from its description.
Each input is widened 4 times, both side by side go through a layer, and what comes out is
output(hidden) + lambda * words + (1 - lambda) * reference, scaled to length 1, with lambda from a perceptron's sigmoid.
It is trained with a fixed scale of 100 (``Config.temperature`` = ln 100, not learned), on features of CLIP as they are
(``Config.project`` = False).
Deviates: the features it is given have length 1, as stored vectors do.

Legend: B queries, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from quiver.encoders.artemis.config import Config
from quiver.encoders.artemis.score import Term, Terms


class Combiner(nn.Module):
    """Reference (B, D) and words (B, D) into one vector."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        dim, wide = config.dim, 8 * config.dim
        self.words = _layer(dim, 4 * dim)
        self.reference = _layer(dim, 4 * dim)
        self.hidden = _layer(wide, wide)
        self.output = nn.Linear(wide, dim)
        self.share = nn.Sequential(*_layer(wide, wide), nn.Linear(wide, 1), nn.Sigmoid())

    def forward(self, reference_BD: Tensor, words_BD: Tensor) -> Terms:
        """Return the term ``composed``."""
        both = torch.cat([self.words(words_BD), self.reference(reference_BD)], dim=1)
        mixed = reference_BD + self.share(both) * (words_BD - reference_BD)  # lerp refuses what autocast mixes
        composed = self.output(self.hidden(both)) + mixed
        return {"composed": Term(normalize(composed, dim=1))}


def _layer(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, out), nn.ReLU(), nn.Dropout(0.5))
