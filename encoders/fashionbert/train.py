"""Train FashionBERT: predict masked words and patches, and classify matching and other pairs.

Gao et al. 2020, arXiv:2005.09801; there is no second stage: a trained model ranks as it is.
Reference: alibaba/EasyTransfer, ``scripts/fashion_bert``, Apache-2.0.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from quiver.encoders import _hub
from quiver.encoders._patch.extract import Halves, Source, extract, open
from quiver.encoders._pieces import Pieces
from quiver.encoders._train import Outcome, first, fit
from quiver.encoders.fashionbert import bert, phase
from quiver.encoders.fashionbert.adaptive import State, combine, weights
from quiver.encoders.fashionbert.config import Config
from quiver.encoders.fashionbert.data import Lessons, Negatives, Pairs, gather
from quiver.encoders.fashionbert.loss import TASKS, Batch, losses
from quiver.encoders.fashionbert.model import FashionBert, Output
from quiver.encoders.fashionbert.phase import Fetch, Groups, Sides
from quiver.encoders.fashionbert.recipe import PRESETS, Recipe
from quiver.encoders.fashionbert.validate import Validation, draw
from quiver.errors import BadSpec
from quiver.task import Task

__all__ = ["PRESETS", "Recipe", "train"]

#: Pictures by whose features these are centred and scaled.
MEASURED = 10_000


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
    source = open(recipe.patches, device=recipe.loop.device)
    folder = recipe.data.folder or out / "patches"
    pairs, features = _read(learn, recipe, source, folder)
    model = _build(pairs, recipe, source)
    if recipe.data.centre:
        model.patches.measure(torch.from_numpy(np.array(features[:MEASURED])))
    if first():
        print(f"training on {len(pairs):,} pairs of {len(pairs.texts):,} texts, sub-categories: {pairs.kind or 'none'}")
    validate = None
    if validation is not None:
        held, seen = _read(validation, replace(recipe, data=replace(recipe.data, fields="")), source, folder)
        size = (recipe.data.validate_on, recipe.data.validate_among)
        pieces = cast(Pieces, model.pieces)
        questions = draw(held, seen, pieces, limit=recipe.model.max_text, size=size, seed=recipe.loop.seed)
        validate = _validate(questions)
    pupil = Pupil(model, recipe.rank.group)
    outcome = _learn(pupil, pairs, features, recipe=recipe, out=out, validate=validate)
    if first():
        model.save_pretrained(out / "model")
        recipe.patches.write(out / "model")
        print(f"weights of losses: {pupil.state.report()}")
    return outcome


def _learn(
    pupil: "Pupil",
    pairs: Pairs,
    features: Halves,
    *,
    recipe: Recipe,
    out: Path,
    validate: Callable[[nn.Module], Mapping[str, float]] | None,
) -> Outcome:
    """Go through the phases that the recipe has; return the result of the last."""
    pieces, data, outcome = cast(Pieces, pupil.model.pieces), recipe.data, None
    run = partial(fit, pupil, count=len(pairs), out=out)
    main = bool(recipe.loop.steps or recipe.loop.epochs)
    sides = Fetch(pairs, features, pieces, recipe.model.max_text, data.hide)
    if pupil.model.align is not None:
        outcome = run(
            phase.aligned(pairs),
            fetch=sides,
            loop=recipe.align.loop(recipe.loop),
            validate=None if main or recipe.rank.steps else validate,
            phase="align",
        )
    if main:
        negatives = Negatives.of(pairs, data.negatives, recall=data.recall, cache=data.folder or out / "patches")
        shares = data.word_rate, data.patch_rate, data.rivals
        lessons = Lessons(negatives, features, pieces, recipe.model.max_text, *shares)
        outcome = run(_loss(pupil, recipe), fetch=lessons.fetch, loop=recipe.loop, validate=validate)
    if recipe.rank.steps:
        outcome = run(
            lambda model, batch: phase.ranked(model(batch), batch.known),
            fetch=replace(sides, near=phase.hard(pupil.model, sides), group=recipe.rank.group),
            loop=recipe.rank.loop(recipe.loop),
            validate=validate,
            phase="rank",
        )
    return cast(Outcome, outcome)  # a recipe has one of them


class Pupil(nn.Module):
    """A model and the state of its loss weights, so that both are saved and resumed.

    Attributes:
        group: products that are ranked together.
    """

    def __init__(self, model: FashionBert, group: int) -> None:
        super().__init__()
        self.model = model
        self.group = group
        self.state = State(TASKS)

    def forward(self, batch: Batch | Sides) -> Output | Tensor | tuple[Tensor, Tensor, Tensor]:
        """Read the pairs of a batch; or embed its texts and pictures, where it is one group, or rank its groups."""
        if isinstance(batch, Batch):
            output: Output = self.model(batch.text, batch.patches, batch.picked, batch.hidden)
            return output
        align = self.model.align
        if align is None or isinstance(batch, Groups):
            return self.model.cross(batch.text, batch.patches, self.group)
        words, patches = self.model.words(batch.text), self.model.patches(batch.patches)
        return align.embed_text(batch.text, words), align.embed_image(patches), align.factor()


def _read(task: Task, recipe: Recipe, source: Source, folder: Path) -> tuple[Pairs, Halves]:
    pairs = gather(task, kind=recipe.data.category, fields=recipe.data.fields)
    shape = (recipe.patches.patches, source.width)
    features, mask = extract(source, pairs.pictures, folder=folder, shape=shape)
    return pairs.readable(mask), features


def _build(pairs: Pairs, recipe: Recipe, source: Source) -> FashionBert:
    """Make a model with its word pieces, from a BERT's weights or from random ones, always the same of a seed."""
    said, patches = recipe.model, recipe.patches
    grid: dict[str, Any] = {"rows": patches.rows, "columns": patches.columns, "feature": source.width}
    grid |= {"whole": len(patches.wholes), "feature_dropout": said.feature_dropout, "align": said.align}
    grid |= {"max_text": said.max_text, "dropout": said.dropout}
    with torch.random.fork_rng():
        torch.manual_seed(recipe.loop.seed)
        if recipe.bert:
            model = _hub.load(recipe.bert, lambda folder: _start(folder, recipe, grid), instead="give bert=FOLDER")
            _count(model, pairs, recipe)
            return model
        pieces = Pieces.train(pairs.texts, size=said.vocabulary)
        own = {name: getattr(said, name) for name in ("layers", "hidden", "heads", "inner")}
        positions = max(64, said.max_text)
        model = FashionBert(Config(vocabulary=len(pieces), positions=positions, pad=pieces.id("[PAD]"), **own, **grid))
        _spread(model)
    model.pieces = pieces
    _count(model, pairs, recipe)
    return model


