"""Two pictures as one sequence of tokens: first each by itself, then both together.

Guo, Wang, Laaksonen, "CLIP4IDC: CLIP for Image Difference Captioning", AACL 2022, arXiv:2206.00629. Reference:
sushizixin/CLIP4IDC, MIT; written from its description. A CLIP's vision transformer is cut in two: the *intra* blocks
see one picture at a time; then each token is told of which picture it is, and at which place of the joint sequence,
and the *inter* blocks see both pictures. The vector of the pair is the mean of the two class tokens, and depends on
their order.

Deviates: any number of patches (the reference counts on 49), and fp32 throughout (the reference trains half of its
weights, and their moments, in fp16). Ours: patches may be features of a frozen network instead of pixels, for
machines without a GPU; then a linear map stands in place of the convolution, all blocks may be inter blocks, tokens
may be relative to the mean of both pictures, and the difference of pooled features may go past the blocks (``change``).
Legend: B pairs, n pictures, P patches of a picture, S pixels of a side, F features of a patch, W width, D dim of the
space; T = 2 (P + 1) tokens of a pair: class token and patches of the picture before, then those of the picture after.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from quiver.encoders.clip4idc.change import Change
from quiver.encoders.clip4idc.config import Vision
from quiver.errors import BadSpec, optional

with optional():
    from open_clip.transformer import LayerNorm, QuickGELU, ResidualAttentionBlock


class Pairs(nn.Module):
    """The encoder of two pictures.

    Args:
        config: sizes.
        dim: D.

    Attributes:
        classes: places of the two class tokens in the sequence.
        centre: (F,) mean of the training set's features, where patches are features.
        spread: (F,) by which they are divided.
        change: what goes past the blocks; None where the config has none.

    Raises:
        BadSpec: pixels are to be compared before the first block.
    """

    mean: Tensor
    std: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, config: Vision, dim: int) -> None:
        super().__init__()
        if config.patch and (config.change or config.relative):
            raise BadSpec("clip4idc: change and relative are for patches that are features of a frozen network")
        self.config, width = config, config.width
        self.classes = (0, config.patches + 1)
        self.conv1 = nn.Conv2d(3, width, config.patch, config.patch, bias=False) if config.patch else None
        self.linear = nn.Linear(config.feature, width) if config.feature else None
        if config.feature:
            self.register_buffer("centre", torch.zeros(config.feature))
            self.register_buffer("spread", torch.ones(config.feature))
        scale = width**-0.5
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(config.patches + 1, width))
        self.ln_pre = LayerNorm(width) if config.pre_norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(block(config) for _ in range(config.layers))
        self.before = nn.Parameter(scale * torch.randn(width))
        self.after = nn.Parameter(scale * torch.randn(width))
        self.joint = nn.Parameter(scale * torch.randn(2 * (config.patches + 1), width))
        self.ln_mid = LayerNorm(width)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, dim))
        with torch.random.fork_rng():  # so that all other weights of a seed are the same with and without it
            self.change = Change(config, dim) if config.change else None
        for name, values in (("mean", config.mean), ("std", config.std)):
            self.register_buffer(name, 255 * torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return all tokens of pairs, (B, T, D), projected into the space but not normalised.

        Args:
            pictures: before and after: (B, 2, S, S, 3) uint8 pixels, (B, 2, 3, S, S) normalised ones, or features
                (B, 2, P, F).
        """
        tokens: Tensor = self.ln_post(self.inter(self.join(self.intra(pictures)))) @ self.proj
        return tokens if self.change is None else self.change(pictures, tokens)

    def measure(self, features_nPF: Tensor) -> None:
        """Take centre and scale from the training set's pictures.

        A feature that hardly varies is not blown up: its deviation counts as at least a hundredth of their mean.
        """
        if self.change is not None:
            self.change.measure(features_nPF)
        features = features_nPF.flatten(0, 1)
        deviation = features.std(0, correction=0)
        self.centre.copy_(features.mean(0))
        self.spread.copy_(deviation.clamp(min=deviation.mean().item() / 100).clamp(min=1e-8))

    def embed(self, pictures: Tensor) -> Tensor:
        """Return what enters the first block: (B, 2, P + 1, W)."""
        if self.config.relative:
            pictures = pictures - pictures.mean(dim=1, keepdim=True) + self.centre
        rows = self._patches(pictures.flatten(0, 1))
        head = self.class_embedding.to(rows.dtype).expand(len(rows), 1, -1)
        rows = torch.cat([head, rows], dim=1) + self.positional_embedding.to(rows.dtype)
        return self.dropout(self.ln_pre(rows)).unflatten(0, (-1, 2))

    def intra(self, pictures: Tensor) -> Tensor:
        """Return the tokens (B, 2, P + 1, W) of each picture by itself."""
        tokens = self.embed(pictures)
        rows = tokens.flatten(0, 1)
        for each in self.blocks[: self.config.intra]:
            rows = each(rows)
        return rows.unflatten(0, tokens.shape[:2])

    def join(self, tokens_B2PW: Tensor) -> Tensor:
        """Tell tokens which picture and place they are of: (B, T, W), normalised."""
        kinds = torch.stack([self.before, self.after])[:, None]
        return self.ln_mid((tokens_B2PW + kinds).flatten(1, 2) + self.joint)

    def inter(self, tokens_BTW: Tensor) -> Tensor:
        """Let the tokens of both pictures see each other: (B, T, W)."""
        for each in self.blocks[self.config.intra :]:
            tokens_BTW = each(tokens_BTW)
        return tokens_BTW

    def pool(self, tokens_BTD: Tensor) -> Tensor:
        """Return the vector of each pair, (B, D): the mean of the two class tokens."""
        return tokens_BTD[:, list(self.classes)].mean(dim=1)

    def attention(self, pictures: Tensor) -> Tensor:
        """Return where the class tokens look in the last block: (B, 2, rows, columns), each pair sums to 1 at most.

        It is the mean over both class tokens and all heads; the rest of 1 goes to the class tokens themselves.
        """
        tokens = self.join(self.intra(pictures))
        for each in self.blocks[self.config.intra : -1]:
            tokens = each(tokens)
        last: Any = self.blocks[-1]
        normed = last.ln_1(tokens)
        _, weights_BCT = last.attn(normed[:, list(self.classes)], normed, normed, need_weights=True)
        maps = weights_BCT.mean(dim=1).unflatten(1, (2, -1))[:, :, 1:]
        return maps.unflatten(2, (self.config.rows, self.config.columns))

    def _patches(self, rows: Tensor) -> Tensor:
        """Return tokens (n, P, W) of pixels or features."""
        if self.linear is not None:
            return self.linear((rows.to(self.linear.weight.dtype) - self.centre) / self.spread)
        assert self.conv1 is not None
        if rows.dtype == torch.uint8:
            rows = rows.permute(0, 3, 1, 2).float().sub(self.mean).div(self.std)
        return self.conv1(rows).flatten(2).transpose(1, 2)


def block(config: Vision) -> nn.Module:
    """Make one transformer block as CLIP has it."""
    act = QuickGELU if config.activation == "quick_gelu" else nn.GELU
    make = partial(ResidualAttentionBlock, config.width, config.heads, config.ratio, act_layer=act)
    made: nn.Module = make(ls_init_value=config.layer_scale)
    return made


#: Names of the reference's new parameters.
_OFFICIAL = {"bef_embedding": "before", "aft_embedding": "after", "joint_positional_embedding": "joint"}


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights of a CLIP's vision transformer, or of the reference's, to those of ``Pairs``.

    Args:
        state: by name, such as ``transformer.resblocks.0.ln_1.weight``.
    """
    return {
        _OFFICIAL.get(name, name.replace("transformer.resblocks.", "blocks.")): each for name, each in state.items()
    }
