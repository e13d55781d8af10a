"""Two towers, or as many as there are kinds of media: features of frozen encoders, and a head for each into one space.

Radford et al. 2021 (CLIP), arXiv:2103.00020: linear projections to unit length, contrasted with a learnt
temperature. Reference: openai/CLIP, MIT. Zhai et al. 2023 (SigLIP), arXiv:2303.15343, adds a bias. Reference:
google-research/big_vision, Apache-2.0. Locked towers with trained heads: Zhai et al. 2022 (LiT), arXiv:2111.07991.
Deviates: features are centred and scaled by the training set's figures before the head, which may have a hidden
layer; n-grams may be added to the head of the text tower (see ``word``).
Shapes: B rows, F features of a tower, N n-grams of a text, D width of the space.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from huggingface_hub import ModelCard
from torch import Tensor, nn
from torch.nn import functional

from quiver.encoders._saved import Saved
from quiver.encoders.two_tower.config import Base, Config
from quiver.encoders.two_tower.word import Grams
from quiver.errors import BadSpec

#: What a tower is given of some rows: ``features`` (B, F) float32, ``grams`` (B, N) int64.
Given = Mapping[str, Tensor]
#: One side of a batch: by key the places (b,) int64 of its rows in the batch, and what the tower is given of them.
Side = Mapping[str, tuple[Tensor, Given]]


class Contrast(NamedTuple):
    """Inputs of a loss: unit vectors (B, D) of questions and answers, and the conversion of cosines to logits."""

    ask: Tensor
    answer: Tensor
    scale: Tensor
    bias: Tensor


class Head(nn.Module):
    """From features to the space."""

    def __init__(self, width: int, config: Config) -> None:
        super().__init__()
        self.drop = nn.Dropout(config.dropout)
        self.linear = nn.Linear(width, config.dim) if config.residual or not config.hidden else None
        self.inner = nn.Linear(width, config.hidden) if config.hidden else None
        self.outer = nn.Linear(config.hidden, config.dim) if config.hidden else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, F) to (B, D)."""
        x = self.drop(x)
        parts = [self.linear(x)] if self.linear is not None else []
        if self.inner is not None and self.outer is not None:
            parts.append(self.outer(self.drop(functional.gelu(self.inner(x)))))
        return sum(parts[1:], parts[0])


class Bag(nn.Module):
    """The table of n-grams.

    Attributes:
        rarity: (1 + buckets,), how much each row counts; 0 for padding.
    """

    rarity: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.register_buffer("rarity", torch.ones(1 + config.buckets).index_fill(0, torch.tensor(0), 0))
        self.table = nn.EmbeddingBag(1 + config.buckets, config.dim, mode="sum", padding_idx=0)
        self.bias = nn.Parameter(torch.randn(config.dim) / math.sqrt(config.dim))
        self.leave_out = config.word_dropout
        nn.init.zeros_(self.table.weight)

    def measure(self, texts: Grams) -> None:
        """Weight rows by inverse document frequency in the training set: log((1 + texts) / texts with it)."""
        found = np.bincount(texts.flat, minlength=len(self.rarity))
        self.rarity[1:] = torch.from_numpy(np.log((1 + len(texts)) / found.clip(1)))[1:]

    def forward(self, grams: Tensor) -> Tensor:
        """Map (B, N) rows, 0 for none, to (B, D): their weighted sum over the length of their weights."""
        if self.training and self.leave_out:
            grams = grams.masked_fill(torch.rand(grams.shape, device=grams.device) < self.leave_out, 0)
        weight = functional.normalize(self.rarity[grams], dim=1)
        return self.table(grams, per_sample_weights=weight) + self.bias


class Tower(nn.Module):
    """One kind of media.

    Attributes:
        mean: (F,) of the training set's features.
        spread: (F,) by which they are divided.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, base: Base, config: Config) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(base.width))
        self.register_buffer("spread", torch.ones(base.width))
        self.head = Head(base.width, config) if base.width else None
        self.bag = Bag(config) if base.words else None

    def measure(self, features: Tensor) -> None:
        """Take centre and scale from the training set's features (n, F).

        What hardly varies is not blown up: a deviation counts as at least a hundredth of their mean.
        """
        deviation = features.std(0, correction=0)
        self.mean.copy_(features.mean(0))
        self.spread.copy_(deviation.clamp(min=deviation.mean().item() / 100).clamp(min=1e-8))

    def forward(self, given: Given) -> Tensor:
        """Return (B, D), not normalised."""
        parts = [self.head((given["features"] - self.mean) / self.spread)] if self.head is not None else []
        if self.bag is not None:
            parts.append(self.bag(given["grams"]))
        return sum(parts[1:], parts[0])


class TwoTower(Saved):
    """The model.

    Args:
        config: what it is made of.

    Attributes:
        towers: by key.
        scale: logarithm of what cosines are multiplied by.
        bias: of the sigmoid loss; not trained with the other one.

    Raises:
        BadSpec: the config has no towers.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        if not config.towers:
            raise BadSpec("a two_tower model needs towers: its config has none")
        self.config = config
        self.towers = nn.ModuleDict({key: Tower(base, config) for key, base in config.towers.items()})
        self.scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self.bias = nn.Parameter(torch.tensor(config.bias), requires_grad=config.loss == "sigmoid")

    def embed(self, key: str, given: Given) -> Tensor:
        """Return unit vectors (B, D) of the inputs of a key's tower.

        Raises:
            BadSpec: the key has no tower.
        """
        name = self.config.tower(key)
        if name is None:
            raise BadSpec(f"this two_tower model embeds {', '.join(self.towers)}, not {key}")
        return functional.normalize(self.towers[name](given).float(), dim=1)

    def forward(self, batch: tuple[Side, Side]) -> Contrast:
        """Embed questions and answers: (B, D) each, scale from 1 to 100, bias."""
        ask, answer = (self.side(each) for each in batch)
        return Contrast(ask, answer, self.scale.clamp(0, math.log(100)).exp(), self.bias)

    def side(self, side: Side) -> Tensor:
        """Embed one side of a batch: (B, D)."""
        places = torch.cat([place for place, _ in side.values()])
        rows = torch.cat([self.embed(key, given) for key, (_, given) in side.items()])
        return rows[places.argsort()]

    def generate_model_card(self) -> ModelCard:
        """Return the README that is saved next to the weights: description and use of the model."""
        lines = [
            f"- {key}: `{' + '.join(filter(None, ['words' * base.words, base.spec]))}`"
            for key, base in self.config.towers.items()
        ]
        return ModelCard(
            "---\nlibrary_name: quiver-search\ntags:\n- multimodal\n- retrieval\n---\n"
            f"# {self.config.name}\n\nTowers into one space, `two_tower/{self.config.name}` ({self.config.dim}):\n\n"
            + "\n".join(lines)
            + "\n\n`quiver` takes it as `two_tower checkpoint=FOLDER`.\n"
        )
