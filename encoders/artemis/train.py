"""Train any composer on triplets: a picture, a text of the wanted change, and the target pictures.

Delmas et al., ICLR 2022 (see ``composer``): each query tells its own target from those of the batch, AdamW, a rate that
is halved now and then, and two phases: first the backbone and the word vectors stay as they are, then all learns.
Reference: naver/artemis, CC BY-NC-SA 4.0, of which nothing was taken.
Deviates: targets of a batch that are known to answer a question too do not compete for it (``negatives=all``: they do);
features of frozen encoders are standardised, which at the end is folded into the layer that takes them. The second
phase begins with a fresh optimiser. The authors restore the first one's, whose rate replaces the one they ask for:
their second phase begins at 2.5e-4, not at 5e-4, and so does that of ``PRESETS["paper"]``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from quiver.encoders import _frozen, _hub
from quiver.encoders._train import Loop, Outcome, extract, first, fit
from quiver.encoders._train.damage import Damage, Decoder
from quiver.encoders.artemis import image, start, text
from quiver.encoders.artemis.config import Config
from quiver.encoders.artemis.data import Lessons, Pixels, Sentences, Silence, Table, Tokens
from quiver.encoders.artemis.model import Model
from quiver.encoders.artemis.recipe import PRESETS, Recipe
from quiver.encoders.artemis.triplet import Triplets, gather, pictures
from quiver.encoders.artemis.validate import Validation
from quiver.encoders.artemis.word import Vocabulary, collect
from quiver.errors import BadSpec
from quiver.task import Task
from quiver.types import Floats

__all__ = ["LEARNS_FROM_EDITS", "PRESETS", "Recipe", "train"]

#: The most pictures of a question's set beside its answer.
MEMBERS = 32
_BERT = "give towers.bert=FOLDER"
#: Its questions hold a picture and words on what should be different; a table gives them with edits=COLUMN,...
LEARNS_FROM_EDITS = True


def train(learn: Task, validation: Task | None, out: Path, *, recipe: Recipe) -> Outcome:
    """Train on questions with an image and text, and the images that answer them.

    It leaves ``out/model`` with ``config.json`` and ``model.safetensors``.

    Args:
        learn: what is learnt from.
        validation: what selects the best state of the second phase, by the mean of R@10 and R@50 as its protocol has
            them, with exact scores; None keeps the last state.
        out: the folder of the run, which goes on where it was stopped.
        recipe: the model, and how.

    Raises:
        BadData: there is nothing to learn from, or the loss is not finite.
        BadSpec: the run in ``out`` was begun with another recipe, or an encoder cannot be loaded.
    """
    lessons, model = _prepare(learn, recipe, out)
    questions = None if validation is None else _held_out(validation, recipe, out, like=lessons)
    if first():
        print(f"training on {lessons.triplets.describe()}")
    outcome = _phases(model, lessons, questions, out, recipe)
    if first():
        if questions is not None:
            questions.settle(model)
        if isinstance(lessons.look, Table):
            lessons.look.fold(cast(text.Feature, model.image).first)
        place, config = out / "model", model.config
        specs = _frozen.keep({"image_spec": config.image_spec, "text_spec": config.text_spec}, place)
        model.save(place, replace(config, **specs))
    return outcome


def _phases(model: Model, lessons: Lessons, questions: Validation | None, out: Path, recipe: Recipe) -> Outcome:
    count = len(lessons.triplets)

    def run(phase: str, loop: Loop, validate: Callable[[nn.Module], Mapping[str, float]] | None) -> Outcome:
        return fit(
            model,
            lessons.contrast(model),
            fetch=lessons.fetch,
            count=count,
            out=out,
            loop=loop,
            validate=validate,
            phase=phase,
        )

    if recipe.first.epochs:
        model.freeze()
        run("first", recipe.first.loop(recipe.loop), None)
        model.freeze(False)
    return run(
        "second", recipe.loop, None if questions is None else lambda model: questions.measure(cast(Model, model))
    )


def _prepare(learn: Task, recipe: Recipe, out: Path) -> tuple[Lessons, Model]:
    """Read the training set, and create a model for it, deterministic for a seed."""
    triplets, features = _read(learn, recipe, out)
    table = None if features is None else Table.of(features, triplets.shown)
    if recipe.data.in_set != "none":
        triplets = _with_sets(triplets, learn)
    hear = _sentences(triplets, recipe, out)
    said = (wish for each in triplets.wishes for wish in each)
    recurrent = hear is None and recipe.model.composer != "visual_search"
    config = recipe.config(
        image_width=0 if features is None else features.shape[1],
        text_width=0 if hear is None else hear.features.shape[1],
        words=collect(said, least=recipe.towers.least) if recurrent else (),
        joint=any(len(each) > 1 for each in triplets.wishes),
    )
    if recipe.towers.bert:
        model = _hub.load(recipe.towers.bert, lambda folder: _from_bert(config, recipe, folder), instead=_BERT)
        config = model.config
    else:
        model = _random(config, recipe)
    if isinstance(model.image, image.Picture) and recipe.towers.pretrained:
        model.image.pretrain()
    glove = recipe.towers.glove
    if glove is not None and isinstance(model.text, text.Bigru | text.Lstm):
        rows, found = text.glove(glove, config.words, width=config.embedding)
        text.fill(model.text.embed, rows)
        print(f"{glove} has {found:,} of {len(config.words):,} words")
    folder = recipe.data.cache or out / "features"
    look = table or Pixels(triplets.pictures, Decoder(image.reader(config), Damage("image", folder)))
    tokens = Tokens(Vocabulary.of(config), triplets.wishes, recipe.towers.forget) if recurrent else Silence()
    words = hear or tokens
    return Lessons(triplets, look, words, recipe.data.negatives == "known", recipe.data.in_set), model


def _random(config: Config, recipe: Recipe) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(recipe.loop.seed)
        return Model(config)


def _from_bert(config: Config, recipe: Recipe, folder: Path) -> Model:
    model = _random(start.sized(config, folder), recipe)
    start.fill(model, folder)
    return model


def _with_sets(triplets: Triplets, task: Task) -> Triplets:
    """Keep the best answers of questions, and check that these have sets of candidates small enough to be read."""
    if not 0 < triplets.widest <= MEMBERS:
        raise BadSpec(
            f"data.in_set needs questions with 2 to {MEMBERS + 1} candidates, as 'cirr track=subset targets=soft' has; "
            f"those of {task.name} have {triplets.widest + 1 if triplets.widest else 'none'}"
        )
    return triplets.best()


def _held_out(validation: Task, recipe: Recipe, out: Path, *, like: Lessons) -> Validation:
    """Read the validation set, with the features and vocabulary of the training set."""
    look, hear = like.look, like.hear
    if isinstance(look, Pixels):  # all of them are seen at once, in every validation: none may be missing then
        triplets = gather(validation, look.decode.readable(pictures(validation)))
        look = replace(look, pictures=triplets.pictures)
    else:
        triplets, features = _read(validation, recipe, out)
        look = replace(cast(Table, look), features=cast(Floats, features))
    if isinstance(hear, Tokens):
        hear = replace(hear, wishes=triplets.wishes)
    return Validation(triplets, look, _sentences(triplets, recipe, out) or hear)


def _read(task: Task, recipe: Recipe, out: Path) -> tuple[Triplets, Floats | None]:
    if recipe.towers.trains_backbone:
        return gather(task), None
    features, seen = extract(recipe.towers.image, "image", pictures(task), cache=recipe.data.cache or out / "features")
    return gather(task, seen), features


def _sentences(triplets: Triplets, recipe: Recipe, out: Path) -> Sentences | None:
    if not recipe.reads_features:
        return None

    def embed(texts: Sequence[str]) -> Floats:
        return extract(recipe.towers.text, "text", texts, cache=recipe.data.cache or out / "features")[0]

    return Sentences.of(triplets.wishes, embed)
