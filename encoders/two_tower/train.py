"""Train two towers on questions and their answers: the first model to train on a catalogue.

Radford et al. 2021 (CLIP), arXiv:2103.00020, table 18 and section 2.5; Zhai et al. 2023 (SigLIP), arXiv:2303.15343,
section 4; the towers are locked, as Zhai et al. 2022 (LiT), arXiv:2111.07991, found best for pictures, or fine-tuned
after their heads.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quiver.encoders import _frozen
from quiver.encoders._contrast import scores, sigmoid, softmax
from quiver.encoders._train import Contrast, Outcome, extract, first, fit
from quiver.encoders.two_tower import base, trunk
from quiver.encoders.two_tower.config import SHARED, Base, Config
from quiver.encoders.two_tower.data import Column, Features, Fetch, gather
from quiver.encoders.two_tower.model import Contrast as Embedded
from quiver.encoders.two_tower.model import TwoTower
from quiver.encoders.two_tower.pairs import Pairs
from quiver.encoders.two_tower.recipe import PRESETS, Recipe
from quiver.encoders.two_tower.validate import Measured, recalls
from quiver.encoders.two_tower.word import GramReader, Grams
from quiver.errors import BadSpec
from quiver.task import Task

__all__ = ["PRESETS", "Recipe", "train"]

#: Rows of features by which these are centred and scaled, evenly spread, of many more.
MEASURED = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """A task with the inputs of each tower."""

    pairs: Pairs
    columns: Mapping[str, Features]


def train(learn: Task, validation: Task | None, out: Path, *, recipe: Recipe) -> Outcome:
    """Train on questions with one input each, and on the items that answer them.

    It leaves ``out/model`` with ``config.json`` and ``model.safetensors``, and the networks that were fine-tuned.

    Args:
        learn: what is learnt from.
        validation: what selects the best state, by the mean of R@1, R@5 and R@10 in both directions; None keeps the
            last state.
        out: the folder of the run, which goes on where it was stopped.
        recipe: the towers, and how.

    Raises:
        BadData: there is nothing to learn from, a question holds several things, or the loss is not finite.
        BadSpec: an encoder does not embed what it should, or the run in ``out`` was begun with another recipe.
    """
    cache = recipe.data.cache or out / "features"
    pairs = gather(learn, own=recipe.data.own)
    specs = _specs(pairs, recipe)
    lesson = _lesson(pairs, specs, recipe, cache)
    held = None if validation is None else _lesson(gather(validation, own=False), specs, recipe, cache)
    model = _build(lesson, specs, recipe, out.resolve().name)
    if first():
        print(f"training on {lesson.pairs.describe()}")
    outcome = fit(
        model,
        _loss(model.config, lesson.pairs),
        fetch=Fetch(lesson.pairs, lesson.columns),
        count=len(lesson.pairs),
        out=out,
        loop=recipe.loop,
        validate=None if held is None else _validate(held.pairs, held.columns),
    )
    if first():
        place, config = out / "model", model.config
        model.save(place, replace(config, towers=base.kept(config.towers, place)))
    return _tune(model, lesson, held, out, recipe=recipe, before=outcome) if recipe.tune.keys else outcome


def _specs(pairs: Pairs, recipe: Recipe) -> dict[str, str]:
    """Return the base of each key's tower, by the recipe."""
    keys, said = pairs.things.refs, recipe.towers
    found = {key: said.image if key == "video" and said.video is None else getattr(said, key) for key in keys}
    for key, spec in found.items():
        if base.parse(spec)[1] and key != "text":
            raise BadSpec(f"two_tower {key}={spec!r}: only text has words")
    if absent := [key for key in recipe.tune.keys if key not in keys]:
        raise BadSpec(f"two_tower tune.towers={absent[0]}: there is no {absent[0]} to learn from")
    return found


def _tower(key: str, keys: Mapping[str, Any], recipe: Recipe) -> str:
    """Return the tower of a key: pictures and videos of one spec share theirs."""
    return "image" if key == "video" and recipe.towers.video is None and "image" in keys else key


def _lesson(pairs: Pairs, specs: Mapping[str, str], recipe: Recipe, cache: Path) -> _Lesson:
    """Extract the inputs of the towers, and leave out unreadable media."""
    columns, lost = {}, {}
    for key, refs in pairs.things.refs.items():
        spec = specs.get(key) or specs.get(SHARED.get(key, ""))
        if spec is None:
            raise BadSpec(f"validation has {key}, but the training set has none")
        columns[key], readable = _column(key, refs, spec, buckets=recipe.model.buckets, cache=cache)
        lost[key] = np.flatnonzero(~readable)
    return _Lesson(pairs.without(lost), columns)