def _count(model: FashionBert, pairs: Pairs, recipe: Recipe) -> None:
    """Let pieces count by their rarity where texts are aligned."""
    pieces = cast(Pieces, model.pieces)
    if model.align is not None:
        ids = [found[: recipe.model.max_text - 2] for found in pieces.split(pairs.texts)]
        model.align.measure(ids, np.flatnonzero(pieces.special).tolist())


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
    given.patches.norm.load_state_dict(given.words.norm.state_dict())  # patches then are as long as words
    layers = recipe.model.layers or whole.layers
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
    rule, even = recipe.losses.rule, dict.fromkeys(TASKS, 1 / len(TASKS))

    def loss(wrapped: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        values, active = losses(wrapped(batch), batch, matched=recipe.losses.matched)
        share = even
        if rule is not None:
            share = weights(values, active, shared=pupil.model.shared(), rule=rule, state=pupil.state)
        total = combine(values, share, scale=len(TASKS))  # steps as long as those of the plain sum
        told = {f"weight_{name}": torch.tensor(share[name], device=total.device) for name in TASKS}
        return {"loss": total, **values, **told}

    return loss


def _validate(questions: Validation) -> Callable[[nn.Module], Mapping[str, float]]:
    def validate(pupil: nn.Module) -> Mapping[str, float]:
        return questions.measure(cast(Pupil, pupil).model)  # fit hands over what it was given

    return validate
