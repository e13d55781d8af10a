"""Configuration of a composed-retrieval model, as one JSON object.

Defaults are those of ARTEMIS (Delmas et al., ICLR 2022) on FashionIQ: ResNet-50 with GeM pooling, a BiGRU, width 512.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from quiver.encoders._settings import found
from quiver.errors import BadSpec

Composer = Literal["artemis", "em", "is", "tirg", "late_fusion", "cross_modal", "visual_search", "cirplant", "combiner"]
Attention = Literal["text", "shared", "uniform"]
Objective = Literal["batch", "triplet"]

#: Composers that weigh the target's features by attention; their score does not see the length of a target.
ATTENTIVE = ("artemis", "em", "is")
#: What a query of each composer must hold, where that is not both a picture and words.
HOLDS: Mapping[str, tuple[str, ...]] = {"em": ("text",), "cross_modal": ("text",), "visual_search": ("image",)}
#: Composers of two terms, of which the user may weigh one against the other.
WEIGHABLE = ("artemis", "late_fusion")
LIBRARIES = ("timm", "torchvision", "open_clip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bert:
    """CIRPLANT's transformer; defaults are BERT base.

    Attributes:
        layers: how many.
        heads: of attention, a divisor of the model's width.
        inner: width of the feed-forward layers.
        dropout: everywhere, while training.
        length: most word pieces of a text, [CLS] and [SEP] among them.
    """

    layers: int = 12
    heads: int = 12
    inner: int = 3072
    dropout: float = 0.3
    length: int = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Configuration of a model. Training sets its inputs (image, text and their specs, words, pieces, joint).

    Attributes:
        composer: artemis, em, is, tirg, late_fusion, cross_modal, visual_search, cirplant or combiner: how picture and
            words are put together and compared with a target.
        dim: width of the space.
        image: ``features:WIDTH`` (vectors made beforehand) or a trainable ``timm:NAME``, ``torchvision:NAME`` or
            ``open_clip:NAME``.
        image_spec: Quiver encoders that make the features, such as ``"timm model=resnet50 + classic"``.
        image_unit: scale picture vectors to length 1; ARTEMIS on CIRR does not.
        size: side in pixels of what a trainable backbone sees.
        text: ``bigru``, ``lstm`` or ``features:WIDTH``; CIRPLANT reads words by itself.
        text_spec: Quiver encoders that make the features of words.
        project: put a linear layer behind features; without it their width must be ``dim``.
        hidden: width of a hidden layer between features of pictures and the space; 0 for the one linear layer of
            ARTEMIS.
        drop: dropout behind the hidden layer.
        words: the vocabulary, without special words; of word pieces, with all of them, in the order of their ids.
        pieces: the vocabulary is one of word pieces (BERT's), not of words.
        joint: several wishes are read as one text; a model that learnt from single wishes takes the mean of their
            directions instead, which any order of them gives.
        embedding: width of a word's vector.
        attention: ``text`` (of the words), ``shared`` (learned, the same for all queries) or ``uniform`` (none).
        mix: share of uniform attention mixed in, from 0 (off) to 1; single-vector recall grows with it.
        spread: weight of the penalty on the variance of log ||a * t|| over a batch; 0 is off.
        objective: ``batch`` classification, or soft ``triplet`` (single-vector composers only).
        temperature: initial logarithm of what scores are multiplied by; ln(1 / 0.07).
        learn_temperature: or keep it.
        scale: initial length of vectors in the triplet loss, learned.
        triplets: drawn per anchor; 6 in CIRPLANT, 3 in TIRG.
        residual: initial weight of TIRG's residual; 10 in TIRG, 1 in ARTEMIS' comparison with it.
        bert: CIRPLANT's transformer.

    Raises:
        BadSpec: a value is out of range, or two do not go together.
    """

    composer: Composer = "artemis"
    dim: int = 512
    image: str = found("torchvision:resnet50")
    image_spec: str = found("")
    image_unit: bool = True
    size: int = 224
    text: str = found("bigru")
    text_spec: str = found("")
    project: bool = True
    hidden: int = 0
    drop: float = 0.2
    words: tuple[str, ...] = found(())
    pieces: bool = found(False)
    joint: bool = found(True)
    embedding: int = 300
    attention: Attention = "text"
    mix: float = 0.0
    spread: float = 0.0
    objective: Objective = "batch"
    temperature: float = 2.65926
    learn_temperature: bool = True
    scale: float = 4.0
    triplets: int = 6
    residual: float = 1.0
    bert: Bert = field(default_factory=Bert)

    def __post_init__(self) -> None:
        # What comes from JSON has lists and objects where this has tuples and dataclasses.
        object.__setattr__(self, "words", tuple(self.words))
        object.__setattr__(self, "bert", replace(Bert(), **_settings(self.bert)))
        for name, options in (("composer", Composer), ("attention", Attention), ("objective", Objective)):
            if (value := getattr(self, name)) not in get_args(options):
                raise BadSpec(f"{name} must be one of {', '.join(get_args(options))}, not {value!r}")
        self._check_numbers()
        self._check_towers()

    def _check_numbers(self) -> None:
        least = {"dim": 2, "size": 1, "embedding": 1, "triplets": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise BadSpec(f"{name} must be at least {low}, not {getattr(self, name)}")
        if self.hidden < 0 or not 0 <= self.drop < 1 or (self.hidden and not (self.project and self.wide("image"))):
            raise BadSpec(f"hidden={self.hidden} drop={self.drop}: a hidden layer projects features of pictures")
        if not (0 <= self.mix <= 1 and self.spread >= 0 and self.scale > 0):
            raise BadSpec(f"out of range: mix={self.mix} (0 to 1), spread={self.spread} (from 0) or scale={self.scale}")
        if self.objective == "triplet" and self.composer in ATTENTIVE:
            raise BadSpec(f"objective=triplet compares single vectors, which composer={self.composer} does not have")
        if (self.mix or self.spread) and self.composer not in ATTENTIVE:
            raise BadSpec(f"mix and spread are about attention, which composer={self.composer} does not have")

    def _check_towers(self) -> None:
        library, _, name = self.image.partition(":")
        if library not in ("features", *LIBRARIES) or not name:
            raise BadSpec(f"image is features:WIDTH or one of {', '.join(LIBRARIES)} and :NAME, not {self.image!r}")
        if self.text not in ("bigru", "lstm") and not self.text.startswith("features:"):
            raise BadSpec(f"text is bigru, lstm or features:WIDTH, not {self.text!r}")
        if self.composer == "cirplant":
            if self.wide("text"):
                raise BadSpec("composer=cirplant reads words, not features of them: leave out text")
            if self.dim % self.bert.heads or not self.project:
                raise BadSpec(f"composer=cirplant projects, to a width that its {self.bert.heads} heads divide")
        elif self.pieces:
            raise BadSpec("pieces=true is for composer=cirplant; the recurrent text towers read words")
        for key in ("image", "text"):
            width = self.wide(key)
            if width and not self.project and width != self.dim:
                raise BadSpec(f"{key}=features:{width} needs project=true to become {self.dim} wide")

    def wide(self, key: Literal["image", "text"]) -> int:
        """Return the width of a key's features, 0 if the key has its own tower."""
        kind, _, width = str(getattr(self, key)).partition(":")
        if kind != "features":
            return 0
        if not width.isdecimal() or not int(width):
            raise BadSpec(f"{key}=features:WIDTH wants a positive number, not {width!r}")
        return int(width)

    @property
    def holds(self) -> tuple[str, ...]:
        """The inputs that a query needs."""
        return HOLDS.get(self.composer, ("image", "text"))

    @property
    def unit(self) -> bool:
        """Whether stored vectors have unit length, which is possible if the score ignores their length."""
        return self.image_unit or self.composer in (*ATTENTIVE, "cirplant")

    @classmethod
    def tiny(cls, composer: Composer = "artemis", **changes: Any) -> "Config":
        """Return one that a test trains in a second: features of 12 numbers, a BiGRU over eight words, width 16."""
        small: dict[str, Any] = {
            "composer": composer,
            "dim": 16,
            "image": "features:12",
            "words": ("red", "blue", "green", "long", "short", "with", "dots", "plain"),
            "embedding": 8,
            "bert": Bert(layers=2, heads=2, inner=24, dropout=0.0, length=12),
        }
        return cls(**(small | changes))


def _settings(bert: Bert | Mapping[str, Any]) -> dict[str, Any]:
    return asdict(bert) if isinstance(bert, Bert) else dict(bert)