def _column(
    key: str, refs: Sequence[Any], said: str, *, buckets: int, cache: Path
) -> tuple[Features, NDArray[np.bool_]]:
    """Return a tower's inputs of references, and the mask of readable ones."""
    spec, words = base.parse(said)
    readable, parts = np.ones(len(refs), bool), []
    for each in spec.split(" + ") if spec else ():  # one by one, so that another mixture finds them kept
        found, mask = extract(each, key, refs, cache=cache)
        parts.append(found)
        readable &= mask
    rows = None if not parts else parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    if not words:
        return Features(rows, None), readable
    grams, told = Grams.read(GramReader(buckets), refs)
    return Features(rows, grams), readable & told


def _build(lesson: _Lesson, specs: Mapping[str, str], recipe: Recipe, name: str) -> TwoTower:
    """Make a model with random weights, always the same of a seed."""
    towers, grounds = {}, dict[str, list[Tensor]]()
    for key, column in lesson.columns.items():
        tower = _tower(key, lesson.columns, recipe)
        if column.rows is not None:
            some = column.rows[:: max(1, len(column.rows) // MEASURED)]
            grounds.setdefault(tower, []).append(torch.from_numpy(np.array(some)))
        if tower == key:
            spec, words = base.parse(specs[key])
            frozen = _frozen.open(spec, key)
            towers[key] = Base(spec=spec, width=frozen.width, revision=frozen.revision, words=words)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.loop.seed)
        model = TwoTower(replace(recipe.model, towers=towers, name=recipe.name or name))
    for tower, rows in grounds.items():
        model.towers[tower].measure(torch.cat(rows))  # type: ignore[operator]
    if "text" in lesson.columns and (grams := lesson.columns["text"].grams) is not None:
        model.towers["text"].bag.measure(grams)  # type: ignore[union-attr, operator]
    return model


def _loss(config: Config, pairs: Pairs) -> Contrast:
    def embed(model: nn.Module, batch: Mapping[str, Any]) -> Mapping[Hashable, Tensor]:
        made: Embedded = model(batch["sides"])
        named: dict[Hashable, Tensor] = dict(zip(made._fields, made, strict=True))
        return named | {"things": batch["things"]}

    def compare(rows: Mapping[Hashable, Tensor]) -> Mapping[str, Tensor]:
        scale = rows["scale"]
        found = scores(rows["ask"], rows["answer"], rows["things"], scale=scale, related=pairs.places)
        if config.loss == "sigmoid":
            value = sigmoid(found.forth + rows["bias"], found.hidden, first=found.first)
        else:
            value = softmax(found, smoothing=config.smoothing)
        return {"loss": value, "scale": scale.detach()}

    return Contrast(embed, compare)


def _validate(pairs: Pairs, columns: Mapping[str, Column]) -> Callable[[nn.Module], Mapping[str, float]]:
    def validate(model: nn.Module) -> Mapping[str, float]:
        return recalls(cast(Measured, model), pairs, columns)  # fit hands over what it was given

    return validate


def _tune(
    model: TwoTower, lesson: _Lesson, held: _Lesson | None, out: Path, *, recipe: Recipe, before: Outcome
) -> Outcome:
    """Train networks and heads together, and keep the better state; the networks go into the model's folder."""
    if "image" in recipe.tune.keys and "video" in lesson.columns and "video" not in model.config.towers:
        raise BadSpec("two_tower tune.towers=image: videos go through the same tower; give video=ENCODERS of their own")
    trunks = {key: trunk.open(model.config.towers[key].spec, key, share=recipe.tune.share) for key in recipe.tune.keys}
    tuned = trunk.Tuned(model, trunks)
    folder = recipe.data.cache or out / "features"
    columns = trunk.columns(lesson.pairs.things.refs, lesson.columns, trunks, folder=folder)
    checks = None if held is None else trunk.columns(held.pairs.things.refs, held.columns, trunks, folder=folder)
    outcome = fit(
        tuned,
        _loss(model.config, lesson.pairs),
        fetch=Fetch(lesson.pairs, columns),
        count=len(lesson.pairs),
        out=out,
        loop=recipe.tune.loop(recipe.loop),
        validate=None if held is None or checks is None else _validate(held.pairs, checks),
        phase="tune",
    )
    if held is not None and outcome.figures["recall"] <= before.figures["recall"]:
        if first():
            print("fine-tuning made it no better: the model is that of before")
        return before
    if first():
        trunk.save(tuned, out / "model")
    return outcome
