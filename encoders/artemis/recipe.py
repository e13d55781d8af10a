"""Settings of a training, and two sets of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from quiver.encoders._train import Loop
from quiver.encoders.artemis.config import LIBRARIES, Bert, Config
from quiver.errors import BadSpec

RECURRENT = ("bigru", "lstm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Towers:
    """Encoders of pictures and words.

    Attributes:
        image: a backbone that learns, as torchvision:resnet50, timm:NAME or open_clip:NAME/TAG; or the spec of frozen
            encoders whose features are learnt from, as in 'timm model=resnet50.tv_in1k + classic'.
        pretrained: start a backbone from its library's weights; of torchvision from IMAGENET1K_V1, as the papers did,
            or from others that are named, as in torchvision:resnet50/IMAGENET1K_V2.
        text: bigru, lstm, or the spec of frozen encoders of text.
        glove: a GloVe text file that word vectors start from, as wide as model.embedding; none for random ones.
        least: times a word must occur to be known.
        bert: folder or Hub name of an uncased BERT, or of Oscar, that composer=cirplant starts from, with its word
            pieces; it says model.dim, model.bert.heads and model.bert.inner itself. Empty starts from random weights.
        forget: share of words that are read as unknown in training, so that unknown words disturb little later; 0
            forgets none. For recurrent towers.
    """

    image: str = "torchvision:resnet50"
    pretrained: bool = True
    text: str = "bigru"
    glove: Path | None = None
    least: int = 1
    bert: str = ""
    forget: float = 0.0

    def __post_init__(self) -> None:
        if self.least < 1:
            raise BadSpec("artemis needs towers.least of at least 1")
        if not 0 <= self.forget < 1:
            raise BadSpec(f"artemis needs towers.forget from 0 to below 1, not {self.forget:g}")

    @property
    def trains_backbone(self) -> bool:
        """Whether pictures come as pixels."""
        return self.image.partition(":")[0] in LIBRARIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Training data.

    Attributes:
        negatives: known leaves out targets of the batch that answer a question too; all takes them as negatives, as
            the authors do.
        in_set: for model.objective=triplet, what other candidates of a question are (see ``cirr track=subset
            targets=soft``): none; positives takes those with the same grade as the answer, as the authors of CIRPLANT
            do; both also takes those without a grade as negatives.
        cache: where features are kept; none for ``features`` in the folder of the run.
    """

    negatives: Literal["known", "all"] = "known"
    in_set: Literal["none", "positives", "both"] = "none"
    cache: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The first phase, in which backbone and word vectors stay as they are; its other settings are those of loop.

    Attributes:
        epochs: passes over the training set; 0 leaves the phase out.
        rate: learning rate.
        halve_epochs: passes over the training set after which the rate is halved.
    """

    epochs: float = 8.0
    rate: float = 5e-4
    halve_epochs: float = 4.0

    def __post_init__(self) -> None:
        if not (self.epochs >= 0 and self.rate > 0 and self.halve_epochs > 0):
            raise BadSpec("artemis needs first.epochs of at least 0, and first.rate and first.halve_epochs above 0")

    def loop(self, base: Loop) -> Loop:
        """Return how to optimise in this phase; it is not validated before its end."""
        once = replace(base, validate_every=0, validations=0, halve_every=0, halve_epochs=self.halve_epochs)
        return replace(once, steps=0, epochs=self.epochs, rate=self.rate, warmup=0)


def _model(**settings: Any) -> Config:
    """Return a config that takes a hidden layer; ``Recipe.config`` says what the model reads."""
    return Config(image="features:1", **settings)


def _loop() -> Loop:
    paper = Loop(epochs=50.0, batch=32, rate=2.5e-4, schedule="halve", halve_epochs=10.0, decay=0.01)
    return replace(paper, validations=50, save_every=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of a training.

    Attributes:
        towers: encoders of pictures and words.
        model: the model on top of them.
        data: training data.
        loop: how it is optimised; the second phase, in which everything learns.
        first: the phase before it.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    FORMER: ClassVar[Mapping[str, str]] = {
        **{name: f"loop.{name}" for name in ("epochs", "rate")},
        "halve": "loop.halve_epochs",
        "first_epochs": "first.epochs",
        "first_rate": "first.rate",
        "first_halve": "first.halve_epochs",
    }

    towers: Towers = field(default_factory=Towers)
    model: Config = field(default_factory=_model)
    data: Data = field(default_factory=Data)
    loop: Loop = field(default_factory=_loop)
    first: First = field(default_factory=First)

    def __post_init__(self) -> None:
        self.loop.check_steps()
        _ = self.config(image_width=1, text_width=1, words=("word",))  # which checks that all go together
        if self.towers.bert and self.model.composer != "cirplant":
            raise BadSpec(f"towers.bert is for model.composer=cirplant; {self.model.composer} has no BERT")
        if self.data.in_set not in ("none", "positives", "both"):
            raise BadSpec(f"data.in_set must be none, positives or both, not {self.data.in_set!r}")
        if self.data.in_set != "none" and self.model.objective != "triplet":
            raise BadSpec("data.in_set is for model.objective=triplet: a batch of queries classifies their own targets")

    @property
    def reads_features(self) -> bool:
        """Whether words come as features of a frozen encoder."""
        return self.towers.text not in RECURRENT and self.model.composer not in ("cirplant", "visual_search")

    def config(self, *, image_width: int, text_width: int, words: tuple[str, ...], joint: bool = True) -> Config:
        """Return the model's config, once the data has told how wide features are and which words there are.

        Args:
            image_width: of the features of pictures.
            text_width: of the features of words.
            words: the vocabulary.
            joint: whether several wishes of a question are one text.
        """
        towers, pixels, features = self.towers, self.towers.trains_backbone, self.reads_features
        return replace(
            self.model,
            image=towers.image if pixels else f"features:{image_width}",
            image_spec="" if pixels else towers.image,
            hidden=0 if pixels else self.model.hidden,
            text=f"features:{text_width}" if features else "lstm" if towers.text == "lstm" else "bigru",
            text_spec=towers.text if features else "",
            words=words,
            joint=joint,
        )


#: ``paper`` is ARTEMIS by its released code, ``cirplant`` CIRPLANT by its own: 300 of its epochs of 529 batches, a rate
#: that in effect stays, half precision; it learns from sets, as ``cirr track=subset targets=soft`` has them. ``cpu`` is
#: ours: minutes on two cores, from features, chosen on the validation part of ``fashion_products track=composed
#: change=any``.
PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(),
    "cirplant": Recipe(
        towers=Towers(image="timm model=resnet152.tv_in1k", bert="google-bert/bert-base-uncased"),
        model=_model(composer="cirplant", dim=768, objective="triplet"),
        data=Data(in_set="positives"),
        loop=Loop(
            steps=158_700,
            batch=32,
            rate=1e-5,
            schedule="constant",
            decay=0.05,
            clip=1.0,
            precision="auto",
            validations=300,
            save_every=1000,
            seed=88,
        ),
        first=First(epochs=0.0),
    ),
    "cpu": Recipe(
        towers=Towers(image="timm model=mobilenetv2_100 + classic"),
        model=_model(hidden=512, bert=Bert(layers=2, heads=8, inner=1024, dropout=0.1)),
        loop=replace(_loop(), epochs=4.0, batch=256, rate=3e-3, schedule="cosine", warmup=50, validations=4),
        first=First(epochs=0.0),
    ),
}
