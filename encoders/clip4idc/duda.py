"""DUDA: dual attention finds the change, and a dynamic speaker tells it.

Park, Darrell, Rohrbach, "Robust Change Captioning", ICCV 2019, arXiv:1901.02527. Their code has no licence: this is
written from a description of it. Each picture's feature map, with two maps of coordinates, is attended by a sigmoid
map that is computed from it and from the difference of the two. At each word an LSTM weighs the attended vectors
before, difference and after, and a second LSTM generates the word from their weighted sum.

Deviates: the head for the kind of change is left out, since their loss does not use it.
Legend: B pairs, C channels, C2 = C + 2 with coordinates, Y, X places, L words, V vocabulary.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from quiver.encoders.clip4idc.caption_config import Duda as Config
from quiver.encoders.clip4idc.caption_config import Words
from quiver.encoders.clip4idc.speak import State


class Found(NamedTuple):
    """What the attention found.

    Attributes:
        before: attended vectors (B, C2).
        after: attended vectors (B, C2).
        maps: attention (B, 2, Y, X), before and after, each value between 0 and 1.
    """

    before: Tensor
    after: Tensor
    maps: Tensor


def coordinates(rows: int, columns: int) -> Tensor:
    """Return the two maps of coordinates (2, Y, X): x = 2j / X - 1 and y = 2i / Y - 1, as in the reference.

    >>> coordinates(2, 4)[0, 0].tolist()
    [-1.0, -0.5, 0.0, 0.5]
    """
    y = 2 * torch.arange(rows) / rows - 1
    x = 2 * torch.arange(columns) / columns - 1
    return torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)])


class Detector(nn.Module):
    """Feature maps (B, 2, C, Y, X), before and after, into attended vectors."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Conv2d(2 * (channels + 2), config.dim, 1),
            nn.GroupNorm(config.groups, config.dim),
            nn.Dropout(config.dropout),
            nn.ReLU(),
        )
        self.att = nn.Conv2d(config.dim, 1, 1)

    def forward(self, maps_B2CYX: Tensor) -> Found:
        """Attend to both pictures."""
        batch, _, _, rows, columns = maps_B2CYX.shape
        places = coordinates(rows, columns).to(maps_B2CYX).expand(batch, 2, 2, rows, columns)
        both = torch.cat([maps_B2CYX, places], dim=2)
        difference = (both[:, 1] - both[:, 0])[:, None].expand_as(both)
        joined = torch.cat([both, difference], dim=2).flatten(0, 1)
        weights = torch.sigmoid(self.att(self.embed(joined))).view(batch, 2, 1, rows, columns)
        vectors = (weights * both).sum(dim=(3, 4))
        return Found(vectors[:, 0], vectors[:, 1], weights[:, :, 0])


class Duda(nn.Module):
    """Reads feature maps of pairs, (B, 2, C, Y, X), and gives the log probabilities of words.

    Args:
        config: sizes.
        words: its vocabulary's size and special ids.
        memory: channels of the feature maps.
    """

    def __init__(self, config: Config, words: Words, memory: int) -> None:
        super().__init__()
        self.begin, self.end, self.pad = words.begin, words.end, words.pad
        width, self.hidden = memory + 2, config.hidden
        self.detector = Detector(config, memory)
        self.words = nn.Embedding(words.size, config.word)
        self.pictures = nn.Linear(3 * width, config.embed)
        self.module_lstm = nn.LSTMCell(config.embed + config.hidden, config.hidden)
        self.weigh = nn.Linear(config.hidden, 3)
        self.word_lstm = nn.LSTMCell(config.word + width, config.hidden)
        self.head = nn.Linear(config.hidden, words.size)
        self.dropout = nn.Dropout(config.dropout)

    def start(self, memory_B2CYX: Tensor) -> State:
        """Attend to the pictures; both LSTMs begin with zeros."""
        found = self.detector(memory_B2CYX)
        vectors_B3C = torch.stack([found.before, found.after - found.before, found.after], dim=1)
        zeros = vectors_B3C.new_zeros(len(vectors_B3C), self.hidden)
        state = dict.fromkeys(("module_h", "module_c", "word_h", "word_c"), zeros)
        return {**state, "vectors": vectors_B3C, "maps": found.maps}

    def step(self, state: State, ids_B: Tensor) -> tuple[Tensor, State]:
        """Read one more word of each sentence; return the log probabilities (B, V) of the next.

        The state's ``weights`` (B, 3) say how much before, difference and after counted for it.
        """
        vectors_B3C = state["vectors"]
        pictures = self.dropout(self.pictures(vectors_B3C.flatten(1)).relu())
        given = torch.cat([pictures, state["word_h"]], dim=1)
        module_h, module_c = self.module_lstm(given, (state["module_h"], state["module_c"]))
        weights_B3 = self.weigh(module_h).softmax(dim=1)
        picture = (weights_B3[:, :, None] * vectors_B3C).sum(dim=1)
        word = self.dropout(self.words(ids_B).relu())
        word_h, word_c = self.word_lstm(torch.cat([word, picture], dim=1), (state["word_h"], state["word_c"]))
        new = {**state, "module_h": module_h, "module_c": module_c, "word_h": word_h, "word_c": word_c}
        logits = self.head(self.dropout(word_h))
        return log_softmax(logits.float(), dim=-1), {**new, "weights": weights_B3}

    def read(self, state: State, ids_BL: Tensor) -> Tensor:
        """Return the log probabilities (B, L, V) of the word after each word of given sentences."""
        return self.told(state, ids_BL)[0]

    def told(self, state: State, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log probabilities (B, L, V), and the weights of before, difference and after (B, L, 3)."""
        found, weights = [], []
        for ids_B in ids_BL.unbind(dim=1):
            logp, state = self.step(state, ids_B)
            found.append(logp)
            weights.append(state["weights"])
        return torch.stack(found, dim=1), torch.stack(weights, dim=1)

    def forward(self, memory_B2CYX: Tensor, ids_BL: Tensor) -> Tensor:
        """Return log probabilities (B, L, V) of the word after each word."""
        return self.read(self.start(memory_B2CYX), ids_BL)


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the official weights, of detector and speaker, to those of ``Duda``.

    Args:
        state: ``detector.`` or ``speaker.``, then the official name.

    Raises:
        KeyError: a weight is missing.
    """
    names = {
        "detector.embed.0": "detector.embed.0",
        "detector.embed.1": "detector.embed.1",
        "detector.att": "detector.att",
        "pictures": "speaker.core.embed.0",
        "weigh": "speaker.core.weight_fc.0",
        "head": "speaker.logit",
    }
    out = {f"{own}.{kind}": state[f"{theirs}.{kind}"] for own, theirs in names.items() for kind in ("weight", "bias")}
    out["words.weight"] = state["speaker.embed.0.weight"]
    for own, theirs in {"module_lstm": "module_att_lstm", "word_lstm": "lang_lstm"}.items():
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            out[f"{own}.{kind}"] = state[f"speaker.core.{theirs}.{kind}"]
    return out
