"""Train CLIP4IDC: stage one, adaptation, which brings sentences and pairs into one space; then captioning, if wanted.

Guo et al. 2022, arXiv:2206.00629, section 3.2. Reference: sushizixin/CLIP4IDC, MIT. The best state is selected on the
validation part (the reference selects on the test part).
"""

import copy
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from quiver.encoders import _frozen
from quiver.encoders._contrast import scores, softmax
from quiver.encoders._patch.extract import Extractor, Source, extract, open
from quiver.encoders._train import Contrast, Outcome, first, fit
from quiver.encoders._train import extract as text_features
from quiver.encoders._train.damage import Damage, Decoder
from quiver.encoders.clip4idc import caption_train
from quiver.encoders.clip4idc.config import Config
from quiver.encoders.clip4idc.data import Captions, Features, Fetch, Pixels, Sentences, gather
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.encoders.clip4idc.model import Contrast as Embedded
from quiver.encoders.clip4idc.recipe import PRESETS, Recipe
from quiver.encoders.clip4idc.start import freeze, from_clip, from_nothing
from quiver.encoders.clip4idc.validate import recalls
from quiver.media import ImageReader
from quiver.task import Task

__all__ = ["PRESETS", "Recipe", "train"]
#: Pictures by whose features these are centred and scaled.
MEASURED = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Inputs of a training or a validation.

    Attributes:
        captions: sentences and pairs, without those whose pictures cannot be read.
        pictures: inputs of the encoder of pairs.
    """

    captions: Captions
    pictures: Features | Pixels


def train(learn: Task, validation: Task | None, out: Path, *, recipe: Recipe) -> Outcome:
    """Train on sentences about changes, and the pairs of pictures (before and after) that they describe.

    It leaves ``out/model`` with ``config.json``, ``model.safetensors``, the files of what stands below it, and with
    ``caption.steps`` the generator of sentences in ``out/model/caption``.

    Args:
        learn: what is learnt from.
        validation: what selects the best state, by the mean of R@1, R@5 and R@10 in both directions; None keeps the
            last state.
        out: the folder of the run, which goes on where it was stopped.
        recipe: the model, and how.

    Raises:
        BadData: there is nothing to learn from, a question holds something else, or the loss is not finite.
        BadSpec: what the recipe names cannot be built on, or the run in ``out`` was begun with another recipe.
        MissingWeights: weights are not on disk and cannot be downloaded.
    """
    extractor = recipe.extractor
    source = None if extractor is None else open(extractor, device=recipe.loop.device)
    captions = gather(learn)
    model = build(recipe, captions, source, name=recipe.name or out.resolve().name)
    lesson = prepare(captions, model.config, source, recipe, out)
    if isinstance(lesson.pictures, Features):
        model.pairs.measure(torch.from_numpy(lesson.pictures.rows[:MEASURED].astype(np.float32)))
    first_pairs = copy.deepcopy(model.pairs.state_dict())
    seen, held = None, None
    if validation is not None:
        seen = prepare(gather(validation), model.config, source, recipe, out)
        held = fetch(seen, model, recipe, out, distractors=0)
    if first():
        print(f"training on {lesson.captions.describe()}")
    outcome = fit(
        model,
        loss(lesson.captions),
        fetch=fetch(lesson, model, recipe, out, distractors=recipe.data.distractors),
        count=len(lesson.captions),
        out=out,
        loop=recipe.loop,
        validate=None if held is None else lambda trained: recalls(cast(Clip4Idc, trained), held),
    )
    if first():
        save(model, extractor, out / "model")
    if not recipe.caption.steps:
        return outcome
    if not recipe.caption.adapted:
        model.pairs.load_state_dict(first_pairs)
    both = None if seen is None or validation is None else (seen.captions, validation, seen.pictures)
    return caption_train.tell(
        model,
        (lesson.captions, learn, lesson.pictures),
        both,
        out,
        recipe=recipe.caption,
        data=recipe.data,
        base=recipe.loop,
    )


def build(recipe: Recipe, captions: Captions, source: Source | None, *, name: str) -> Clip4Idc:
    """Make a new model.

    Args:
        recipe: sizes, and what it starts from.
        captions: sentences to learn word pieces from, where there are none yet.
        source: of the recipe's extractor.
        name: of its space.
    """
    config, seed = replace(recipe.model, name=name), recipe.loop.seed
    if recipe.text:
        frozen = _frozen.open(recipe.text, "text")
        text = replace(config.text, spec=recipe.text, feature=frozen.width, source=frozen.revision)
        config = replace(config, text=text)
    if recipe.extractor is not None and source is not None:
        return from_nothing(config, recipe.extractor, source, captions.texts, seed=seed)
    model = from_clip(config, recipe.image, seed=seed)
    if recipe.freeze:
        freeze(model)
    return model


def prepare(captions: Captions, config: Config, source: Source | None, recipe: Recipe, out: Path) -> Lesson:
    """Extract or check the pictures of a task, and leave out pairs that cannot be read.

    Args:
        captions: of ``gather``.
        config: of the model.
        source: gives features; None where the model reads pixels.
        recipe: where features are kept.
        out: the folder of the run.
    """
    folder = recipe.data.cache or out / "features"
    pictures: Features | Pixels
    if source is not None:
        shape = (config.vision.patches, config.vision.feature)
        rows, mask = extract(source, captions.pictures, folder=folder, shape=shape)
        pictures = Features(rows)
    else:
        read = ImageReader(config.vision.size, fit="squash", resample=config.vision.resample)
        pictures = Pixels(Decoder(read, Damage("image", folder)), captions.pictures)
        mask = pictures.decode.readable(captions.pictures)
    return Lesson(captions.readable(mask), pictures)


def fetch(lesson: Lesson, model: Clip4Idc, recipe: Recipe, out: Path, *, distractors: float) -> Fetch:
    """Return what makes batches.

    Args:
        lesson: of ``prepare``.
        model: whose words cut the sentences.
        recipe: the frozen text encoder, if there is one, and where its vectors are kept.
        out: the folder of the run.
        distractors: see ``Fetch``.
    """
    texts, words = lesson.captions.texts, model.words
    if words is not None:
        sentences = Sentences(words.encode(texts, length=model.config.text.length), words.end)
    else:
        rows, _ = text_features(recipe.text, "text", texts, cache=recipe.data.cache or out / "features")
        sentences = Sentences(rows, None)
    return Fetch(lesson.captions, sentences, lesson.pictures, distractors)


def loss(captions: Captions) -> Contrast:
    """Return the loss of a batch, over the rows of all ranks."""

    def embed(model: nn.Module, batch: Mapping[str, Any]) -> Mapping[Hashable, Tensor]:
        made: Embedded = model(batch["given"])
        named: dict[Hashable, Tensor] = dict(zip(made._fields, made, strict=True))
        return named | {"rows": batch["rows"]}

    def compare(rows: Mapping[Hashable, Tensor]) -> Mapping[str, Tensor]:
        scale = rows["scale"]
        found = scores(rows["text"], rows["pair"], rows["rows"], scale=scale, related=captions.places)
        return {"loss": softmax(found), "scale": scale.detach()}

    return Contrast(embed, compare)


def save(model: Clip4Idc, extractor: Extractor | None, folder: Path) -> None:
    """Write a model with the files of the networks below it, so that its folder can be moved."""
    text = model.config.text
    specs = {"text": text.spec} if text.spec else {}
    if extractor is not None and extractor.features != "pixels":
        specs["image"] = extractor.features
    kept = _frozen.keep(specs, folder)
    if extractor is not None:
        replace(extractor, features=kept.get("image", extractor.features)).note(folder)
    model.save(folder, replace(model.config, text=replace(text, spec=kept.get("text", ""))))
