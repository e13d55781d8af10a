"""How near a text and a picture are before they are read together, which is learnt first and added to the margin.

After Li et al. 2021 (ALBEF), arXiv:2107.07651: align before fusing. Ours: what is aligned are BERT's own embeddings, of
word pieces and of patches, so that the encoder starts from tokens that can be compared; the cosine stays in the score.
Shapes: B pairs, L word pieces, P patches, H width of a token, D width of the space, V pieces of the vocabulary.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from quiver.encoders.fashionbert.config import Config


class Align(nn.Module):
    """Weighted means of embedded pieces and of embedded patches, brought into one space.

    Attributes:
        rarity: (V,), how much a piece counts besides what is learnt; 0 for special pieces, once measured.
        scale: logarithm of what cosines are multiplied by.
    """

    rarity: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.pad = config.pad
        self.text = nn.Linear(config.hidden, config.align)
        self.image = nn.Linear(config.hidden, config.align)
        self.weight = nn.Embedding(config.vocabulary, 1)
        self.scale = nn.Parameter(torch.tensor(math.log(20)))
        self.register_buffer("rarity", torch.ones(config.vocabulary))

    def measure(self, texts: Sequence[Sequence[int]], special: Iterable[int]) -> None:
        """Weight pieces by inverse document frequency: log((1 + texts) / texts with it)."""
        found = torch.zeros(len(self.rarity))
        for ids in texts:
            found[list(set(ids))] += 1
        self.rarity.copy_(torch.log((1 + len(texts)) / found.clamp(min=1)))
        self.rarity[list(special)] = 0

    def embed_text(self, text_BL: Tensor, words_BLH: Tensor) -> Tensor:
        """Return unit vectors (B, D) of texts whose pieces are embedded."""
        counts_BL = self.rarity[text_BL] * (text_BL != self.pad) * self.weight(text_BL)[..., 0].exp()
        with torch.autocast(text_BL.device.type, enabled=False):  # cosines of 8 bits would move large margins
            mean_BH = (functional.normalize(counts_BL, dim=1)[..., None] * words_BLH.float()).sum(dim=1)
            return functional.normalize(self.text(mean_BH), dim=1)

    def embed_image(self, patches_BPH: Tensor) -> Tensor:
        """Return unit vectors (B, D) of pictures whose patches are embedded."""
        with torch.autocast(patches_BPH.device.type, enabled=False):
            return functional.normalize(self.image(patches_BPH.float().mean(dim=1)), dim=1)

    def factor(self) -> Tensor:
        """Return the factor of cosines, from 1 to 100."""
        return self.scale.clamp(0, math.log(100)).exp()

    def forward(self, text_BL: Tensor, words_BLH: Tensor, patches_BPH: Tensor) -> Tensor:
        """Return (B,), the scaled cosine of each pair; a text or picture given once goes with all of the others."""
        cosine = (self.embed_text(text_BL, words_BLH) * self.embed_image(patches_BPH)).sum(dim=-1)
        return self.factor() * cosine
