"""Train FashionBERT: guess hidden words and patches, and tell pairs that belong together from those that do not.

Gao et al. 2020, arXiv:2005.09801; there is no second stage: a trained model ranks as it is.
Reference: alibaba/EasyTransfer, ``scripts/fashion_bert``, Apache-2.0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from quiver.encoders import _hub
from quiver.encoders._train import Loop, Outcome, first, fit
from quiver.encoders.fashionbert import bert, measure
from quiver.encoders.fashionbert.adaptive import Rule, State, combine, weights
from quiver.encoders.fashionbert.config import Config
from quiver.encoders.fashionbert.data import Lessons, Negatives, Pairs, gather
from quiver.encoders.fashionbert.feature import Extractor, Halves, Source, extract, open
from quiver.encoders.fashionbert.loss import TASKS, Batch, losses
from quiver.encoders.fashionbert.model import FashionBert, Output
from quiver.encoders.fashionbert.token import Pieces
from quiver.errors import BadSpec
from quiver.task import Task


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
        steps: updates of the weights.
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
        if not (0 <= self.word_rate < 1 and 0 <= self.patch_rate < 1):
            raise BadSpec("word_rate and patch_rate must be at least 0 and below 1")
        _ = self.loop, self.rule  # which check the rest

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
            steps=self.steps,
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


#: The paper's recipe as far as secondary sources tell: rate, warmup, decay, negatives, masking; batch and steps are
#: unknown. ``cpu`` is ours: it learns a few thousand products in minutes, from the whole picture at 4 x 4 places.
PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(bert="google-bert/bert-base-uncased"),
    "cpu": Recipe(
        features="timm model=mobilenetv2_100",
        view="averaged",
        size=256,
        rows=4,
        columns=4,
        layers=2,
        hidden=256,
        heads=4,
        inner=1024,
        vocabulary=8192,
        negatives="category+batch",
        adaptive="uniform",
        steps=4000,
        batch=32,
        learning_rate=5e-4,
        warmup=60,
        decay=0.01,
        precision="fp32",
        validate_every=500,
        validate_on=100,
        save_every=500,
    ),
}


def train(learn: Task, validation: Task | None, out: Path, *, recipe: Recipe) -> Outcome:
    """Learn from texts and the pictures that answer them.

    It leaves ``out/model`` with ``config.json``, ``model.safetensors``, ``tokenizer.json`` and ``patches.json``.

    Args:
        learn: what is learnt from: questions of text, items with images.
        validation: what selects the best state, by the mean reciprocal rank of the sampled protocol over both
            directions; None keeps the last state.
        out: the folder of the run, which goes on where it was stopped.
        recipe: the model, and how.

    Raises:
        BadData: there is nothing to learn from, or the loss is not finite.
        BadSpec: the run in ``out`` was begun with another recipe, or what it names is not there.
    """
    source = open(recipe.extractor, device=recipe.device)
    folder = recipe.folder or out / "patches"
    pairs, features = _read(learn, recipe, source, folder)
    model = _build(pairs, recipe, source)
    pieces = cast(Pieces, model.pieces)
    negatives = Negatives.of(pairs, recipe.negatives, recall=recipe.recall, cache=folder)
    lessons = Lessons(negatives, features, pieces, recipe.max_text, recipe.word_rate, recipe.patch_rate, recipe.rivals)
    if first():
        print(f"learns from {len(pairs):,} pairs of {len(pairs.texts):,} texts, sub-categories: {pairs.kind or 'none'}")
    validate = None
    if validation is not None:
        held, seen = _read(validation, replace(recipe, fields=""), source, folder)
        size = (recipe.validate_on, recipe.validate_among)
        exam = measure.draw(held, seen, pieces, limit=recipe.max_text, size=size, seed=recipe.seed)
        validate = _validate(exam)
    pupil = Pupil(model)
    outcome = fit(
        pupil, _loss(pupil, recipe), fetch=lessons.fetch, count=len(pairs), out=out, loop=recipe.loop, validate=validate
    )
    if first():
        model.save_pretrained(out / "model")
        recipe.extractor.write(out / "model")
        print(f"weights of losses: {pupil.state.report()}")
    return outcome


class Pupil(nn.Module):
    """A model, and what the weights of its losses remember, so that both are saved and resumed."""

    def __init__(self, model: FashionBert) -> None:
        super().__init__()
        self.model = model
        self.state = State(TASKS)

    def forward(self, batch: Batch) -> Output:
        """Read the pairs of a batch."""
        output: Output = self.model(batch.text, batch.patches, batch.picked, batch.hidden)
        return output


def _read(task: Task, recipe: Recipe, source: Source, folder: Path) -> tuple[Pairs, Halves]:
    pairs = gather(task, kind=recipe.category, fields=recipe.fields)
    shape = (recipe.rows * recipe.columns, source.width)
    features, mask = extract(source, pairs.pictures, folder=folder, shape=shape)
    return pairs.readable(mask), features


def _build(pairs: Pairs, recipe: Recipe, source: Source) -> FashionBert:
    """Make a model with its word pieces, from a BERT's weights or from random ones, always the same of a seed."""
    grid: dict[str, Any] = {"rows": recipe.rows, "columns": recipe.columns, "feature": source.width}
    grid |= {"max_text": recipe.max_text, "dropout": recipe.dropout}
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        if recipe.bert:
            return _hub.load(recipe.bert, lambda folder: _start(folder, recipe, grid), instead="give bert=FOLDER")
        pieces = Pieces.train(pairs.texts, size=recipe.vocabulary)
        own = {name: getattr(recipe, name) for name in ("layers", "hidden", "heads", "inner")}
        positions = max(64, recipe.max_text)
        model = FashionBert(Config(vocabulary=len(pieces), positions=positions, pad=pieces.id("[PAD]"), **own, **grid))
        _spread(model)
    model.pieces = pieces
    return model


