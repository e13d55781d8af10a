"""Configuration of a model that tells changes: the encoder of pairs, one of two generators, and the vocabulary.

``caption/config.json`` is a ``Telling`` as JSON, and describes the model completely.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from quiver.encoders._settings import found
from quiver.encoders.clip4idc.config import Vision
from quiver.errors import BadSpec

P = TypeVar("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Ids of a vocabulary.

    Attributes:
        size: number of ids.
        begin: id before the first word.
        end: id after the last word.
        pad: id that fills a batch up.
        length: most ids of a sentence, begin and end included.
        clip: whether words are CLIP's byte pairs; otherwise they are in tokenizer.json.

    Raises:
        BadSpec: an id is outside the vocabulary.
    """

    size: int
    begin: int
    end: int
    pad: int
    length: int
    clip: bool = False

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """A model that tells changes.

    Attributes:
        name: of the model.
        generator: ``clip4idc`` reads the tokens of the encoder of pairs, ``duda`` the features of both pictures.
        vision: the encoder of pairs, or the features.
        dim: width of the encoder's tokens.
        writer: sizes of CLIP4IDC's generator.
        duda: sizes of DUDA.
        words: the vocabulary.
        prior: how much the likelihood of a sentence without its pair counts against it when sentences are ranked.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    words: Words
    name: str = "model"
    generator: Literal["clip4idc", "duda"] = "clip4idc"
    vision: Vision = field(default_factory=Vision)
    dim: int = 512
    writer: Writer = field(default_factory=Writer)
    duda: Duda = field(default_factory=Duda)
    prior: float = found(0.0)

    def __post_init__(self) -> None:
        kinds: dict[str, Any] = {"words": Words, "vision": Vision, "writer": Writer, "duda": Duda}
        for name, kind in kinds.items():  # JSON has mappings
            object.__setattr__(self, name, _part(kind, getattr(self, name)))
        if self.generator not in ("clip4idc", "duda"):
            raise BadSpec(f"clip4idc: the generator is clip4idc or duda, not {self.generator!r}")
        if self.generator == "duda" and not self.vision.feature:
            raise BadSpec("clip4idc: duda reads features of a frozen network: give image=tokens:NETWORK")


def _part(kind: type[P], value: P | Mapping[str, Any]) -> P:
    if isinstance(value, kind):
        return value
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    given: Mapping[str, Any] = value  # type: ignore[assignment]
    if unknown := sorted(set(given) - known):
        raise BadSpec(f"clip4idc has the unknown field {unknown[0]!r}: it was written by another version")
    return kind(**given)
