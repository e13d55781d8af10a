"""Settings of a training, and three sets of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quiver.encoders._train import Loop
from quiver.encoders.map_ivr.config import Config
from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Towers:
    """Frozen encoders whose features the model reads; several are joined by " + ".

    Attributes:
        image: encoders of stills, as in "timm model=resnet50".
        video: encoders of clips, each applied to every window; "timm model=resnet50 + motion" adds motion to frames.
    """

    image: str = "classic"
    video: str = "classic + motion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Training data.

    Attributes:
        label: metadata column with the activity of a clip, or several joined by "|"; none takes clips that answer the
            same stills as one activity.
        probe: further metadata columns, joined by ",", that linear probes read from motion and appearance vectors.
        proposals: file of windows with columns path, start, stop and maybe score, in place of windows of equal length.
        cache: where features are kept; none for ``features`` in the folder of the run.
    """

    label: str | None = None
    probe: str = ""
    proposals: Path | None = None
    cache: Path | None = None

    @property
    def probed(self) -> tuple[str, ...]:
        """The columns of ``probe``."""
        return tuple(part.strip() for part in self.probe.split(",") if part.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of a training.

    Attributes:
        name: the spaces are called map_ivr/NAME; none for the name of the folder of the run.
        blend: lambda, the share of the motion distance in the score; none chooses it on the validation set.
        towers: encoders that the model stands on.
        model: the model and the weights of its losses.
        data: training data.
        loop: how it is optimised.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    name: str | None = None
    blend: float | None = None
    towers: Towers = field(default_factory=Towers)
    model: Config = field(default_factory=Config)
    data: Data = field(default_factory=Data)
    loop: Loop = field(default_factory=lambda: _loop(epochs=30.0, batch=128, rate=2e-4, validations=10))

    def __post_init__(self) -> None:
        self.loop.check_steps()
        if self.blend is not None and not 0 <= self.blend <= 1:
            raise BadSpec(f"map_ivr blend must be from 0 to 1, or none, not {self.blend}")


def _loop(*, epochs: float, batch: int, rate: float, validations: int) -> Loop:
    return Loop(
        epochs=epochs,
        batch=batch,
        rate=rate,
        schedule="constant",
        optimiser="adam",
        clip=1.0,
        validations=validations,
        log_every=20,
    )


#: ``paper``: widths, Adam, rate, clipping and epochs of the sister method BDT, since MAP-IVR's own are not public.
#: ``cpu`` is ours: minutes on two cores. ``tiny`` is for a first look and for tests.
PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(),
    "cpu": Recipe(
        model=Config(hidden=256, dim=128, code=64, dropout=0.2),
        loop=_loop(epochs=60.0, batch=64, rate=1e-3, validations=12),
    ),
    "tiny": Recipe(
        model=Config(hidden=64, dim=32, code=16),
        loop=_loop(epochs=20.0, batch=32, rate=2e-3, validations=4),
    ),
}
