"""Sizes of the two caption generators and of their vocabulary."""

from dataclasses import dataclass

from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Ids of a vocabulary.

    Attributes:
        size: number of ids.
        begin: id before the first word.
        end: id after the last word.
        pad: id that fills a batch up.
        length: most ids of a sentence, begin and end included.

    Raises:
        BadSpec: an id is outside the vocabulary.
    """

    size: int
    begin: int
    end: int
    pad: int
    length: int

    def __post_init__(self) -> None:
        for name in ("begin", "end", "pad"):
            if not 0 <= getattr(self, name) < self.size:
                raise BadSpec(f"{name}={getattr(self, name)} is not an id of a vocabulary of {self.size}")
        if self.length < 3:
            raise BadSpec(f"length must be at least 3 (begin, a word, end), not {self.length}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """CLIP4IDC's transformer; the defaults are the paper's.

    Attributes:
        width: of its tokens.
        heads: of attention.
        inner: width inside a block's feed-forward.
        layers: blocks of the encoder, and as many of the decoder.
        dropout: of embeddings, attention and residuals.

    Raises:
        BadSpec: numbers that do not go together.
    """

    width: int = 512
    heads: int = 8
    inner: int = 2048
    layers: int = 3
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise BadSpec(f"width={self.width} is not a multiple of heads={self.heads}")
        if min(self.inner, self.layers) < 1 or not 0 <= self.dropout < 1:
            raise BadSpec("inner and layers must be at least 1, and dropout from 0 to below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Duda:
    """DUDA's dual attention and dynamic speaker; the defaults are the paper's.

    Attributes:
        dim: width of the attention's hidden layer.
        groups: of its group norm.
        embed: width of what the module LSTM reads of the pictures.
        hidden: width of both LSTMs.
        word: width of a word.
        dropout: of attention, words and LSTMs.

    Raises:
        BadSpec: numbers that do not go together.
    """

    dim: int = 128
    groups: int = 32
    embed: int = 512
    hidden: int = 512
    word: int = 300
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.dim % self.groups:
            raise BadSpec(f"dim={self.dim} is not a multiple of groups={self.groups}")
        if min(self.embed, self.hidden, self.word) < 1 or not 0 <= self.dropout < 1:
            raise BadSpec("embed, hidden and word must be at least 1, and dropout from 0 to below 1")
