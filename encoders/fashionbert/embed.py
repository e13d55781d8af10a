"""Input embeddings: words with positions and segments, patches with their own positions, regions without.

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
    EasyTransfer). Ours: patches of the whole picture, and features centred and scaled by the training set's figures.

    Attributes:
        mean: (1 + W, F) of the cells' features and of each of the W kinds of whole pictures; 0 unless measured.
        spread: (1 + W, F) by which they are divided; 1 unless measured.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.sizes = [config.rows * config.columns, *[1] * config.whole]
        self.project = nn.Linear(config.feature, config.hidden, bias=False)
        self.wholes = nn.ModuleList(nn.Linear(config.feature, config.hidden, bias=False) for _ in range(config.whole))
        self.position = nn.Embedding(config.patches, config.hidden)
        self.kind = nn.Embedding(2, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, config.epsilon)
        self.dropout = nn.Dropout(config.dropout)
        self.feature_dropout = nn.Dropout(config.feature_dropout)
        self.register_buffer("mean", torch.zeros(len(self.sizes), config.feature))
        self.register_buffer("spread", torch.ones(len(self.sizes), config.feature))

    def forward(self, patches_BPF: Tensor, hidden_BP: Tensor | None = None) -> Tensor:
        """Embed features (B, P, F), cells row after row and then whole pictures, as (B, P, H).

        What is hidden (B, P) is zero when it is projected.
        """
        kinds = patches_BPF.to(self.project.weight.dtype).split(self.sizes, dim=1)
        scaled = [(part - mean) / spread for part, mean, spread in zip(kinds, self.mean, self.spread, strict=True)]
        x_BPF = torch.cat(scaled, dim=1)
        if hidden_BP is not None:
            x_BPF = x_BPF.masked_fill(hidden_BP[..., None], 0)
        parts = self.feature_dropout(x_BPF).split(self.sizes, dim=1)
        projected = [project(part) for project, part in zip((self.project, *self.wholes), parts, strict=True)]
        placed = torch.cat(projected, dim=1) + self.position.weight + self.kind.weight[1]
        embedded: Tensor = self.dropout(self.norm(placed))
        return embedded

    def measure(self, patches_nPF: Tensor) -> None:
        """Take centre and scale from the training set's features (n, P, F).

        What hardly varies is not blown up: a deviation counts as at least a hundredth of their mean.
        """
        for row, part in enumerate(patches_nPF.float().split(self.sizes, dim=1)):
            deviation = part.flatten(0, 1).std(0, correction=0)
            self.mean[row] = part.mean((0, 1))
            self.spread[row] = deviation.clamp(min=max(deviation.mean().item() / 100, 1e-8))


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
