"""Train MMV on clips with sound, narrations, or both.

Alayrac et al. 2020, arXiv:2006.16228: from scratch, Adam, half a period of cosine after a linear warmup, one loss
between video and audio and one between video and text, in batches that mix narrated clips with others. Their training
code is not public: what comes from secondary sources or is unknown is marked in ``PRESETS``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from quiver.encoders import _frozen
from quiver.encoders._train import Loop, Outcome, first, fit
from quiver.encoders._train.rank import share
from quiver.encoders.mmv.augment import Jitter
from quiver.encoders.mmv.clip import Clips, Serving, gather, hear, leading
from quiver.encoders.mmv.config import SPECS, Config
from quiver.encoders.mmv.deflate import Calibration, Deflated, calibrate
from quiver.encoders.mmv.encoder import save_deflation
from quiver.encoders.mmv.loss import contrast
from quiver.encoders.mmv.measure import recalls
from quiver.encoders.mmv.model import MMV
from quiver.encoders.mmv.s3d import S3DG
from quiver.encoders.mmv.tsm import TSMResNet
from quiver.encoders.mmv.word import Tokeniser, Words
from quiver.encoders.mmv.yamnet import Config as YAMConfig
from quiver.encoders.mmv.yamnet import YAMNet
from quiver.errors import BadSpec
from quiver.malloc import keep_blocks
from quiver.task import Task

#: Batches of pictures from which deflation is learnt.
PICTURES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Config):
    """What is trained, and how: all fields of ``mmv.config.Config``, which describe the model, and these.

    Attributes:
        steps: updates of the weights.
        batch: clips per step and rank; the more, the more negatives.
        learning_rate: its peak.
        warmup: steps in which it rises to that from 0; then it falls to 0 along half a cosine.
        decay: weight decay.
        clip: the norm that gradients are scaled down to, or none.
        precision: of the towers: fp32, bf16 or fp16; auto is bf16 where the processor multiplies it, else fp32.
        device: auto, cpu, cuda or cuda:N.
        seed: of weights, order and everything drawn.
        candidates: narrations of a clip that its loss sums over; drawn where it has more.
        span: seconds kept of each clip, of which a clip is any part; none for no more than one has. Where the
            reference of a clip says how long it is, and cache=none, all of that is used.
        cache: disk decodes every clip once; none decodes it each time, for data sets too large to keep decoded. Those
            of validation are always kept.
        folder: where decoded clips and features are kept; none for ``clips`` in the folder of the run.
        vectors: a file of word vectors (word2vec, GloVe or npz); none gives each word a random one, always the same.
        vocabulary: words kept, the most frequent ones of the texts or the first ones of the file.
        yamnet: ONNX file of the weights that audio=yamnet starts from; none for random ones.
        freeze: first layers of yamnet, of 14, that keep those weights.
        flip: how often a clip is mirrored.
        scale: width and height are each changed by up to this share.
        colour: strength of brightness, contrast and saturation changes; 1 is the paper's, 0 none. What texts say of
            colours must survive it.
        hue: share of the circle by which colours turn; at the paper's 0.2 an orange ball may become a green one.
        often: how often scale and colours change at all.
        gain: decibels by which the sound gets louder or softer.
        noise: standard deviation of noise in the sound.
        calibration_steps: for the scale and offset with which single pictures are embedded; 0 leaves them as they are.
        validate_every: steps between validations; the best state is kept.
        validate_on: clips that are searched, the first ones.
        save_every: steps between states that a run can go on from.
        log_every: steps that one line of the log sums up.
    """

    steps: int = 500_000
    batch: int = 4096
    learning_rate: float = 2e-3
    warmup: int = 5000
    decay: float = 0.0
    clip: float | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "bf16"
    device: str = "auto"
    seed: int = 0
    candidates: int = 5
    span: float | None = None
    cache: Literal["disk", "none"] = "none"
    folder: Path | None = None
    vectors: Path | None = None
    vocabulary: int = 65_536
    yamnet: Path | None = None
    freeze: int = 0
    flip: float = 0.5
    scale: float = 0.2
    colour: float = 1.0
    hue: float = 0.2
    often: float = 0.8
    gain: float = 0.0
    noise: float = 0.0
    calibration_steps: int = 300
    validate_every: int = 5000
    validate_on: int = 2000
    save_every: int = 1000
    log_every: int = 50

    def __post_init__(self) -> None:
        if min(self.candidates, self.vocabulary, self.validate_on) < 1 or self.calibration_steps < 0:
            raise BadSpec(
                "mmv needs candidates, vocabulary, validate_on of at least 1, calibration_steps of at least 0"
            )
        if (self.yamnet is not None or self.freeze) and self.audio != "yamnet":
            raise BadSpec(f"mmv yamnet=FILE and freeze=N are of use with audio=yamnet, not with {self.audio}")
        _ = self.config, self.loop, self.serving  # which check the rest

    @property
    def config(self) -> Config:
        """The model's part of it."""
        return Config(**{field.name: getattr(self, field.name) for field in fields(Config)})

    @property
    def loop(self) -> Loop:
        """How to optimise."""
        return Loop(
            steps=self.steps,
            batch=self.batch,
            rate=self.learning_rate,
            warmup=self.warmup,
            optimiser="adamw" if self.decay else "adam",
            decay=self.decay,
            clip=self.clip,
            precision=_precision(self.device) if self.precision == "auto" else self.precision,
            device=self.device,
            seed=self.seed,
            validate_every=self.validate_every,
            save_every=self.save_every,
            log_every=self.log_every,
        )

    @property
    def serving(self) -> Serving:
        """How clips are served."""
        jitter = Jitter(
            flip=self.flip,
            scale=self.scale,
            colour=self.colour,
            hue=self.hue,
            often=self.often,
            gain=self.gain,
            noise=self.noise,
        )
        return Serving(candidates=self.candidates, span=self.span, cache=self.cache, jitter=jitter)


