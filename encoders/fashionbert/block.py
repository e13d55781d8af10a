"""BERT's encoder, written out, because scoring needs its last block for [CLS] alone.

Devlin et al. 2018, arXiv:1810.04805: post-norm blocks, full attention in both directions.
Shapes: B pairs, S tokens, Q tokens that ask, N heads, D width of a head, H = N D width of a token.
Deviates: padding is masked by minus infinity where the original adds -10000; no kept token sees a difference.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from quiver.encoders.fashionbert.config import Trunk

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
}


class Block(nn.Module):
    """Attention, then feed-forward; a residual and a layer norm after each."""

    def __init__(self, config: Trunk) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.hidden, config.hidden)
        self.key = nn.Linear(config.hidden, config.hidden)
        self.value = nn.Linear(config.hidden, config.hidden)
        self.attended = nn.Linear(config.hidden, config.hidden)
        self.attended_norm = nn.LayerNorm(config.hidden, config.epsilon)
        self.widen = nn.Linear(config.hidden, config.inner)
        self.activation = ACTIVATIONS[config.activation]()
        self.narrow = nn.Linear(config.inner, config.hidden)
        self.narrow_norm = nn.LayerNorm(config.hidden, config.epsilon)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, asking_BQH: Tensor, tokens_BSH: Tensor, keep_B11S: Tensor | None) -> Tensor:
        """Return (B, Q, H): the outputs of the querying tokens, which are all or some of the tokens."""
        x_BQH = self.attended_norm(asking_BQH + self.dropout(self._attend(asking_BQH, tokens_BSH, keep_B11S)))
        out: Tensor = self.narrow_norm(x_BQH + self.dropout(self.narrow(self.activation(self.widen(x_BQH)))))
        return out

    def _attend(self, asking_BQH: Tensor, tokens_BSH: Tensor, keep_B11S: Tensor | None) -> Tensor:
        query, key, value = self.query(asking_BQH), self.key(tokens_BSH), self.value(tokens_BSH)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        dropout = self.dropout.p if self.training else 0.0
        mixed_BNQD = functional.scaled_dot_product_attention(q, k, v, attn_mask=keep_B11S, dropout_p=dropout)
        out: Tensor = self.attended(mixed_BNQD.transpose(1, 2).flatten(2))
        return out


class Encoder(nn.Module):
    """A stack of blocks."""

    def __init__(self, config: Trunk) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(self, tokens_BSH: Tensor, keep_BS: Tensor | None = None) -> Tensor:
        """Return (B, S, H).

        Args:
            tokens_BSH: embedded tokens.
            keep_BS: bool, False for padding, which nobody attends to; None where there is none.
        """
        mask = None if keep_BS is None else keep_BS[:, None, None]
        for block in self.blocks:
            tokens_BSH = block(tokens_BSH, tokens_BSH, mask)
        return tokens_BSH

    def first(self, tokens_BSH: Tensor, keep_BS: Tensor | None = None) -> Tensor:
        """Return (B, H), row [:, 0] of ``forward``: the last block is computed for the first token alone."""
        mask = None if keep_BS is None else keep_BS[:, None, None]
        for block in self.blocks[:-1]:
            tokens_BSH = block(tokens_BSH, tokens_BSH, mask)
        first: Tensor = self.blocks[-1](tokens_BSH[:, :1], tokens_BSH, mask)[:, 0]
        return first


class Head(nn.Module):
    """BERT's masked-word head: dense, activation, layer norm, the word table transposed, a bias."""

    def __init__(self, config: Trunk) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden, config.hidden)
        self.activation = ACTIVATIONS[config.activation]()
        self.norm = nn.LayerNorm(config.hidden, config.epsilon)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))

    def forward(self, x_NH: Tensor, words_VH: Tensor) -> Tensor:
        """Return logits (..., V) of tokens (..., H), tied to the word table (V, H)."""
        return functional.linear(self.norm(self.activation(self.dense(x_NH))), words_VH, self.bias)


def pool(dense: nn.Linear, first_BH: Tensor) -> Tensor:
    """Return tanh(dense([CLS])), in the precision of the dense layer."""
    return torch.tanh(dense(first_BH.to(dense.weight.dtype)))


def initialise(module: nn.Module) -> None:
    """Set one module's weights as BERT does: normal with deviation 0.02, biases 0; for ``nn.Module.apply``."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
