"""What enters the encoder: words with positions and segments, patches with positions of their own, regions bare.

Shapes: B pairs, L word pieces, P patches, R regions, F features of a patch or region, H width of a token.
"""

import torch
from torch import Tensor, nn

from quiver.encoders.fashionbert.config import Config, Trunk


class Words(nn.Module):
    """BERT's embedding: word + position from 0 + segment, then layer norm and dropout."""

    def __init__(self, config: Trunk) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocabulary, config.hidden)
        self.position = nn.Embedding(config.positions, config.hidden)
        self.segment = nn.Embedding(config.types, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, config.epsilon)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, text_BL: Tensor, types_BL: Tensor | None = None) -> Tensor:
        """Embed word pieces (B, L) as (B, L, H); without segments all of them are in segment 0."""
        places_L = torch.arange(text_BL.shape[1], device=text_BL.device)
        segments = self.segment(torch.zeros_like(text_BL) if types_BL is None else types_BL)
        embedded: Tensor = self.dropout(self.norm(self.word(text_BL) + segments + self.position(places_L)))
        return embedded


class Patches(nn.Module):
    """FashionBERT's: dropout, a linear map without bias, + own position + own type, then layer norm and dropout.

    Every patch uses row 1 of the type table, which is not BERT's table of segments (``modeling_imagebert`` of
    EasyTransfer).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.project = nn.Linear(config.feature, config.hidden, bias=False)
        self.position = nn.Embedding(config.patches, config.hidden)
        self.kind = nn.Embedding(2, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, config.epsilon)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, patches_BPF: Tensor) -> Tensor:
        """Embed features (B, P, F), row after row of the grid, as (B, P, H)."""
        projected = self.project(self.dropout(patches_BPF.to(self.project.weight.dtype)))
        embedded: Tensor = self.dropout(self.norm(projected + self.position.weight + self.kind.weight[1]))
        return embedded


class Regions(nn.Module):
    """Oscar's: a linear map, layer norm if the checkpoint has one, dropout; neither position nor segment."""

    def __init__(self, config: Trunk, feature: int, *, norm: bool) -> None:
        super().__init__()
        self.project = nn.Linear(feature, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, config.epsilon) if norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, regions_BRF: Tensor) -> Tensor:
        """Embed features (B, R, F) as (B, R, H)."""
        embedded: Tensor = self.dropout(self.norm(self.project(regions_BRF.to(self.project.weight.dtype))))
        return embedded
