"""Sentences as vectors: CLIP's text tower, or a linear map of a frozen encoder's vectors.

Radford et al. 2021 (CLIP), arXiv:2103.00020, section 2.4. Library: mlfoundations/open_clip, MIT. A causal transformer
reads the pieces of a sentence; the token of the end piece, after the last norm and a projection, is its vector.
Deviates: a batch is padded to its longest sentence, not to the longest that the model takes. Padding stands behind the
end, which does not see it.
Legend: B sentences, L pieces, F features, W width, D dim of the space.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from quiver.encoders.clip4idc.config import Text
from quiver.errors import optional

with optional():
    from open_clip.transformer import LayerNorm, QuickGELU, Transformer


class Tower(nn.Module):
    """The text tower of a CLIP.

    Args:
        config: sizes.
        dim: D.
    """

    def __init__(self, config: Text, dim: int) -> None:
        super().__init__()
        self.end = config.end
        act = QuickGELU if config.activation == "quick_gelu" else nn.GELU
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.length, config.width))
        self.dropout = nn.Dropout(config.dropout)
        self.transformer = Transformer(config.width, config.layers, config.heads, act_layer=act)
        self.ln_final = LayerNorm(config.width)
        self.text_projection = nn.Parameter(config.width**-0.5 * torch.randn(config.width, dim))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Return the vectors (B, D) of sentences, not normalised."""
        ends_B = (ids_BL == self.end).int().argmax(dim=1)
        return self.tokens(ids_BL)[torch.arange(len(ids_BL), device=ids_BL.device), ends_B]

    def tokens(self, ids_BL: Tensor) -> Tensor:
        """Return all tokens (B, L, D) of sentences, projected into the space."""
        length = ids_BL.shape[1]
        x = self.dropout(self.token_embedding(ids_BL) + self.positional_embedding[:length])
        mask = torch.full((length, length), -torch.inf, dtype=x.dtype, device=x.device).triu(1)
        return self.ln_final(self.transformer(x, attn_mask=mask)) @ self.text_projection


class Head(nn.Module):
    """A linear map of a frozen encoder's vectors.

    Args:
        config: sizes.
        dim: D.
    """

    def __init__(self, config: Text, dim: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(config.feature, dim)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Return (B, D), not normalised."""
        return self.linear(self.dropout(features_BF))


def make(config: Text, dim: int) -> Tower | Head:
    """Make the encoder of sentences that a config names."""
    return Head(config, dim) if config.feature else Tower(config, dim)


def translate(state: Mapping[str, Tensor], length: int) -> dict[str, Tensor]:
    """Return those weights of a CLIP that belong to its text tower, under the names of ``Tower``.

    Args:
        state: by name, such as ``transformer.resblocks.0.ln_1.weight``.
        length: rows of the table of positions that are kept.
    """
    names = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")
    kept = {name: each for name, each in state.items() if name.startswith(names)}
    return kept | {"positional_embedding": kept["positional_embedding"][:length]}
