"""Train any composer on triplets: a picture, what should be different about it, and the pictures wanted.

Delmas et al., ICLR 2022 (see ``composer``): each query tells its own target from those of the batch, AdamW, a rate that
is halved now and then, and two phases: first the backbone and the word vectors stay as they are, then all learns.
Reference: naver/artemis, CC BY-NC-SA 4.0, of which nothing was taken.
Deviates: targets of a batch that are known to answer a question too do not compete for it (``negatives=all``: they do);
features of frozen encoders are standardised, which at the end is folded into the layer that takes them. The second
phase begins with a fresh optimiser. The authors restore the first one's, whose rate replaces the one they ask for:
their second phase begins at 2.5e-4, not at 5e-4, and so does that of ``PRESETS["paper"]``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from quiver.encoders import _frozen
from quiver.encoders._train import Loop, Outcome, extract, first, fit
from quiver.encoders.artemis import image, text
from quiver.encoders.artemis.config import LIBRARIES, Attention, Bert, Composer, Config, Objective
from quiver.encoders.artemis.exam import Exam
from quiver.encoders.artemis.lesson import Lessons, Pixels, Sentences, Silence, Table, Tokens
from quiver.encoders.artemis.model import Batch, Model
from quiver.encoders.artemis.triplet import Triplets, gather, pictures
from quiver.encoders.artemis.word import Vocabulary, collect
from quiver.errors import BadSpec
from quiver.task import Task
from quiver.types import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is trained, and how.

    Attributes:
        composer: artemis, em, is, tirg, late_fusion, cross_modal, visual_search, cirplant or combiner.
        dim: width of the space.
        image: a backbone that learns, as torchvision:resnet50, timm:NAME or open_clip:NAME; or the spec of frozen
            encoders whose features are learnt from, as in 'timm model=resnet50 + classic'.
        image_unit: scale picture vectors to length 1; ARTEMIS on CIRR does not.
        hidden: width of a hidden layer between features of pictures and the space; 0 for none.
        drop: dropout behind it.
        size: side in pixels of what a backbone that learns sees.
        pretrained: start a backbone from its library's weights.
        text: bigru, lstm, or the spec of frozen encoders of text.
        embedding: width of a word's vector.
        glove: a GloVe text file of that width that word vectors start from; none for random ones.
        least: times a word must occur to be known.
        attention: text (of the words), shared (learned, the same for all queries) or uniform (none).
        mix: share of uniform attention mixed in, 0 to 1.
        spread: weight of the penalty on uneven attention; see artemis.Config.
        objective: batch classification, or soft triplet for composers of one vector.
        temperature: initial logarithm of what scores are multiplied by; ln(1 / 0.07).
        learn_temperature: or keep it.
        negatives: known leaves out targets of the batch that answer a question too; all counts them as wrong, as the
            authors do.
        layers: blocks of CIRPLANT's transformer.
        heads: of its attention, a divisor of dim.
        inner: width inside a block.
        dropout: in it.
        first_epochs: of the first phase, in which backbone and word vectors stay as they are; 0 skips it.
        epochs: of the second phase, in which everything learns.
        batch: questions per step and rank.
        first_rate: learning rate of the first phase.
        rate: of the second.
        schedule: cosine, constant or halve.
        first_halve: epochs after which the first phase halves its rate.
        halve: epochs after which the second does.
        warmup: steps in which the rate of the second phase rises from 0.
        decay: weight decay.
        clip: the norm that gradients are scaled down to, or none.
        precision: of the towers: fp32, bf16 or fp16.
        device: auto, cpu, cuda or cuda:N.
        seed: of weights, order and everything drawn.
        cache: where features are kept; none for ``features`` in the folder of the run.
        validations: how often the second phase is validated, evenly spread; the best state is kept.
        save_every: steps between states that a run can go on from.
        log_every: steps that one line of the log sums up.
    """

    composer: Composer = "artemis"
    dim: int = 512
    image: str = "torchvision:resnet50"
    image_unit: bool = True
    hidden: int = 0
    drop: float = 0.2
    size: int = 224
    pretrained: bool = True
    text: str = "bigru"
    embedding: int = 300
    glove: Path | None = None
    least: int = 1
    attention: Attention = "text"
    mix: float = 0.0
    spread: float = 0.0
    objective: Objective = "batch"
    temperature: float = 2.65926
    learn_temperature: bool = True
    negatives: Literal["known", "all"] = "known"
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    dropout: float = 0.3
    first_epochs: float = 8.0
    epochs: float = 50.0
    batch: int = 32
    first_rate: float = 5e-4
    rate: float = 2.5e-4
    schedule: Literal["cosine", "constant", "halve"] = "halve"
    first_halve: float = 4.0
    halve: float = 10.0
    warmup: int = 0
    decay: float = 0.01
    clip: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: str = "auto"
    seed: int = 0
    cache: Path | None = None
    validations: int = 50
    save_every: int = 1000
    log_every: int = 50

    def __post_init__(self) -> None:
        if not (self.first_epochs >= 0 < self.epochs and min(self.halve, self.first_halve) > 0):
            raise BadSpec("artemis needs epochs, halve and first_halve above 0, and first_epochs of at least 0")
        if min(self.validations, self.least) < 1:
            raise BadSpec("artemis needs validations and least of at least 1")
        _ = self.loop(1), self.config(image_width=1, text_width=1, words=("word",))  # which check the rest

    @property
    def trains_backbone(self) -> bool:
        """Whether pictures come as pixels."""
        return self.image.partition(":")[0] in LIBRARIES

    @property
    def reads_features(self) -> bool:
        """Whether words come as features of a frozen encoder."""
        return self.text not in ("bigru", "lstm") and self.composer not in ("cirplant", "visual_search")

    def config(self, *, image_width: int, text_width: int, words: tuple[str, ...], joint: bool = True) -> Config:
        """Return the model's settings; data says how wide features are, which words there are, and if they join."""
        pixels, features = self.trains_backbone, self.reads_features
        return Config(
            composer=self.composer,
            dim=self.dim,
            image=self.image if pixels else f"features:{image_width}",
            image_spec="" if pixels else self.image,
            image_unit=self.image_unit,
            hidden=0 if pixels else self.hidden,
            drop=self.drop,
            size=self.size,
            text=f"features:{text_width}" if features else self.text if self.text == "lstm" else "bigru",
            text_spec=self.text if features else "",
            words=words,
            joint=joint,
            embedding=self.embedding,
            attention=self.attention,
            mix=self.mix,
            spread=self.spread,
            objective=self.objective,
            temperature=self.temperature,
            learn_temperature=self.learn_temperature,
            bert=Bert(layers=self.layers, heads=self.heads, inner=self.inner, dropout=self.dropout),
        )

    def loop(self, count: int, *, frozen: bool = False) -> Loop:
        """Return how to optimise ``count`` questions in one of the phases."""
        epoch = max(1, count // min(self.batch, count))
        steps = max(1, round(epoch * (self.first_epochs if frozen else self.epochs)))
        return Loop(
            steps=steps,
            batch=self.batch,
            rate=self.first_rate if frozen else self.rate,
            warmup=0 if frozen else self.warmup,
            schedule=self.schedule,
            halve_every=max(1, round(epoch * (self.first_halve if frozen else self.halve))),
            decay=self.decay,
            clip=self.clip,
            precision=self.precision,
            device=self.device,
            seed=self.seed,
            validate_every=0 if frozen else max(1, steps // self.validations),
            save_every=self.save_every,
            log_every=self.log_every,
        )


#: The recipe of the released code. ``cpu`` is ours: minutes on two cores, from features, chosen on the validation part
#: of ``fashion_products track=composed change=any``.
PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(),
    "cpu": Recipe(
        image="timm model=mobilenetv2_100 + classic",
        hidden=512,
        first_epochs=0,
        epochs=4,
        batch=256,
        rate=3e-3,
        schedule="cosine",
        warmup=50,
        layers=2,
        heads=8,
        inner=1024,
        dropout=0.1,
        validations=4,
    ),
}


def train(learn: Task, validation: Task | None, out: Path, *, recipe: Recipe) -> Outcome:
    """Learn from questions that hold an image and text, and the images that answer them.

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
    exam = None if validation is None else _examine(validation, recipe, out, like=lessons)
    if first():
        print(f"learns from {lessons.triplets.describe()}")
    outcome = _phases(model, lessons, exam, out, recipe)
    if first():
        if exam is not None:
            exam.settle(model)
        if isinstance(lessons.look, Table):
            lessons.look.fold(cast(text.Feature, model.image).first)
        place, config = out / "model", model.config
        specs = _frozen.keep({"image_spec": config.image_spec, "text_spec": config.text_spec}, place)
        model.save(place, replace(config, **specs))
    return outcome


def _phases(model: Model, lessons: Lessons, exam: Exam | None, out: Path, recipe: Recipe) -> Outcome:
    count = len(lessons.triplets)

    def run(phase: str, loop: Loop, validate: Callable[[nn.Module], Mapping[str, float]] | None) -> Outcome:
        return fit(model, _loss, fetch=lessons.fetch, count=count, out=out, loop=loop, validate=validate, phase=phase)

    if recipe.first_epochs:
        model.freeze()
        run("first", recipe.loop(count, frozen=True), None)
        model.freeze(False)
    return run("second", recipe.loop(count), None if exam is None else lambda model: exam.take(cast(Model, model)))


def _loss(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
    losses: Mapping[str, Tensor] = model(batch)
    return losses


def _prepare(learn: Task, recipe: Recipe, out: Path) -> tuple[Lessons, Model]:
    """Read what is learnt from, and make a model for it, always the same of a seed."""
    triplets, features = _read(learn, recipe, out)
    table = None if features is None else Table.of(features, triplets.shown)
    hear = _sentences(triplets, recipe, out)
    recurrent = hear is None and recipe.composer != "visual_search"
    config = recipe.config(
        image_width=0 if features is None else features.shape[1],
        text_width=0 if hear is None else hear.features.shape[1],
        words=collect((wish for each in triplets.wishes for wish in each), least=recipe.least) if recurrent else (),
        joint=any(len(each) > 1 for each in triplets.wishes),
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = Model(config)
    if isinstance(model.image, image.Picture) and recipe.pretrained:
        model.image.pretrain()
    if recipe.glove is not None and isinstance(model.text, text.Bigru | text.Lstm):
        rows, found = text.glove(recipe.glove, config.words, width=recipe.embedding)
        text.fill(model.text.embed, rows)
        print(f"{recipe.glove} has {found:,} of {len(config.words):,} words")
    look = table or Pixels(triplets.pictures, image.reader(config))
    words = hear or (Tokens(Vocabulary.of(config), triplets.wishes) if recurrent else Silence())
    return Lessons(triplets, look, words, known=recipe.negatives == "known"), model


def _examine(validation: Task, recipe: Recipe, out: Path, *, like: Lessons) -> Exam:
    """Read what is validated on, in the same terms as what is learnt from."""
    triplets, features = _read(validation, recipe, out)
    look, hear = like.look, like.hear
    if features is not None:
        look = replace(cast(Table, look), features=features)
    else:
        look = replace(cast(Pixels, look), pictures=triplets.pictures)
    if isinstance(hear, Tokens):
        hear = replace(hear, wishes=triplets.wishes)
    return Exam(triplets, look, _sentences(triplets, recipe, out) or hear)


def _read(task: Task, recipe: Recipe, out: Path) -> tuple[Triplets, Floats | None]:
    if recipe.trains_backbone:
        return gather(task), None
    features, seen = extract(recipe.image, "image", pictures(task), cache=recipe.cache or out / "features")
    return gather(task, seen), features


def _sentences(triplets: Triplets, recipe: Recipe, out: Path) -> Sentences | None:
    if not recipe.reads_features:
        return None

    def embed(texts: Sequence[str]) -> Floats:
        return extract(recipe.text, "text", texts, cache=recipe.cache or out / "features")[0]

    return Sentences.of(triplets.wishes, embed)