def _spread(model: FashionBert) -> None:
    """Widen random weights from BERT's 0.02, made for a width of 768, to 1 / sqrt(width).

    With 0.02 a model of width 256 attends to everything alike at first, and its matching loss falls later.
    """
    std = model.config.hidden**-0.5
    for part in model.modules():
        if isinstance(part, nn.Linear):
            part.weight.data.mul_(std / 0.02)


def _start(folder: Path, recipe: Recipe, grid: Mapping[str, Any]) -> FashionBert:
    """Make a model from a BERT, or from its first blocks."""
    whole = Config(**{**bert.settings(folder), **grid})
    given = FashionBert(whole)
    bert.start(given, folder)
    layers = recipe.layers or whole.layers
    if layers > whole.layers:
        raise BadSpec(f"layers={layers}: the BERT of {folder} has {whole.layers}; layers=0 takes all of them")
    model = given
    if layers < whole.layers:
        model = FashionBert(replace(whole, layers=layers))
        kept = model.state_dict()
        model.load_state_dict({name: weight for name, weight in given.state_dict().items() if name in kept})
    model.pieces = Pieces.open(folder)
    return model


def _loss(pupil: Pupil, recipe: Recipe) -> Callable[[nn.Module, Any], Mapping[str, Tensor]]:
    rule, even = recipe.rule, dict.fromkeys(TASKS, 1 / len(TASKS))

    def loss(wrapped: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        values, active = losses(wrapped(batch), batch, matched=recipe.matched)
        share = even
        if rule is not None:
            share = weights(values, active, shared=pupil.model.shared(), rule=rule, state=pupil.state)
        total = combine(values, share, scale=len(TASKS))  # steps as long as those of the plain sum
        told = {f"weight_{name}": torch.tensor(share[name], device=total.device) for name in TASKS}
        return {"loss": total, **values, **told}

    return loss


def _validate(exam: measure.Exam) -> Callable[[nn.Module], Mapping[str, float]]:
    def validate(pupil: nn.Module) -> Mapping[str, float]:
        return exam.take(cast(Pupil, pupil).model)  # fit hands over what it was given

    return validate
