"""Train two towers on questions and their answers: what to train first on a catalogue.

Radford et al. 2021 (CLIP), arXiv:2103.00020, table 18 and section 2.5; Zhai et al. 2023 (SigLIP), arXiv:2303.15343,
section 4; the towers are locked, as Zhai et al. 2022 (LiT), arXiv:2111.07991, found best for pictures, or fine-tuned
after their heads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quiver.encoders import _frozen
from quiver.encoders._train import Loop, Outcome, extract, first, fit, gathered
from quiver.encoders.two_tower import base, trunk
from quiver.encoders.two_tower.config import SHARED, Base, Config, Loss
from quiver.encoders.two_tower.data import Column, Features, Fetch, Pairs, gather
from quiver.encoders.two_tower.loss import infonce, sigmoid
from quiver.encoders.two_tower.measure import Measured, recalls
from quiver.encoders.two_tower.model import Contrast, TwoTower
from quiver.encoders.two_tower.word import GramReader
from quiver.errors import BadMedia, BadSpec
from quiver.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is trained, and how.

    Attributes:
        text: what the text tower stands on: encoders joined by " + ", of which one may be ``words``: n-grams that are
            learnt from the texts themselves.
        image: encoders of pictures, likewise, as in "timm model=resnet50 + classic".
        audio: encoders of sounds.
        video: encoders of videos; none for those of pictures, and then one tower for both.
        pair: encoders of two pictures.
        own: whether what an item itself holds belongs together, beside questions and answers.
        name: the space is called two_tower/NAME; none for the name of the folder of the run.
        dim: width of the space.
        hidden: width inside each head; 0 for a linear one.
        residual: add a linear head to the one with a hidden layer.
        dropout: of features, and of the hidden layer.
        buckets: rows of the table of n-grams.
        word_dropout: share of n-grams that are left out in training.
        loss: infonce (CLIP) or sigmoid (SigLIP).
        temperature: by which cosines are divided at first.
        bias: of the sigmoid loss at first.
        smoothing: share of infonce's target that is spread over the batch.
        steps: updates of the heads.
        batch: questions per step and rank; the more, the more negatives.
        rate: peak learning rate; it falls to 0 along half a cosine.
        warmup: steps in which it rises to that from 0.
        decay: weight decay.
        clip: the norm that gradients are scaled down to, or none.
        tune: towers that are then trained to the ground: none, image, text or "image,text". Each one's first encoder
            must be a timm or a sentence_transformers model, and its weights are kept in the model's folder.
        tune_steps: updates of that.
        tune_batch: questions per step and rank.
        tune_rate: its peak learning rate.
        tune_share: share of each network's tensors that are trained, those nearest to its output.
        precision: fp32, bf16 or fp16.
        device: auto, cpu, cuda or cuda:N.
        seed: of weights, order and everything drawn.
        cache: where vectors of frozen encoders are kept; none for ``features`` in the folder of the run.
        validate_every: steps between validations; the best state is kept.
        save_every: steps between states that a run can go on from.
        log_every: steps that one line of the log sums up.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    text: str = "words"
    image: str = "classic"
    audio: str = "classic"
    video: str | None = None
    pair: str = "classic"
    own: bool = True
    name: str | None = None
    dim: int = 512
    hidden: int = 0
    residual: bool = False
    dropout: float = 0.0
    buckets: int = 32_768
    word_dropout: float = 0.3
    loss: Loss = "infonce"
    temperature: float = 0.07
    bias: float = -10.0
    smoothing: float = 0.0
    steps: int = 20_000
    batch: int = 32_768
    rate: float = 5e-4
    warmup: int = 2000
    decay: float = 0.2
    clip: float | None = None
    tune: str | None = None
    tune_steps: int = 1000
    tune_batch: int = 128
    tune_rate: float = 3e-5
    tune_share: float = 0.5
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: str = "auto"
    seed: int = 0
    cache: Path | None = None
    validate_every: int = 500
    save_every: int = 500
    log_every: int = 50

    def __post_init__(self) -> None:
        if unknown := [key for key in self.tuned if key not in ("image", "text")]:
            raise BadSpec(f"two_tower tune names image, text or both, not {unknown[0]!r}")
        if not 0 < self.tune_share <= 1:
            raise BadSpec(f"two_tower tune_share must be above 0 and at most 1, not {self.tune_share}")
        _ = self.config({}, "model"), self.loop, self.tuning  # which check the rest

    @property
    def tuned(self) -> tuple[str, ...]:
        """The towers that are trained to the ground."""
        return tuple(part.strip() for part in self.tune.split(",")) if self.tune else ()

    def config(self, towers: Mapping[str, Base], name: str) -> Config:
        """Return the model's part of it."""
        return Config(
            towers=towers,
            name=self.name or name,
            dim=self.dim,
            hidden=self.hidden,
            residual=self.residual,
            dropout=self.dropout,
            buckets=self.buckets,
            word_dropout=self.word_dropout,
            loss=self.loss,
            temperature=self.temperature,
            bias=self.bias,
            smoothing=self.smoothing,
        )

    @property
    def loop(self) -> Loop:
        """How to optimise the heads."""
        return Loop(
            steps=self.steps,
            batch=self.batch,
            rate=self.rate,
            warmup=self.warmup,
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
    def tuning(self) -> Loop:
        """How to optimise heads and networks together."""
        return replace(
            self.loop,
            steps=self.tune_steps,
            batch=self.tune_batch,
            rate=self.tune_rate,
            warmup=min(self.warmup, self.tune_steps // 10),
        )


#: ``paper``: CLIP's batch (over all ranks: set batch=32768/ranks), decay, warmup and learning rate of its ViT-B, with
#: linear heads and its first temperature; SigLIP's own are loss=sigmoid temperature=0.1 bias=-10 rate=1e-3 decay=1e-4.
#: Their betas (0.9, 0.98 and 0.9, 0.95) are not; 20,000 steps are SigLIP's shortest run, CLIP's are 32 epochs. Both
#: train networks from scratch. ``cpu`` is ours, for a catalogue of thousands on a small machine.
PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(),
    "cpu": Recipe(
        dim=256,
        dropout=0.3,
        steps=300,
        batch=512,
        rate=1e-3,
        warmup=30,
        decay=0.1,
        validate_every=50,
        save_every=100,
        tune_steps=100,
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """A task, with what each tower is given of its things."""

    pairs: Pairs
    columns: Mapping[str, Features]


def train(learn: Task, validation: Task | None, out: Path, *, recipe: Recipe) -> Outcome:
    """Learn from questions that hold one thing each, and from the items that answer them.

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
    cache = recipe.cache or out / "features"
    pairs = gather(learn, own=recipe.own)
    specs = _specs(pairs, recipe)
    lesson = _lesson(pairs, specs, recipe, cache)
    held = None if validation is None else _lesson(gather(validation, own=False), specs, recipe, cache)
    model = _build(lesson, specs, recipe, out.resolve().name)
    if first():
        print(f"learns from {lesson.pairs.describe()}")
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
    return _tune(model, lesson, held, out, recipe=recipe, before=outcome) if recipe.tuned else outcome


def _specs(pairs: Pairs, recipe: Recipe) -> dict[str, str]:
    """Return by key what its tower stands on, as the recipe says."""
    keys = pairs.things.refs
    found = {key: recipe.image if key == "video" and recipe.video is None else getattr(recipe, key) for key in keys}
    for key, spec in found.items():
        if base.parse(spec)[1] and key != "text":
            raise BadSpec(f"two_tower {key}={spec!r}: only text has words")
    if absent := [key for key in recipe.tuned if key not in keys]:
        raise BadSpec(f"two_tower tune={absent[0]}: there is no {absent[0]} to learn from")
    return found


def _tower(key: str, keys: Mapping[str, Any], recipe: Recipe) -> str:
    """Return the tower of a key: pictures and videos of one spec share theirs."""
    return "image" if key == "video" and recipe.video is None and "image" in keys else key


def _lesson(pairs: Pairs, specs: Mapping[str, str], recipe: Recipe, cache: Path) -> _Lesson:
    """Extract what the towers are given, and leave out what cannot be read."""
    columns, lost = {}, {}
    for key, refs in pairs.things.refs.items():
        spec = specs.get(key) or specs.get(SHARED.get(key, ""))
        if spec is None:
            raise BadSpec(f"validation has {key}, of which there is nothing to learn from")
        columns[key], readable = _column(key, refs, spec, buckets=recipe.buckets, cache=cache)
        lost[key] = np.flatnonzero(~readable)
    return _Lesson(pairs.without(lost), columns)


def _column(
    key: str, refs: Sequence[Any], said: str, *, buckets: int, cache: Path
) -> tuple[Features, NDArray[np.bool_]]:
    """Return what a tower is given of references, and which of them can be read."""
    spec, words = base.parse(said)
    readable, parts = np.ones(len(refs), bool), []
    for each in spec.split(" + ") if spec else ():  # one by one, so that another mixture finds them kept
        found, mask = extract(each, key, refs, cache=cache)
        parts.append(found)
        readable &= mask
    rows = np.concatenate(parts, axis=1) if parts else None
    if not words:
        return Features(rows, None), readable
    grams = []
    for place, ref in enumerate(refs):
        try:
            grams.append(GramReader(buckets)(ref))
        except BadMedia:
            grams.append(np.empty(0, np.int64))
            readable[place] = False
    return Features(rows, grams), readable


def _build(lesson: _Lesson, specs: Mapping[str, str], recipe: Recipe, name: str) -> TwoTower:
    """Make a model with random weights, always the same of a seed."""
    towers, grounds = {}, dict[str, list[Tensor]]()
    for key, column in lesson.columns.items():
        tower = _tower(key, lesson.columns, recipe)
        if column.rows is not None:
            grounds.setdefault(tower, []).append(torch.from_numpy(column.rows))
        if tower == key:
            spec, words = base.parse(specs[key])
            frozen = _frozen.open(spec, key)
            towers[key] = Base(spec=spec, width=frozen.width, revision=frozen.revision, words=words)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = TwoTower(recipe.config(towers, name))
    for tower, rows in grounds.items():
        model.towers[tower].measure(torch.cat(rows))  # type: ignore[operator]
    if "text" in lesson.columns and (grams := lesson.columns["text"].grams) is not None:
        model.towers["text"].bag.measure(grams)  # type: ignore[union-attr, operator]
    return model


def _loss(config: Config, pairs: Pairs) -> Callable[[nn.Module, Any], Mapping[str, Tensor]]:
    def loss(model: nn.Module, batch: Mapping[str, Any]) -> Mapping[str, Tensor]:
        made: Contrast = model(batch["sides"])
        things = gathered(batch["things"]).cpu().numpy()
        known = pairs.related(things[:, 0], things[:, 1]).to(made.ask.device)
        logits = made.scale * gathered(made.ask) @ gathered(made.answer).T
        if config.loss == "sigmoid":
            value = sigmoid(logits + made.bias, known=known)
        else:
            value = infonce(logits, known=known, smoothing=config.smoothing)
        return {"loss": value, "scale": made.scale.detach()}

    return loss


def _validate(pairs: Pairs, columns: Mapping[str, Column]) -> Callable[[nn.Module], Mapping[str, float]]:
    def validate(model: nn.Module) -> Mapping[str, float]:
        return recalls(cast(Measured, model), pairs, columns)  # fit hands over what it was given

    return validate


def _tune(
    model: TwoTower, lesson: _Lesson, held: _Lesson | None, out: Path, *, recipe: Recipe, before: Outcome
) -> Outcome:
    """Train networks and heads together, and keep what is better; the networks go into the model's folder."""
    if "image" in recipe.tuned and "video" in lesson.columns and "video" not in model.config.towers:
        raise BadSpec("two_tower tune=image: videos go through the same tower; give video=ENCODERS of their own")
    trunks = {key: trunk.open(model.config.towers[key].spec, key, share=recipe.tune_share) for key in recipe.tuned}
    tuned = trunk.Tuned(model, trunks)
    columns = trunk.columns(lesson.pairs.things.refs, lesson.columns, trunks)
    checks = None if held is None else trunk.columns(held.pairs.things.refs, held.columns, trunks)
    outcome = fit(
        tuned,
        _loss(model.config, lesson.pairs),
        fetch=Fetch(lesson.pairs, columns),
        count=len(lesson.pairs),
        out=out,
        loop=recipe.tuning,
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
