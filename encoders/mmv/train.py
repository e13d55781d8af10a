"""Train MMV on clips with sound, narrations, or both.

Alayrac et al. 2020, arXiv:2006.16228: from scratch, Adam, half a period of cosine after a linear warmup, one loss
between video and audio and one between video and text, in batches that mix narrated clips with others. Their training
code is not public: what comes from secondary sources or is unknown is marked in ``PRESETS``.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from quiver.encoders import _device, _frozen
from quiver.encoders._train import Contrast, Outcome, first, fit, synced
from quiver.encoders._train.recompute import recompute
from quiver.encoders.mmv.config import SPECS, Config
from quiver.encoders.mmv.data import Clips, Serving, gather, hear, leading, seen
from quiver.encoders.mmv.deflate import Calibration, Deflated, calibrate
from quiver.encoders.mmv.encoder import save_deflation
from quiver.encoders.mmv.loss import COMPARED, contrast
from quiver.encoders.mmv.model import MMV
from quiver.encoders.mmv.recipe import PRESETS, Recipe
from quiver.encoders.mmv.s3d import S3DG
from quiver.encoders.mmv.tsm import TSMResNet
from quiver.encoders.mmv.validate import recalls
from quiver.encoders.mmv.word import Tokeniser, Words
from quiver.encoders.mmv.yamnet import Config as YAMConfig
from quiver.encoders.mmv.yamnet import YAMNet
from quiver.malloc import keep_blocks
from quiver.task import Task

__all__ = ["PRESETS", "Recipe", "train"]

#: Batches of pictures from which deflation is learnt.
PICTURES = 8


def train(learn: Task, validation: Task | None, out: Path, *, recipe: Recipe) -> Outcome:
    """Learn from clips: items with video, their sound, and the texts of questions that they answer.

    It leaves ``out/model`` with ``config.json``, ``model.safetensors``, ``words.txt`` where the model has words, and
    ``deflated.safetensors`` where it embeds single pictures.

    Args:
        learn: what is learnt from.
        validation: what selects the best state, by the mean of R@1 and R@10 over the trained directions; None keeps
            the last state.
        out: the folder of the run, which goes on where it was stopped.
        recipe: the model, and how.

    Raises:
        BadData: there is nothing to learn from, or the loss is not finite.
        BadSpec: the run in ``out`` was begun with another recipe.
    """
    keep_blocks()
    config = recipe.model
    model = _build(learn, recipe)
    tokeniser = Tokeniser(model.tokens, config.max_words) if model.tokens else None
    folder = recipe.data.folder or out / "clips"
    serving = _serving(recipe)
    clips = Clips.of(learn, config, tokeniser, folder=folder, serving=serving)
    if first():
        print(f"training on {clips.describe()}")
    validate = None
    if validation is not None:
        some = replace(validation, items=validation.items[: recipe.data.validate_on])
        held = Clips.of(some, config, tokeniser, folder=folder, serving=replace(serving, cache="disk"))
        validate = _validate(held, recipe.loop.batch)
    if recipe.recompute and "video" in model.towers:
        recompute(_layers(model.towers["video"]))
    model = cast(MMV, synced(model))
    outcome = fit(
        model, _loss(config), fetch=clips.fetch, count=len(clips), out=out, loop=recipe.loop, validate=validate
    )
    if first():
        _save(model, clips, out / "model", recipe)
    return outcome


def _layers(tower: nn.Module) -> Iterator[nn.Module]:
    """Return the layers of a video tower that hold most of its activations."""
    if isinstance(tower, S3DG):
        yield from tower.layers
    elif isinstance(tower, TSMResNet):
        yield tower.stem
        for stage in tower.stages:
            yield from cast(nn.Sequential, stage)


def _serving(recipe: Recipe) -> Serving:
    data = recipe.data
    later = _device.pick(recipe.loop.device).type == "cuda"
    return Serving(candidates=data.candidates, span=data.span, cache=data.cache, jitter=recipe.jitter, later=later)


def _build(learn: Task, recipe: Recipe) -> MMV:
    """Create a model with random weights, deterministic for a seed, and the words of the training set."""
    config, start, words = recipe.model, recipe.start, None
    if config.text == "words" and start.vectors is not None:
        words = Words.read(start.vectors, size=start.vocabulary)
    elif config.text == "words":
        texts = (text for clip in gather(learn, key=leading(config)) for text in clip.texts)
        words = Words.gather(texts, width=config.word_width, size=start.vocabulary)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.loop.seed)
        model = MMV(config, words=words)
    if start.yamnet is not None:
        tower = YAMNet.from_onnx(start.yamnet, YAMConfig(classes=0, pool=config.pool))
        tower.freeze(start.freeze)
        model.towers["audio"] = tower
    return model


def _loss(config: Config) -> Contrast:
    def embed(model: nn.Module, batch: dict[str, Tensor]) -> Mapping[Hashable, Tensor]:
        given = seen(batch, config)
        if "audio" in given:
            given["audio"] = hear(given["audio"], config)
        return {**model(given), **{name: batch[name] for name in COMPARED if name in batch}}

    def compare(rows: Mapping[Hashable, Tensor]) -> Mapping[str, Tensor]:
        outputs = {name: value for name, value in rows.items() if isinstance(name, tuple)}
        return contrast(outputs, {name: value for name, value in rows.items() if isinstance(name, str)}, config)

    return Contrast(embed, compare)


def _validate(clips: Clips, batch: int) -> Callable[[nn.Module], Mapping[str, float]]:
    def validate(model: nn.Module) -> Mapping[str, float]:
        return recalls(cast(MMV, model), clips, batch=min(batch, 128))  # fit hands over what it was given

    return validate


def _save(model: MMV, clips: Clips, folder: Path, recipe: Recipe) -> None:
    specs = {name: spec for name in SPECS if (spec := getattr(model.config, name)) is not None}
    model.save(folder, replace(model.config, **_frozen.keep(specs, folder)))
    if model.config.video is not None and not model.config.width("video"):
        tower = cast(S3DG | TSMResNet, model.towers["video"])
        deflated = Deflated(tower)
        if recipe.calibration_steps:
            learnt = _calibrated(deflated, tower, clips, recipe)
            print(f"pictures: {learnt.before:.3g} from standing clips before calibration, {learnt.after:.3g} after")
        save_deflation(deflated, folder)


def _calibrated(deflated: Deflated, tower: S3DG | TSMResNet, clips: Clips, recipe: Recipe) -> Calibration:
    place = next(tower.parameters()).device
    rng = np.random.default_rng(recipe.loop.seed)

    def pictures() -> Iterator[Tensor]:
        for _ in range(PICTURES):
            rows = rng.integers(0, len(clips), min(recipe.loop.batch, 32))
            yield clips.fetch(rows, None)["video"][:, recipe.model.frames // 2].to(place)

    return calibrate(deflated, tower, pictures(), frames=recipe.model.frames, steps=recipe.calibration_steps)
