"""Train MAP-IVR on stills and clips of the same activities, from features of frozen encoders.

Every epoch pairs each still anew with a clip of its activity. Validation scores exactly by S_all, without a still's own
clip, and chooses lambda and the state.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from quiver.encoders import _frozen
from quiver.encoders._train import Outcome, extract, first, fit, synced
from quiver.encoders.map_ivr.config import Config, Features
from quiver.encoders.map_ivr.data import UNNAMED, Fetch, Pairs, gather
from quiver.encoders.map_ivr.feature import Cut, confidences, extract_clips, learn_confidence
from quiver.encoders.map_ivr.loss import losses, watched
from quiver.encoders.map_ivr.model import MapIvr, scaled
from quiver.encoders.map_ivr.recipe import PRESETS, Recipe
from quiver.encoders.map_ivr.validate import GRID, Exam, probe_of
from quiver.encoders.map_ivr.window import Windows, read_proposals
from quiver.task import Task
from quiver.types import Floats

__all__ = ["PRESETS", "Recipe", "train"]

#: Least feature that counts as negative: rounding is not.
_NEGATIVE = -1e-6


def train(learn: Task, validation: Task | None, out: Path, *, recipe: Recipe) -> Outcome:
    """Train on stills, and on the clips that show the same activities.

    It leaves ``out/model`` with ``config.json`` and ``model.safetensors``.

    Args:
        learn: what is learnt from.
        validation: what selects lambda and the best state, by APh@100; None keeps the last state, and lambda 0.5.
        out: the folder of the run, which goes on where it was stopped.
        recipe: encoders, model, and how.

    Raises:
        BadData: there is nothing to learn from, or the loss is not finite.
        BadSpec: an encoder does not embed what it should, or the run in ``out`` was begun with another recipe.
    """
    pairs, images, cut = _read(learn, recipe, out)
    model = _build(pairs, images, cut, recipe, out)
    videos = cut.pooled(recipe.model.keep, confidences(model))
    exam = None if validation is None else _exam(validation, pairs, videos, model, recipe, out)
    _announce(pairs, exam)
    model = cast(MapIvr, synced(model))
    outcome = fit(
        model,
        _loss(model.config),
        fetch=Fetch(pairs, images, videos),
        count=len(pairs),
        out=out,
        loop=recipe.loop,
        validate=None if exam is None else _validate(exam),
    )
    if first():
        place, config = out / "model", model.config
        specs = _frozen.keep({"image": config.image.spec, "video": config.video.spec}, place)
        image, video = (replace(getattr(config, side), spec=specs[side]) for side in ("image", "video"))
        blend = recipe.blend if recipe.blend is not None else outcome.figures.get("blend", config.blend)
        model.save(place, replace(config, blend=float(blend), image=image, video=video))
    return outcome


def _read(task: Task, recipe: Recipe, out: Path) -> tuple[Pairs, Floats, Cut]:
    """Return stills with their clips, the features of stills (n, F_u), and those of the windows of clips."""
    pairs, cache = gather(task, label=recipe.data.label), recipe.data.cache or out / "features"
    images, seen = extract(recipe.towers.image, "image", pairs.stills, cache=cache)
    proposals = read_proposals(recipe.data.proposals) if recipe.data.proposals else {}
    cut = extract_clips(recipe.towers.video, pairs.clips, Windows(recipe.model.windows, proposals), cache=cache)
    kept, rows = pairs.without(seen, cut.seen)
    return kept, images[rows], cut


def _build(pairs: Pairs, images: Floats, cut: Cut, recipe: Recipe, out: Path) -> MapIvr:
    """Create a model, deterministic for a seed, with the classifier of windows if windows are chosen by it."""
    config = replace(
        recipe.model,
        image=_features(recipe.towers.image, "image"),
        video=_features(recipe.towers.video, "video"),
        classes=pairs.classes,
        positive=bool(cut.rows.min() >= _NEGATIVE),
        name=recipe.name or out.resolve().name,
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.loop.seed)
        model = MapIvr(config)
    if config.keep and np.bincount(cut.owner).max() > config.keep and np.isnan(cut.score).any():
        learn_confidence(model, cut, pairs)
    return model


def _features(spec: str, key: str) -> Features:
    frozen = _frozen.open(spec, key)
    return Features(spec=spec, width=frozen.width, revision=frozen.revision)


def _exam(task: Task, learnt: Pairs, videos: Floats, model: MapIvr, recipe: Recipe, out: Path) -> Exam:
    pairs, images, cut = _read(task, recipe, out)
    own = cut.pooled(recipe.model.keep, confidences(model))
    probe = probe_of(learnt, pairs, videos, own, recipe.data.probed)
    return Exam(pairs, images, own, GRID if recipe.blend is None else (recipe.blend,), probe)


def _announce(pairs: Pairs, exam: Exam | None) -> None:
    """Say what is learnt from, what was left out, and which activities of the validation part are unknown."""
    if not first():
        return
    print(f"training on {pairs.describe()}")
    for note in (*pairs.notes, *(exam.pairs.notes if exam is not None else ())):
        print(f"note: {note}")
    if exam is not None and not any(name.startswith(UNNAMED) for name in (*pairs.classes, *exam.pairs.classes)):
        unknown = sorted(set(exam.pairs.classes) - set(pairs.classes))
        count = sum(exam.pairs.classes[label] in unknown for label in exam.pairs.label.tolist())
        if unknown:
            print(f"note: {count} validation stills show activities that are not in training, such as {unknown[0]!r}")


def _loss(config: Config) -> Callable[[nn.Module, Any], Mapping[str, Tensor]]:
    def loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        out = model(batch["image"], batch["video"])
        return {**losses(out, scaled(batch["video"]), batch["label"], config), **watched(out)}

    return loss


def _validate(exam: Exam) -> Callable[[nn.Module], Mapping[str, float]]:
    def validate(model: nn.Module) -> Mapping[str, float]:
        return exam.measure(cast(MapIvr, model))  # fit hands over what it was given

    return validate
