"""CIRPLANT: the picture is one more token of a BERT, and its output is the query.

Liu, Rodriguez-Opazo, Teney, Gould, "Image Retrieval on Real-life Images with Pre-trained Vision-and-Language Models",
ICCV 2021. Reference: Cuberick-Orion/CIRPLANT, MIT, on OSCAR (microsoft/Oscar, MIT); written from its description.
The sequence is [CLS] words [SEP] padding, then the picture: a linear layer of its features, without position, segment
or layer normalisation. A candidate is the same linear layer alone, which here is the image tower.

Deviates: the six zeros that stand for an empty box are left out, their columns of the layer never being used; texts are
padded to the longest of a batch, which changes nothing. All text has segment 0, so segment 1 is not kept.
Legend: B queries, L tokens (id 0 pads, at the end), D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from quiver.encoders.artemis.config import Config
from quiver.encoders.artemis.score import Term, Terms
from quiver.encoders.artemis.word import Vocabulary


class Cirplant(nn.Module):
    """Reference (B, D), projected but not scaled, and token ids (B, L) into one vector."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        bert, dim = config.bert, config.dim
        self.embed = nn.Embedding(Vocabulary.of(config).size, dim)
        self.place = nn.Embedding(bert.length, dim)
        self.segment = nn.Parameter(torch.zeros(dim))
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = nn.Dropout(bert.dropout)
        layer = nn.TransformerEncoderLayer(
            dim, bert.heads, bert.inner, bert.dropout, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, bert.layers, enable_nested_tensor=False)
        for weight in [part.weight for part in self.modules() if isinstance(part, nn.Linear | nn.Embedding)]:
            nn.init.normal_(weight, std=0.02)

    def sequence(self, reference_BD: Tensor, words_BL: Tensor) -> Tensor:
        """Return the outputs of all tokens and, last, of the picture: (B, L + 1, D)."""
        places = self.place.weight[: words_BL.shape[1]]
        text = self.dropout(self.norm(self.embed(words_BL) + places + self.segment))
        padding = nn.functional.pad(words_BL == 0, (0, 1))
        return self.layers(torch.cat([text, self.dropout(reference_BD)[:, None]], dim=1), src_key_padding_mask=padding)

    def forward(self, reference_BD: Tensor, words_BL: Tensor) -> Terms:
        """Return the term ``composed``."""
        return {"composed": Term(normalize(self.sequence(reference_BD, words_BL)[:, -1], dim=1))}


def translate(state: Mapping[str, Tensor], config: Config, *, prefix: str = "bert.") -> dict[str, Tensor]:
    """Rename the weights of a BERT or OSCAR checkpoint to those of ``Cirplant``.

    Args:
        state: Hugging Face's names, such as ``bert.encoder.layer.0.attention.self.query.weight``.
        config: how many layers and positions are wanted.
        prefix: of the names.

    Raises:
        KeyError: the checkpoint lacks a weight.
    """
    table = "embeddings."
    out = {
        "embed.weight": state[f"{prefix}{table}word_embeddings.weight"],
        "place.weight": state[f"{prefix}{table}position_embeddings.weight"][: config.bert.length],
        "segment": state[f"{prefix}{table}token_type_embeddings.weight"][0],
        "norm.weight": state[f"{prefix}{table}LayerNorm.weight"],
        "norm.bias": state[f"{prefix}{table}LayerNorm.bias"],
    }
    names = {
        "self_attn.out_proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for layer in range(config.bert.layers):
        theirs, ours = f"{prefix}encoder.layer.{layer}.", f"layers.layers.{layer}."
        for kind in ("weight", "bias"):
            heads = [state[f"{theirs}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            out[f"{ours}self_attn.in_proj_{kind}"] = torch.cat(heads)
            out |= {f"{ours}{own}.{kind}": state[f"{theirs}{name}.{kind}"] for own, name in names.items()}
    return out
