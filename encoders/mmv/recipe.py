"""Settings of a training, and two sets of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from quiver.encoders._train import Loop
from quiver.encoders.mmv.augment import Jitter
from quiver.encoders.mmv.config import Config
from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Weights that the model starts from.

    Attributes:
        vectors: a file of word vectors (word2vec, GloVe or npz); none gives each word a random one, always the same.
        vocabulary: words kept, the most frequent ones of the texts or the first ones of the file.
        yamnet: ONNX file of the weights that audio=yamnet starts from; none for random ones.
        freeze: first layers of yamnet, of 14, that keep those weights.
    """

    vectors: Path | None = None
    vocabulary: int = 65_536
    yamnet: Path | None = None
    freeze: int = 0

    def __post_init__(self) -> None:
        if self.vocabulary < 1:
            raise BadSpec("mmv needs start.vocabulary of at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Training data.

    Attributes:
        candidates: narrations of a clip that its loss sums over; drawn where it has more.
        span: seconds kept of each clip, of which a clip is any part; none for no more than one has. Where the
            reference of a clip says how long it is, and cache=none, all of that is used.
        cache: disk decodes every clip once; none decodes it each time, for data sets too large to keep decoded. Those
            of validation are always kept.
        folder: where decoded clips and features are kept; none for ``clips`` in the folder of the run.
        validate_on: clips that are searched in validation, the first ones.
    """

    candidates: int = 5
    span: float | None = None
    cache: Literal["disk", "none"] = "none"
    folder: Path | None = None
    validate_on: int = 2000

    def __post_init__(self) -> None:
        if min(self.candidates, self.validate_on) < 1:
            raise BadSpec("mmv needs data.candidates and data.validate_on of at least 1")


def _loop() -> Loop:
    often = Loop(steps=500_000, batch=4096, rate=2e-3, warmup=5000, validate_every=5000, save_every=1000)
    return replace(often, precision="bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of a training.

    Attributes:
        model: towers, graph and inputs.
        start: weights that the model starts from.
        data: training data.
        jitter: how much clips are changed in training. Where texts tell colours, those must survive it: at the
            paper's hue of 0.2 an orange ball may become a green one.
        loop: how the model is optimised.
        recompute: drop what lies within the layers of the video tower, and compute it again for the gradient: S3D-G
            then needs 144 MiB for a clip in place of 386, and one more forward pass.
        calibration_steps: updates of the scale and offset with which single pictures are embedded; 0 leaves them as
            they are.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    FORMER: ClassVar[Mapping[str, str]] = {"learning_rate": "loop.rate"}

    model: Config = field(default_factory=Config)
    start: Start = field(default_factory=Start)
    data: Data = field(default_factory=Data)
    jitter: Jitter = field(default_factory=Jitter)
    loop: Loop = field(default_factory=_loop)
    recompute: bool = False
    calibration_steps: int = 300

    def __post_init__(self) -> None:
        self.loop.check_steps()
        if self.calibration_steps < 0:
            raise BadSpec("mmv needs calibration_steps of at least 0")
        if (self.start.yamnet is not None or self.start.freeze) and self.model.audio != "yamnet":
            raise BadSpec(f"mmv yamnet=FILE and freeze=N are of use with audio=yamnet, not with {self.model.audio}")


#: The paper's recipe, as far as it is known. Secondary sources: rate, warmup, schedule, batch (4096 over all ranks: set
#: batch=4096/ranks), 32 frames at 10 fps, candidates. Unknown: steps, Adam's betas and decay, precision, save for
#: weights of 1:1 with AudioSet and 10:1 in either direction without. ``cpu`` is ours: it learns the made world in about
#: three minutes on two cores. Captions there tell colours, which jitter would change into each other, and resizing
#: clips takes time from the model: of what may be changed it draws the crop and the mirror alone.
PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(model=Config.paper(), recompute=True),
    "cpu": Recipe(
        model=replace(Config.cpu(), fps=4.0, seconds=2.0),
        data=Data(cache="disk", validate_on=1000),
        jitter=Jitter(scale=0.0, colour=0.0, hue=0.0),
        loop=Loop(steps=500, batch=64, rate=4e-3, warmup=30, precision="auto", validate_every=500, save_every=250),
        calibration_steps=150,
    ),
}
