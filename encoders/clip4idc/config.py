"""Configuration of a CLIP4IDC model: how pictures become tokens, how sentences are read, and the space of both.

``config.json`` beside the weights is a config as JSON, and describes the model completely.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from quiver.encoders._settings import found
from quiver.errors import BadSpec

#: Of OpenAI's CLIP, for pixel values from 0 to 1.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

P = TypeVar("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vision:
    """The encoder of two pictures; the defaults are those of CLIP's ViT-B/32.

    Attributes:
        size: pictures are resized to this square, in pixels; their aspect is not kept, so that nothing is cut off.
        patch: side of a patch in pixels, for a convolution; 0 where patches are features of a frozen network.
        feature: width of those features; 0 where patches are pixels.
        rows: of the grid of patches.
        columns: of the grid.
        source: revision of the network that gives the features.
        width: of a token.
        layers: number of transformer blocks.
        intra: blocks that see one picture at a time; the others see both.
        heads: of attention, in each block.
        ratio: width inside a block's feed-forward, in widths of a token.
        activation: ``quick_gelu`` in OpenAI's models, ``gelu`` in most others.
        layer_scale: first value of the gains of residuals; None where the CLIP has none.
        pre_norm: whether tokens are normalised before the first block.
        resample: filter of resizing.
        mean: of each channel, for pixel values from 0 to 1.
        std: likewise.
        dropout: share of each token's entries that is left out in training, before the first block.
        change: hidden units of a way past the blocks for the difference of the two pictures' pooled features, see
            ``change``; 0 for none, as in the paper. For patches that are features.
        relative: whether patches that are features enter as their difference from the mean of both pictures at their
            place, so that equal pictures are alike whatever they show. The paper's enter as they are.

    Raises:
        BadSpec: numbers that do not go together.
    """

    size: int = found(224)
    patch: int = found(32)
    feature: int = found(0)
    rows: int = found(7)
    columns: int = found(7)
    source: str = found("")
    width: int = 768
    layers: int = 12
    intra: int = 9
    heads: int = 12
    ratio: float = found(4.0)
    activation: Literal["quick_gelu", "gelu"] = found("quick_gelu")
    layer_scale: float | None = found(None)
    pre_norm: bool = found(True)
    resample: Literal["bicubic", "bilinear"] = found("bicubic")
    mean: tuple[float, float, float] = found(MEAN)
    std: tuple[float, float, float] = found(STD)
    dropout: float = 0.0
    change: int = 0
    relative: bool = False

    def __post_init__(self) -> None:
        for name in ("mean", "std"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if bool(self.patch) == bool(self.feature):
            raise BadSpec("clip4idc: patches are either pixels (patch) or features (feature)")
        if self.patch and (self.rows, self.columns) != (self.size // self.patch,) * 2:
            raise BadSpec(f"clip4idc: size={self.size} has no grid of {self.rows}x{self.columns} patches")
        if not 0 <= self.intra < self.layers:
            raise BadSpec(f"clip4idc: intra must be from 0 to below layers={self.layers}, not {self.intra}")
        if self.change < 0:
            raise BadSpec(f"clip4idc: vision.change must be at least 0, not {self.change}")
        _check_width(self.width, self.heads, "vision.")
        _check_dropout(self.dropout, "vision.")

    @property
    def patches(self) -> int:
        """Number of patches of a picture."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The encoder of sentences: CLIP's text tower, or a linear map of a frozen encoder's vectors.

    Attributes:
        spec: the frozen encoder; empty for the tower.
        feature: width of its vectors; 0 for the tower.
        source: revision of its vectors.
        vocabulary: number of word pieces; in training from nothing the most that are learnt from the sentences.
        clip: whether pieces are CLIP's own byte pairs; otherwise they are in tokenizer.json.
        begin: id before the first piece.
        end: id after the last piece; its token gives the vector.
        pad: id that fills a batch up.
        length: most ids of a sentence, begin and end included; longer sentences are cut.
        width: of a token.
        layers: number of transformer blocks.
        heads: of attention, in each block.
        activation: ``quick_gelu`` in OpenAI's models, ``gelu`` in most others.
        dropout: share of each token's entries that is left out in training, before the first block.

    Raises:
        BadSpec: numbers that do not go together.
    """

    spec: str = found("")
    feature: int = found(0)
    source: str = found("")
    vocabulary: int = 49408
    clip: bool = found(True)
    begin: int = found(49406)
    end: int = found(49407)
    pad: int = found(0)
    length: int = 32
    width: int = 512
    layers: int = 12
    heads: int = 8
    activation: Literal["quick_gelu", "gelu"] = found("quick_gelu")
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if bool(self.spec) != bool(self.feature):
            raise BadSpec("clip4idc: a frozen text encoder needs the width of its vectors")
        if min(self.length - 3, self.layers - 1) < 0:
            raise BadSpec("clip4idc: text.length must be at least 3 (begin, a piece, end), and text.layers at least 1")
        _check_width(self.width, self.heads, "text.")
        _check_dropout(self.dropout, "text.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """CLIP4IDC; the defaults are the paper's.

    Attributes:
        name: the space is called ``clip4idc/<name>``; set by training.
        dim: width of the space.
        temperature: cosines are divided by it at first, where no CLIP brings its own; learnt, never below 0.01.
        vision: the encoder of two pictures.
        text: the encoder of sentences.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    name: str = found("model")
    dim: int = 512
    temperature: float = 0.07
    vision: Vision = field(default_factory=Vision)
    text: Text = field(default_factory=Text)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vision", _part(Vision, self.vision))
        object.__setattr__(self, "text", _part(Text, self.text))
        if self.dim < 1:
            raise BadSpec(f"clip4idc: dim must be at least 1, not {self.dim}")
        if not 0.01 <= self.temperature <= 1:
            raise BadSpec(f"clip4idc: temperature must be from 0.01 to 1, not {self.temperature}")

    @classmethod
    def cpu(cls) -> "Config":
        """Return a size that trains on a few cores: 2 blocks of 192 that see both pictures, sentences in 2 blocks.

        The blocks see differences, and the difference of pooled features goes past them, see ``change``.
        """
        vision = Vision(
            width=192, layers=2, intra=0, heads=6, activation="gelu", dropout=0.1, change=512, relative=True
        )  # fmt: skip
        text = Text(vocabulary=2000, width=192, layers=2, heads=6, activation="gelu", dropout=0.1)
        return cls(dim=128, vision=vision, text=text)

    @classmethod
    def tiny(cls) -> "Config":
        """Return the smallest model with all parts, of pictures of 16 pixels, for tests."""
        vision = Vision(size=16, patch=8, rows=2, columns=2, width=16, layers=2, intra=1, heads=2)
        text = Text(
            vocabulary=60, clip=False, begin=2, end=3, pad=0, length=12, width=16, layers=1, heads=2
        )  # fmt: skip
        return cls(name="tiny", dim=8, vision=vision, text=text)


def _part(kind: type[P], value: P | Mapping[str, Any]) -> P:
    """Return a part of a config; JSON has it as a mapping."""
    if isinstance(value, kind):
        return value
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    if unknown := sorted(set(value) - known):  # type: ignore[arg-type]
        raise BadSpec(f"clip4idc has the unknown field {unknown[0]!r}: it was written by another version")
    return kind(**value)  # type: ignore[arg-type]


def _check_width(width: int, heads: int, group: str) -> None:
    if heads < 1 or width < 1 or width % heads:
        raise BadSpec(f"clip4idc: {group}width={width} is not a multiple of {group}heads={heads}")


def _check_dropout(dropout: float, group: str) -> None:
    if not 0 <= dropout < 1:
        raise BadSpec(f"clip4idc: {group}dropout must be from 0 to below 1, not {dropout}")
