"""How to optimise, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """How to optimise.

    Attributes:
        steps: updates of the weights in all; raising it later goes on from where a run ended.
        batch: rows per step and rank.
        rate: peak learning rate.
        warmup: updates over which the rate rises in a straight line from 0.
        schedule: after the warmup, ``cosine`` falls along half a period to 0 at ``steps``, ``constant`` stays,
            ``halve`` halves after every ``halve_every`` updates, counted from the start.
        halve_every: updates, for ``halve``.
        optimiser: ``adamw`` (decay apart from the gradient), ``adam`` (decay added to it).
        decay: weight decay of matrices and larger tensors; biases, gains and other vectors are never decayed.
        clip: the norm that gradients are scaled down to, or None.
        precision: of what the model's forward computes; weights and optimiser stay fp32.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; under torchrun each rank takes its own GPU.
        seed: of the order of rows, of what ``fetch`` draws, and of dropout.
        validate_every: updates between validations; 0 validates after the last update alone.
        save_every: updates between resumable states; 0 saves at the end and on Ctrl-C alone.
        log_every: updates that one line of the log sums up.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    steps: int
    batch: int
    rate: float
    warmup: int = 0
    schedule: Literal["cosine", "constant", "halve"] = "cosine"
    halve_every: int = 0
    optimiser: Literal["adam", "adamw"] = "adamw"
    decay: float = 0.0
    clip: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: str = "auto"
    seed: int = 0
    validate_every: int = 0
    save_every: int = 0
    log_every: int = 50

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every"):
            _at_least(name, getattr(self, name), 1)
        for name in ("warmup", "halve_every", "decay", "seed", "validate_every", "save_every"):
            _at_least(name, getattr(self, name), 0)
        if not self.rate > 0 or (self.clip is not None and not self.clip > 0):
            raise BadSpec(f"rate and clip must be positive, not {self.rate} and {self.clip}")
        if self.schedule == "halve" and not self.halve_every:
            raise BadSpec("schedule=halve needs halve_every, the updates after which the rate is halved")
        for name, known in _WORDS.items():
            if getattr(self, name) not in known:
                raise BadSpec(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")


_WORDS = {
    "schedule": ("cosine", "constant", "halve"),
    "optimiser": ("adam", "adamw"),
    "precision": ("fp32", "bf16", "fp16"),
}


def _at_least(name: str, value: float, least: int) -> None:
    if not value >= least:
        raise BadSpec(f"{name} must be at least {least}, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        step: updates in all, those before a resume included.
        best: the update after which the model was as it is now.
        figures: what validation measured then; empty without validation.
        losses: means of the loss and its parts over the last lines of the log; empty where nothing was left to do.
        resumed: the update this process went on from, 0 at a fresh start.
        seconds: spent in this process.
    """

    step: int
    best: int
    figures: Mapping[str, float]
    losses: Mapping[str, float]
    resumed: int
    seconds: float
