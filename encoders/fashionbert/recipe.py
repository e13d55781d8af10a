"""What FashionBERT is trained with: the settings, and two sets of them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from quiver.encoders._train import Loop
from quiver.encoders.fashionbert.adaptive import Rule
from quiver.encoders.fashionbert.feature import Extractor
from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Extractor):
    """What is trained, and how.

    Attributes:
        features: ``pixels``, or the spec of a CNN of timm, as in 'timm model=resnet50'.
        view: cells looks at every cell by itself, averaged once at the whole picture, which is far cheaper.
        size: side of what the CNN looks at, in pixels.
        side: of a cell with features=pixels, in pixels.
        rows: of the grid of patches.
        columns: of the grid of patches.
        bert: folder or Hub name of a BERT to start from, with its word pieces; empty starts from nothing.
        layers: blocks of the encoder; with bert the first so many of its own, 0 for all.
        hidden: width of a token, where there is no bert to say so.
        heads: of attention, likewise.
        inner: width inside a block, likewise.
        vocabulary: word pieces learnt from the texts, likewise.
        dropout: of embeddings, attention and residuals.
        feature_dropout: of the features of patches.
        centre: centre and scale features by the figures of the training set.
        align: width of the space in which texts and pictures are aligned before, and whose cosine is added to margins;
            0 for neither.
        align_steps: updates by that.
        align_batch: pairs per step and rank, all of which compete.
        align_rate: its peak learning rate.
        rank_steps: updates in which groups of like products are ranked, after all others; 0 for none.
        rank_batch: groups per step and rank.
        rank_rate: its peak learning rate.
        group: products of a group: so many squared are the pairs that are read.
        hide: share of word pieces that are hidden while aligning and ranking.
        max_text: longest text in word pieces; the ends of longer ones are cut off.
        fields: meta columns, joined by commas; every picture is also learnt with its text followed by their values.
        category: the meta column of sub-categories; empty takes sub_category, category or label.
        negatives: category, batch, mined, or several joined by +, in equal parts.
        recall: for mined, the spec of an encoder of texts and pictures, such as a trained two-tower model.
        rivals: negatives of every pair.
        word_rate: share of word pieces to guess, one at least; 0 for none.
        patch_rate: share of patches to guess.
        matched: guess in pairs that belong together only.
        adaptive: how losses are weighed: raw, share or official (see adaptive.Rule), or uniform.
        guard: what raw does where its formula has no answer: raise, exact or uniform.
        alpha: of the adaptive weights; 1 is the printed formula.
        every: steps between measurements of gradients for the weights.
        steps: updates of the weights by these three losses; 0 for none.
        batch: pairs that belong together per step and rank; rivals come on top.
        learning_rate: its peak.
        warmup: steps in which it rises to that from 0; then it falls to 0 along half a cosine.
        decay: weight decay.
        clip: the norm that gradients are scaled down to, or none.
        precision: of the model: fp32, bf16 or fp16.
        device: auto, cpu, cuda or cuda:N.
        seed: of weights, order and everything drawn.
        folder: where features are kept; none for ``patches`` in the folder of the run.
        validate_every: steps between validations; the best state is kept.
        validate_on: questions asked each way, of the validation part.
        validate_among: rivals of each answer, of its sub-category.
        save_every: steps between states that a run can go on from.
        log_every: steps that one line of the log sums up.
    """

    bert: str = ""
    layers: int = 12
    hidden: int = 768
    heads: int = 12
    inner: int = 3072
    vocabulary: int = 30522
    dropout: float = 0.1
    feature_dropout: float = 0.1
    centre: bool = False
    align: int = 0
    align_steps: int = 300
    align_batch: int = 512
    align_rate: float = 1e-3
    rank_steps: int = 0
    rank_batch: int = 6
    rank_rate: float = 2e-4
    group: int = 8
    hide: float = 0.15
    max_text: int = 64
    fields: str = ""
    category: str = ""
    negatives: str = "category"
    recall: str = ""
    rivals: int = 1
    word_rate: float = 0.15
    patch_rate: float = 0.1
    matched: bool = True
    adaptive: Literal["raw", "share", "official", "uniform"] = "raw"
    guard: Literal["raise", "exact", "uniform"] = "raise"
    alpha: float = 1.0
    every: int = 1
    steps: int = 100_000
    batch: int = 64
    learning_rate: float = 2e-5
    warmup: int = 5000
    decay: float = 1e-4
    clip: float | None = 1.0
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    device: str = "auto"
    seed: int = 0
    folder: Path | None = None
    validate_every: int = 5000
    validate_on: int = 1000
    validate_among: int = 100
    save_every: int = 1000
    log_every: int = 50

    def __post_init__(self) -> None:
        Extractor.__post_init__(self)
        if min(self.rivals, self.validate_on, self.validate_among) < 1:
            raise BadSpec("fashionbert needs rivals, validate_on and validate_among of at least 1")
        rates = (self.word_rate, self.patch_rate, self.hide)
        if not all(0 <= rate < 1 for rate in rates):
            raise BadSpec("word_rate, patch_rate and hide must be at least 0 and below 1")
        phases = self.align, self.steps, self.rank_steps
        if min(phases) < 0 or not max(phases):
            raise BadSpec("align, steps and rank_steps must be at least 0, and one of them above it")
        if self.group < 2:
            raise BadSpec("a group needs at least 2 products to be ranked")
        _ = self.loop, self.aligning, self.ranking, self.rule  # which check the rest

    @property
    def extractor(self) -> Extractor:
        """What takes patches from pictures."""
        return Extractor(**{field.name: getattr(self, field.name) for field in fields(Extractor)})

    @property
    def rule(self) -> Rule | None:
        """How losses are weighed; None for all alike."""
        if self.adaptive == "uniform":
            return None
        return Rule(mode=self.adaptive, guard=self.guard, alpha=self.alpha, every=self.every)

    @property
    def loop(self) -> Loop:
        """How to optimise."""
        return Loop(
            steps=max(1, self.steps),
            batch=self.batch,
            rate=self.learning_rate,
            warmup=self.warmup,
            optimiser="adamw",
            decay=self.decay,
            clip=self.clip,
            precision=self.precision,
            device=self.device,
            seed=self.seed,
            validate_every=self.validate_every,
            save_every=self.save_every,
            log_every=self.log_every,
        )

    @property
    def aligning(self) -> Loop:
        """How to optimise before."""
        steps = max(1, self.align_steps)
        return replace(
            self.loop, steps=steps, batch=self.align_batch, rate=self.align_rate, warmup=min(self.warmup, steps // 10)
        )

    @property
    def ranking(self) -> Loop:
        """How to optimise after."""
        steps = max(1, self.rank_steps)
        return replace(
            self.loop, steps=steps, batch=self.rank_batch, rate=self.rank_rate, warmup=min(self.warmup, steps // 10)
        )


#: The paper's recipe as far as secondary sources tell: rate, warmup, decay, negatives, masking; batch and steps are
#: unknown. ``cpu`` is ours: a few thousand products in minutes, from 2 x 2 places and two views of the whole picture,
#: aligned and ranked without the paper's losses, which need far more pairs than that.
PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(bert="google-bert/bert-base-uncased"),
    "cpu": Recipe(
        features="timm model=mobilenetv2_100",
        view="averaged",
        size=128,
        rows=2,
        columns=2,
        whole="timm model=mobilenetv2_100 + classic",
        centre=True,
        layers=2,
        hidden=256,
        heads=4,
        inner=1024,
        vocabulary=8192,
        max_text=24,
        feature_dropout=0.3,
        align=256,
        align_steps=200,
        negatives="category+batch",
        adaptive="uniform",
        steps=0,
        batch=32,
        learning_rate=5e-4,
        rank_steps=150,
        warmup=30,
        decay=0.1,
        validate_every=75,
        validate_on=100,
        validate_among=30,
        save_every=75,
        log_every=10,
    ),
}
