"""The caption generator of CLIP4IDC: a transformer that reads the tokens of two pictures and generates a sentence.

Guo, Wang, Laaksonen, "CLIP4IDC: CLIP for Image Difference Captioning", AACL 2022, arXiv:2206.00629. Reference:
sushizixin/CLIP4IDC, MIT; written from its description. Blocks are post-norm (the norm follows the residual sum), with
gelu by the error function; **block i of the decoder attends to the output of block i of the encoder**; the words of
the output are the rows of the input's table, after a dense layer and with a bias.

Deviates: tokens of another width than the model's go through a linear layer; the tables of words and positions are its
own, not shared with CLIP's text tower, whose weights ``translate`` copies; id 0 is an ordinary word of CLIP's
vocabulary ("!"), which the reference can never generate: the caller says what is padding. Weights begin with a
deviation of 1 / sqrt(width), not 0.02, which is made for a width of 768: a narrow generator then hardly sees its
memory, and learns late what sentences are about.
Legend: B sentences, M memory tokens, L words, D width, V vocabulary, H heads.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, log_softmax, scaled_dot_product_attention

from quiver.encoders.clip4idc.caption_config import Words, Writer
from quiver.encoders.clip4idc.speak import State

_EPS = 1e-12


class Captioner(nn.Module):
    """Reads tokens of pairs, (B, M, ``memory``), and gives the log probabilities of words.

    Args:
        config: sizes.
        words: its vocabulary's size and special ids.
        memory: width of the tokens that it reads.
    """

    def __init__(self, config: Writer, words: Words, memory: int) -> None:
        super().__init__()
        self.begin, self.end, self.pad = words.begin, words.end, words.pad
        self.heads, dim = config.heads, config.width
        self.project = nn.Identity() if memory == dim else nn.Linear(memory, dim)
        self.words = nn.Embedding(words.size, dim)
        self.places = nn.Embedding(words.length, dim)
        self.norm = nn.LayerNorm(dim, eps=_EPS)
        self.dropout = nn.Dropout(config.dropout)
        common: dict[str, Any] = {"activation": "gelu", "layer_norm_eps": _EPS, "batch_first": True}
        shape = (dim, config.heads, config.inner, config.dropout)
        self.encoder = nn.ModuleList(nn.TransformerEncoderLayer(*shape, **common) for _ in range(config.layers))
        self.decoder = nn.ModuleList(nn.TransformerDecoderLayer(*shape, **common) for _ in range(config.layers))
        self.transform = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim, eps=_EPS))
        self.bias = nn.Parameter(torch.zeros(words.size))
        for part in self.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.normal_(part.weight, std=dim**-0.5)

    def encode(self, memory_BMD: Tensor) -> list[Tensor]:
        """Return the output (B, M, D) of each block of the encoder."""
        found, tokens = [], self.project(memory_BMD)
        for block in self.encoder:
            tokens = block(tokens)
            found.append(tokens)
        return found

    def decode(self, encoded: Sequence[Tensor], ids_BL: Tensor, padding_BL: Tensor | None = None) -> Tensor:
        """Return logits (B, L, V) of the word after each word.

        Args:
            encoded: of ``encode``.
            ids_BL: begin first.
            padding_BL: True where an id is padding, which no word attends to; at the end it changes no word before it.
        """
        length = ids_BL.shape[1]
        places = torch.arange(length, device=ids_BL.device)
        tokens = self._embed(ids_BL, places)
        causal = torch.ones((length, length), dtype=torch.bool, device=ids_BL.device).triu(1)
        for block, memory in zip(self.decoder, encoded, strict=True):
            tokens = block(tokens, memory, tgt_mask=causal, tgt_key_padding_mask=padding_BL)
        return self._head(tokens)

    def forward(self, memory_BMD: Tensor, ids_BL: Tensor) -> Tensor:
        """Return log probabilities (B, L, V) of the word after each word."""
        return log_softmax(self.decode(self.encode(memory_BMD), ids_BL), dim=-1)

    def start(self, memory_BMD: Tensor) -> State:
        """Encode a memory: keys and values of each block, none yet of words."""
        state: dict[str, Tensor] = {"place": torch.zeros(len(memory_BMD), dtype=torch.int64, device=memory_BMD.device)}
        for number, (block, tokens) in enumerate(zip(self._blocks(), self.encode(memory_BMD), strict=True)):
            state[f"memory_{number}"] = tokens
            keys, values = _keys(block.multihead_attn, tokens)
            state |= {f"memory_keys_{number}": keys, f"memory_values_{number}": values}
            state |= {f"keys_{number}": keys[:, :, :0], f"values_{number}": values[:, :, :0]}
        return state

    def step(self, state: State, ids_B: Tensor) -> tuple[Tensor, State]:
        """Read one more word of each sentence; return the log probabilities (B, V) of the next."""
        new = dict(state)
        token = self._embed(ids_B[:, None], state["place"][:, None])
        for number, block in enumerate(self._blocks()):
            keys, values = _keys(block.self_attn, token)
            keys = torch.cat([state[f"keys_{number}"], keys], dim=2)
            values = torch.cat([state[f"values_{number}"], values], dim=2)
            new |= {f"keys_{number}": keys, f"values_{number}": values}
            token = block.norm1(token + _attend(block.self_attn, token, keys, values))
            seen = (state[f"memory_keys_{number}"], state[f"memory_values_{number}"])
            token = block.norm2(token + _attend(block.multihead_attn, token, *seen))
            token = block.norm3(token + block.linear2(gelu(block.linear1(token))))
        new["place"] = state["place"] + 1
        return log_softmax(self._head(token)[:, 0].float(), dim=-1), new

    def read(self, state: State, ids_BL: Tensor) -> Tensor:
        """Return the log probabilities (B, L, V) of the word after each word of given sentences, read in parallel."""
        encoded = [state[f"memory_{number}"] for number in range(len(self.decoder))]
        return log_softmax(self.decode(encoded, ids_BL).float(), dim=-1)

    def _blocks(self) -> Iterator[nn.TransformerDecoderLayer]:
        return (cast(nn.TransformerDecoderLayer, block) for block in self.decoder)

    def _embed(self, ids: Tensor, places: Tensor) -> Tensor:
        return self.dropout(self.norm(self.words(ids) + self.places(places)))

    def _head(self, tokens: Tensor) -> Tensor:
        return self.transform(tokens) @ self.words.weight.T + self.bias


def _keys(attention: nn.MultiheadAttention, tokens_BMD: Tensor) -> tuple[Tensor, Tensor]:
    """Return keys and values (B, H, M, D / H) of tokens."""
    dim, weight, bias = attention.embed_dim, attention.in_proj_weight, attention.in_proj_bias
    both = nn.functional.linear(tokens_BMD, weight[dim:], bias[dim:])
    keys, values = both.chunk(2, dim=2)
    return _split(keys, attention.num_heads), _split(values, attention.num_heads)


def _attend(attention: nn.MultiheadAttention, token_B1D: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return what one token reads, (B, 1, D); without dropout, for generating."""
    dim = attention.embed_dim
    query = nn.functional.linear(token_B1D, attention.in_proj_weight[:dim], attention.in_proj_bias[:dim])
    found = scaled_dot_product_attention(_split(query, attention.num_heads), keys, values)
    return attention.out_proj(found.transpose(1, 2).flatten(2))


