"""Settings of a training, and two sets of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from quiver.encoders._patch.extract import Extractor
from quiver.encoders._train import Loop, Phase
from quiver.encoders.fashionbert.adaptive import Rule
from quiver.encoders.fashionbert.config import Config
from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Training data.

    Attributes:
        fields: meta columns, joined by commas; every picture is also learnt with its text followed by their values.
        category: the meta column of sub-categories; empty takes sub_category, category or label.
        negatives: category, batch, mined, or several joined by +, in equal parts.
        recall: for mined, the spec of an encoder of texts and pictures, such as a trained two-tower model.
        rivals: negatives of every pair.
        word_rate: share of word pieces to guess, one at least; 0 for none.
        patch_rate: share of patches to guess.
        hide: share of word pieces that are hidden while aligning and ranking.
        centre: centre and scale features by the mean and deviation of the training set.
        folder: where features are kept; none for ``patches`` in the folder of the run.
        validate_on: questions asked each way, of the validation part.
        validate_among: rivals of each answer, of its sub-category.
    """

    fields: str = ""
    category: str = ""
    negatives: str = "category"
    recall: str = ""
    rivals: int = 1
    word_rate: float = 0.15
    patch_rate: float = 0.1
    hide: float = 0.15
    centre: bool = False
    folder: Path | None = None
    validate_on: int = 1000
    validate_among: int = 100

    def __post_init__(self) -> None:
        if min(self.rivals, self.validate_on, self.validate_among) < 1:
            raise BadSpec("fashionbert needs data.rivals, validate_on and validate_among of at least 1")
        if not all(0 <= rate < 1 for rate in (self.word_rate, self.patch_rate, self.hide)):
            raise BadSpec("data.word_rate, patch_rate and hide must be at least 0 and below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """How the three losses of the paper are weighed.

    Attributes:
        matched: guess words and patches only in pairs that belong together.
        adaptive: raw, share or official (see adaptive.Rule), or uniform for equal weights.
        guard: what raw does where its formula has no answer: raise, exact or uniform.
        alpha: of the adaptive weights; 1 is the printed formula.
        every: steps between measurements of gradients for the weights.
    """

    matched: bool = True
    adaptive: Literal["raw", "share", "official", "uniform"] = "raw"
    guard: Literal["raise", "exact", "uniform"] = "raise"
    alpha: float = 1.0
    every: int = 1

    def __post_init__(self) -> None:
        _ = self.rule  # which checks the rest

    @property
    def rule(self) -> Rule | None:
        """The rule of adaptive weights; None for equal ones."""
        if self.adaptive == "uniform":
            return None
        return Rule(mode=self.adaptive, guard=self.guard, alpha=self.alpha, every=self.every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Align(Phase):
    """The phase before, which aligns texts and pictures by themselves; model.align=0 leaves it out.

    Attributes:
        batch: pairs per step and rank, all of which compete.
    """

    steps: int = 300
    batch: int = 512
    rate: float = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank(Phase):
    """The phase after all others, in which groups of like products are ranked.

    Attributes:
        steps: updates of this phase; 0 leaves it out.
        batch: groups per step and rank.
        group: products of a group; the model reads this number of pairs squared.
    """

    steps: int = 0
    batch: int = 6
    rate: float = 2e-4
    group: int = 8

    def __post_init__(self) -> None:
        Phase.__post_init__(self)
        if self.group < 2:
            raise BadSpec("rank.group needs at least 2 products to be ranked")


def _loop() -> Loop:
    paper = Loop(steps=100_000, batch=64, rate=2e-5, warmup=5000, decay=1e-4, clip=1.0, precision="bf16")
    return replace(paper, validate_every=5000, save_every=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of a training.

    Attributes:
        bert: folder or Hub name of a BERT to start from, with its word pieces; empty starts from nothing. It says
            model.hidden, heads, inner and vocabulary itself; model.layers are its first ones, 0 for all.
        patches: how patches are taken from pictures.
        model: the model that reads words and patches.
        data: training data.
        losses: how the paper's three losses are weighed.
        loop: how they are optimised; steps=0 leaves them out.
        align: the phase before them.
        rank: the phase after them.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    FORMER: ClassVar[Mapping[str, str]] = {
        **{name: f"loop.{name}" for name in ("steps", "batch")},
        "learning_rate": "loop.rate",
        **{f"{phase}_{name}": f"{phase}.{name}" for phase in ("align", "rank") for name in ("steps", "batch", "rate")},
    }

    bert: str = ""
    patches: Extractor = field(default_factory=Extractor)
    model: Config = field(default_factory=Config)
    data: Data = field(default_factory=Data)
    losses: Losses = field(default_factory=Losses)
    loop: Loop = field(default_factory=_loop)
    align: Align = field(default_factory=Align)
    rank: Rank = field(default_factory=Rank)

    def __post_init__(self) -> None:
        if not (self.model.align or self.loop.steps or self.loop.epochs or self.rank.steps):
            raise BadSpec("model.align, loop.steps and rank.steps must be at least 0, and one of them above it")
        if self.model.align and not self.align.steps:
            raise BadSpec("align.steps must be at least 1; model.align=0 leaves the phase out")
        if self.loop.shard and self.losses.rule is not None and (self.loop.steps or self.loop.epochs):
            raise BadSpec(
                f"loop.shard=true does not go with losses.adaptive={self.losses.adaptive}, which compares whole"
                " gradients: set losses.adaptive=uniform"
            )


#: The paper's recipe as far as secondary sources tell: rate, warmup, decay, negatives, masking; batch and steps are
#: unknown. ``cpu`` is ours: a few thousand products in minutes, from 2 x 2 places and two views of the whole picture,
#: aligned and ranked without the paper's losses, which need far more pairs than that.
PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(bert="google-bert/bert-base-uncased"),
    "cpu": Recipe(
        patches=Extractor(
            features="timm model=mobilenetv2_100",
            view="averaged",
            size=128,
            rows=2,
            columns=2,
            whole="timm model=mobilenetv2_100 + classic",
        ),
        model=Config(
            layers=2,
            hidden=256,
            heads=4,
            inner=1024,
            vocabulary=8192,
            max_text=24,
            feature_dropout=0.3,
            align=256,
        ),
        data=Data(centre=True, negatives="category+batch", validate_on=100, validate_among=30),
        losses=Losses(adaptive="uniform"),
        loop=replace(
            _loop(), steps=0, batch=32, rate=5e-4, warmup=30, decay=0.1, validate_every=75, save_every=75, log_every=10
        ),
        align=Align(steps=200),
        rank=Rank(steps=150),
    ),
}