def _precision(device: str) -> Literal["fp32", "bf16"]:
    """Return bf16 where it is not emulated: on a CPU it halves what is moved, but only with instructions for it."""
    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()):
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported(False) else "fp32"
    able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.6 does not tell yet
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


#: The paper's recipe, as far as it is known. Secondary sources: rate, warmup, schedule, batch (4096 over all ranks: set
#: batch=4096/ranks), 32 frames at 10 fps, candidates. Unknown: steps, Adam's betas and decay, precision, save for
#: weights of 1:1 with AudioSet and 10:1 in either direction without. ``cpu`` is ours: it learns the made world in about
#: three minutes on two cores. Captions there tell colours, which jitter would change into each other, and resizing
#: clips takes time from the model: of what may be changed it draws the crop and the mirror alone.
PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(**asdict(Config.paper())),
    "cpu": Recipe(
        **asdict(replace(Config.cpu(), fps=4.0, seconds=2.0)),
        steps=500,
        batch=64,
        learning_rate=4e-3,
        warmup=30,
        precision="auto",
        cache="disk",
        scale=0.0,
        colour=0.0,
        hue=0.0,
        calibration_steps=150,
        validate_every=500,
        validate_on=1000,
        save_every=250,
    ),
}


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
    config = recipe.config
    model = _build(learn, recipe)
    tokeniser = Tokeniser(model.tokens, config.max_words) if model.tokens else None
    folder = recipe.folder or out / "clips"
    clips = Clips.of(learn, config, tokeniser, folder=folder, serving=recipe.serving)
    if first():
        print(f"learns from {clips.describe()}")
    validate = None
    if validation is not None:
        some = replace(validation, items=validation.items[: recipe.validate_on])
        held = Clips.of(some, config, tokeniser, folder=folder, serving=replace(recipe.serving, cache="disk"))
        validate = _validate(held, recipe.batch)
    if share()[1] > 1 and torch.cuda.is_available():
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    outcome = fit(
        model, _loss(config), fetch=clips.fetch, count=len(clips), out=out, loop=recipe.loop, validate=validate
    )
    if first():
        _save(model, clips, out / "model", recipe)
    return outcome


def _build(learn: Task, recipe: Recipe) -> MMV:
    """Make a model with random weights, always the same of a seed, and the words of what is learnt."""
    config, words = recipe.config, None
    if config.text == "words" and recipe.vectors is not None:
        words = Words.read(recipe.vectors, size=recipe.vocabulary)
    elif config.text == "words":
        texts = (text for clip in gather(learn, key=leading(config)) for text in clip.texts)
        words = Words.gather(texts, width=config.word_width, size=recipe.vocabulary)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = MMV(config, words=words)
    if recipe.yamnet is not None:
        tower = YAMNet.from_onnx(recipe.yamnet, YAMConfig(classes=0, pool=config.pool))
        tower.freeze(recipe.freeze)
        model.towers["audio"] = tower
    return model


def _loss(config: Config) -> Callable[[nn.Module, Any], Mapping[str, Tensor]]:
    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        given = {**batch, "audio": hear(batch["audio"], config)} if "audio" in batch else batch
        return contrast(model(given), given, config)

    return loss


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
    rng = np.random.default_rng(recipe.seed)

    def pictures() -> Iterator[Tensor]:
        for _ in range(PICTURES):
            rows = rng.integers(0, len(clips), min(recipe.batch, 32))
            yield clips.fetch(rows, None)["video"][:, recipe.frames // 2].to(place)

    return calibrate(deflated, tower, pictures(), frames=recipe.frames, steps=recipe.calibration_steps)
