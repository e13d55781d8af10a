"""Settings of a training, and two sets of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from quiver.encoders._train import Loop, Phase
from quiver.encoders.two_tower.config import Config
from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Towers:
    """Base encoders of the towers, several of them joined by " + ".

    Attributes:
        text: of texts; one of them may be ``words``: n-grams that are learnt from the texts themselves.
        image: of pictures, as in "timm model=resnet50 + classic".
        audio: of sounds.
        video: of videos; none for those of pictures, and then one tower for both.
        pair: of two pictures.
    """

    text: str = "words"
    image: str = "classic"
    audio: str = "classic"
    video: str | None = None
    pair: str = "classic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Training data.

    Attributes:
        own: whether the media of one item belong together, beside questions and answers.
        cache: where vectors of frozen encoders are kept; none for ``features`` in the folder of the run.
    """

    own: bool = True
    cache: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tune(Phase):
    """Fine-tuning of the encoders themselves, after the heads.

    Attributes:
        towers: none, image, text or "image,text". Each one's first encoder must be a timm or a sentence_transformers
            model, and its weights are kept in the model's folder.
        share: share of each network's tensors that are trained, those nearest to its output.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    towers: str | None = None
    steps: int = 1000
    batch: int = 128
    rate: float = 3e-5
    share: float = 0.5

    def __post_init__(self) -> None:
        Phase.__post_init__(self)
        if unknown := [key for key in self.keys if key not in ("image", "text")]:
            raise BadSpec(f"two_tower tune.towers names image, text or both, not {unknown[0]!r}")
        if not 0 < self.share <= 1:
            raise BadSpec(f"two_tower tune.share must be above 0 and at most 1, not {self.share}")

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the towers whose encoders are fine-tuned."""
        return tuple(part.strip() for part in self.towers.split(",")) if self.towers else ()


def _loop() -> Loop:
    return Loop(steps=20_000, batch=32_768, rate=5e-4, warmup=2000, decay=0.2, validate_every=500, save_every=500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of a training.

    Attributes:
        name: the space is called two_tower/NAME; none for the name of the folder of the run.
        towers: encoders that the towers stand on.
        model: the heads.
        data: training data.
        loop: how the heads are optimised.
        tune: how encoders are fine-tuned after them.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    FORMER: ClassVar[Mapping[str, str]] = {
        **{name: f"loop.{name}" for name in ("steps", "batch", "rate")},
        "tune": "tune.towers",
        **{f"tune_{name}": f"tune.{name}" for name in ("steps", "batch", "rate", "share")},
    }

    name: str | None = None
    towers: Towers = field(default_factory=Towers)
    model: Config = field(default_factory=Config)
    data: Data = field(default_factory=Data)
    loop: Loop = field(default_factory=_loop)
    tune: Tune = field(default_factory=Tune)

    def __post_init__(self) -> None:
        self.loop.check_steps()


#: ``paper``: CLIP's batch (over all ranks: set loop.batch=32768/ranks), decay, warmup and learning rate of its ViT-B,
#: with linear heads and its first temperature; SigLIP's own are loss=sigmoid temperature=0.1 bias=-10 rate=1e-3
#: decay=1e-4. Their betas (loop.beta2=0.98 and 0.95) are left out; 20,000 steps are SigLIP's shortest run, CLIP's are
#: 32 epochs. Both train networks from scratch. ``cpu`` is ours, for a catalogue of thousands on a small machine.
PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(),
    "cpu": Recipe(
        model=Config(dim=256, dropout=0.3),
        loop=Loop(steps=300, batch=512, rate=1e-3, warmup=30, decay=0.1, validate_every=50, save_every=100),
        tune=Tune(steps=100),
    ),
}