def _split(tokens_BMD: Tensor, heads: int) -> Tensor:
    return tokens_BMD.unflatten(2, (heads, -1)).transpose(1, 2)


def translate(state: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Rename the official captioner's weights to those of ``Captioner``.

    Args:
        state: the official names, such as ``decoder.encoder.layer.0.slf_attn.att.query.weight``; weights of CLIP
            among them are left out.
        layers: number of blocks.

    Raises:
        KeyError: a weight is missing.
    """
    embeddings, head = "decoder.embeddings.", "decoder.classifier.cls.predictions."
    out = {
        "words.weight": state[f"{embeddings}word_embeddings.weight"],
        "places.weight": state[f"{embeddings}position_embeddings.weight"],
        "bias": state[f"{head}bias"],
    }
    pairs = {"norm": f"{embeddings}LayerNorm", "transform.0": f"{head}transform.dense"}
    pairs["transform.2"] = f"{head}transform.LayerNorm"
    for number in range(layers):
        theirs, ours = f"decoder.encoder.layer.{number}.", f"encoder.{number}."
        out |= _attention(state, f"{theirs}slf_attn.", f"{ours}self_attn.")
        pairs |= {f"{ours}norm1": f"{theirs}slf_attn.output.LayerNorm"} | _feed_forward(ours, theirs, "norm2")
        theirs, ours = f"decoder.decoder.layer.{number}.", f"decoder.{number}."
        out |= _attention(state, f"{theirs}slf_attn.", f"{ours}self_attn.")
        out |= _attention(state, f"{theirs}enc_attn.", f"{ours}multihead_attn.")
        pairs |= {f"{ours}norm1": f"{theirs}slf_attn.output.LayerNorm"} | _feed_forward(ours, theirs, "norm3")
        pairs |= {f"{ours}norm2": f"{theirs}enc_attn.output.LayerNorm"}
    for ours, theirs in pairs.items():
        out |= {f"{ours}.{kind}": state[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
    return out


def _attention(state: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    out = {}
    for kind in ("weight", "bias"):
        parts = [state[f"{theirs}att.{part}.{kind}"] for part in ("query", "key", "value")]
        out[f"{ours}in_proj_{kind}"] = torch.cat(parts)
        out[f"{ours}out_proj.{kind}"] = state[f"{theirs}output.dense.{kind}"]
    return out


def _feed_forward(ours: str, theirs: str, norm: str) -> dict[str, str]:
    return {
        f"{ours}linear1": f"{theirs}intermediate.dense",
        f"{ours}linear2": f"{theirs}output.dense",
        f"{ours}{norm}": f"{theirs}output.LayerNorm",
    }
