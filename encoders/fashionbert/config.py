"""How large a model is: the trunk both layouts share, and FashionBERT's own."""

from dataclasses import dataclass
from typing import Literal, Self

from quiver.encoders._settings import found
from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """A BERT encoder and its word table; the defaults are BERT-base uncased.

    Attributes:
        vocabulary: word pieces; in training the most that are learnt from the texts.
        hidden: width of a token.
        layers: blocks of the encoder.
        heads: of attention, in each block.
        inner: width inside a block's feed-forward.
        positions: rows of the table of word positions.
        types: rows of the table of segments.
        activation: ``gelu_tanh`` is Google's original, ``gelu`` what PyTorch checkpoints of BERT were trained on with.
        dropout: of embeddings, attention and residuals.
        epsilon: of every layer norm.
        pad: id of the padding piece; a word token with this id is never attended to.
        max_text: longest text in word pieces, special ones included.

    Raises:
        BadSpec: numbers that do not go together.
    """

    vocabulary: int = 30522
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    positions: int = found(512)
    types: int = found(2)
    activation: Literal["gelu_tanh", "gelu"] = found("gelu_tanh")
    dropout: float = 0.1
    epsilon: float = found(1e-12)
    pad: int = found(0)
    max_text: int = 64

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise BadSpec(f"hidden={self.hidden} is not a multiple of heads={self.heads}")
        if not 3 <= self.max_text <= self.positions:
            raise BadSpec(f"max_text must be from 3 to positions={self.positions}, not {self.max_text}")
        if self.activation not in {"gelu_tanh", "gelu"}:
            raise BadSpec(f"activation must be gelu_tanh or gelu, not {self.activation!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Trunk):
    """FashionBERT: BERT-base over at most 64 word pieces and 8 x 8 patches of 2048 features.

    The length of 64 is that of the released scripts; a port says the paper's own is 448.

    Attributes:
        rows: of the grid of patches, from the top.
        columns: of the grid, from the left.
        feature: width of a patch's vector, before its projection.
        whole: further patches that are of the whole picture, each of another kind and with a projection of its own.
        feature_dropout: of the features of patches.
        align: width of the space in which texts and pictures are also compared by themselves, and whose cosine is
            added to margins; 0 for none.
    """

    rows: int = found(8)
    columns: int = found(8)
    feature: int = found(2048)
    whole: int = found(0)
    feature_dropout: float = 0.1
    align: int = 0

    @property
    def patches(self) -> int:
        """Number of patches of a picture, including those of the whole picture."""
        return self.rows * self.columns + self.whole

    @classmethod
    def cpu(cls, *, vocabulary: int = 8192, feature: int = 1280) -> Self:
        """Return a size that trains on a few cores: 4 blocks of 256, features as wide as MobileNetV2's."""
        return cls(vocabulary=vocabulary, hidden=256, layers=4, heads=4, inner=1024, positions=64, feature=feature)

    @classmethod
    def tiny(cls) -> Self:
        """Return a size for tests: 2 blocks of 32, 2 x 2 patches."""
        return cls(
            vocabulary=60, hidden=32, layers=2, heads=4, inner=64, positions=24, max_text=12,
            rows=2, columns=2, feature=16,
        )  # fmt: skip
