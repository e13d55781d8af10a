"""Settings of optimisation, and the result of a run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from quiver.encoders._settings import instead
from quiver.encoders._train import tracker
from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """Optimisation.

    Attributes:
        steps: updates of the weights in all; a finished run goes on if it is raised, see extend.
        epochs: passes over the training set, in place of steps; may be raised likewise.
        batch: rows per step and rank.
        rate: peak learning rate.
        warmup: updates over which the rate rises in a straight line from 0.
        warmup_share: share of all updates, in place of warmup.
        schedule: after the warmup, ``cosine`` falls along half a period to 0 at the last step, ``constant`` stays,
            ``halve`` halves after every ``halve_every`` updates, counted from the start.
        extend: what a cosine does in a run whose steps are raised: ``refuse``, since its rate would jump up;
            ``restart`` begins warmup and cosine anew after the last step planned before. Other schedules go on.
        halve_every: updates, for ``halve``.
        halve_epochs: passes over the training set, in place of halve_every.
        optimiser: ``adamw`` (decoupled weight decay), ``adam`` (decay added to the gradient).
        beta1: of Adam, decay of the running mean of gradients.
        beta2: of Adam, decay of the running mean of squared gradients.
        eps: of Adam, added to the denominator.
        scales: factors of the rate for parameters whose names begin alike, as in "vision.=1e-3,text.=0.1".
        decay: weight decay of matrices and larger tensors; biases, gains and other vectors are never decayed.
        clip: largest norm of the gradient, which is scaled down to it; or none.
        fused: update all weights in one kernel, which is faster on GPUs and rounds a little differently.
        accumulate: parts that go through the model one after the other, to save memory; their gradients are added up.
            Contrastive models still compare all rows of the batch. Batch normalisation sees one part at a time.
        ema: decay of a running mean of the weights (0.999 or so), which is validated and saved; 0 for none. It starts
            fast: after n updates the decay is at most (1 + n) / (10 + n).
        patience: validations in a row without a better figure after which the training ends; 0 for no such end.
        compile: backend of torch.compile for the model, such as inductor; or none.
        shard: divide weights, gradients and optimiser among the ranks (FSDP2), for models that fill a GPU's memory.
        precision: of the model's forward pass; weights and optimiser stay fp32. ``auto`` is bf16 if the processor
            supports it, else fp32; ``tf32`` rounds the inputs of matrix products on a GPU to 10 bits.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; under torchrun each rank takes its own GPU.
        seed: seed of the initial weights, the order of rows, and all random draws.
        validate_every: updates between validations; 0 validates after the last update alone.
        validations: how often to validate, evenly spread, in place of validate_every.
        save_every: updates between checkpoints that a run can resume from; 0 saves at the end, on Ctrl-C and on SIGTERM
            alone.
        log_every: updates per line of the log.
        workers: processes that read batches ahead; 0 reads in a thread. Their number changes nothing else.
        tracker: services that get the log too, as in wandb or "wandb,mlflow"; accelerate's trackers.

    Raises:
        BadSpec: a value is invalid; the message names it.
        MissingExtra: the package of a tracker is not installed.
    """

    steps: int = instead(0, "epochs")
    epochs: float = instead(0.0, "steps")
    batch: int
    rate: float
    warmup: int = instead(0, "warmup_share")
    warmup_share: float = instead(0.0, "warmup")
    schedule: Literal["cosine", "constant", "halve"] = "cosine"
    extend: Literal["refuse", "restart"] = "refuse"
    halve_every: int = instead(0, "halve_epochs")
    halve_epochs: float = instead(0.0, "halve_every")
    optimiser: Literal["adam", "adamw"] = "adamw"
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    scales: str = ""
    decay: float = 0.0
    clip: float | None = None
    fused: bool = False
    accumulate: int = 1
    ema: float = 0.0
    patience: int = 0
    compile: str | None = None
    shard: bool = False
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "fp32"
    device: str = "auto"
    seed: int = 0
    validate_every: int = instead(0, "validations")
    validations: int = instead(0, "validate_every")
    save_every: int = 0
    log_every: int = 50
    workers: int = 0
    tracker: str = ""

    def __post_init__(self) -> None:
        for name in ("batch", "log_every", "accumulate"):
            _at_least(name, getattr(self, name), 1)
        whole = ("decay", "seed", "save_every", "patience", "workers")
        for name in (*(name for pair in _PAIRS for name in pair), *whole):
            _at_least(name, getattr(self, name), 0)
        _check_pairs(self)
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.eps > 0):
            raise BadSpec("beta1 and beta2 must be from 0 to below 1, and eps above 0")
        if not 0 <= self.ema < 1:
            raise BadSpec(f"ema must be from 0 to below 1, not {self.ema}")
        _ = self.factors, tracker.names(self.tracker)  # which check scales and tracker
        if not self.rate > 0 or (self.clip is not None and not self.clip > 0):
            raise BadSpec(f"rate and clip must be positive, not {self.rate} and {self.clip}")
        if self.shard and (self.compile is not None or self.precision == "fp16"):
            other = "compile" if self.compile is not None else "precision=fp16"
            raise BadSpec(f"shard=true does not go with {other}: leave one of them out, or take precision=bf16")
        if self.schedule == "halve" and not (self.halve_every or self.halve_epochs):
            raise BadSpec("schedule=halve needs halve_every or halve_epochs, the interval of halving")
        for name, known in _WORDS.items():
            if getattr(self, name) not in known:
                raise BadSpec(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")

    @property
    def factors(self) -> dict[str, float]:
        """Factors of the rate by the beginning of a parameter's name."""
        found = {}
        for part in filter(None, (part.strip() for part in self.scales.split(","))):
            prefix, _, text = part.partition("=")
            try:
                found[prefix] = float(text)
            except ValueError:
                found[prefix] = -1.0
            if not (prefix and 0 <= found[prefix] < math.inf):
                raise BadSpec(f"scales={self.scales!r}: {part!r} is not PREFIX=FACTOR, as in vision.=1e-3")
        return found

    def check_steps(self) -> None:
        """Refuse a loop without updates.

        Raises:
            BadSpec: neither steps nor epochs are given.
        """
        if not (self.steps or self.epochs):
            raise BadSpec("steps or epochs must be above 0")

    def counted(self, epoch: int) -> "Loop":
        """Return the same loop counted in updates.

        Args:
            epoch: updates in one pass over the training set, on all ranks together.
        """
        steps = self.steps or max(1, round(epoch * self.epochs))
        halve = max(1, round(epoch * self.halve_epochs)) if self.halve_epochs else self.halve_every
        validate = max(1, steps // self.validations) if self.validations else self.validate_every
        warmup = round(steps * self.warmup_share) if self.warmup_share else self.warmup
        return replace(
            self,
            steps=steps,
            halve_every=halve,
            validate_every=validate,
            warmup=warmup,
            epochs=0.0,
            warmup_share=0.0,
            halve_epochs=0.0,
            validations=0,
        )


def _check_pairs(loop: Loop) -> None:
    """Refuse two settings of one quantity, and a share above 1."""
    for one, other in _PAIRS:
        if getattr(loop, one) and getattr(loop, other):
            raise BadSpec(f"{one} and {other} set the same quantity: leave one of them at 0")
    if loop.warmup_share > 1:
        raise BadSpec(f"warmup_share must be from 0 to 1, not {loop.warmup_share}")


#: Settings that are alternatives of each other.
_PAIRS = (
    ("steps", "epochs"),
    ("halve_every", "halve_epochs"),
    ("validate_every", "validations"),
    ("warmup", "warmup_share"),
)
_WORDS = {
    "schedule": ("cosine", "constant", "halve"),
    "extend": ("refuse", "restart"),
    "optimiser": ("adam", "adamw"),
    "precision": ("auto", "fp32", "tf32", "bf16", "fp16"),
}


def _at_least(name: str, value: float, least: int) -> None:
    if not value >= least:
        raise BadSpec(f"{name} must be at least {least}, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A further part of a training; its other settings are those of the loop.

    Attributes:
        steps: number of updates of this part.
        batch: rows per step and rank.
        rate: its peak learning rate.

    Raises:
        BadSpec: a value is invalid; the message names it.
    """

    steps: int
    batch: int
    rate: float

    def __post_init__(self) -> None:
        _at_least("steps", self.steps, 0)
        _ = Loop(batch=self.batch, rate=self.rate)  # which checks the rest

    def loop(self, base: Loop) -> Loop:
        """Return the loop of this part; its warmup is at most a tenth of it."""
        warmup = round(base.warmup_share * self.steps) or min(base.warmup, self.steps // 10)
        own = replace(base, steps=self.steps, epochs=0.0, warmup=warmup, warmup_share=0.0)
        return replace(own, batch=self.batch, rate=self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of a run.

    Attributes:
        step: total number of updates, including those before a resume.
        best: the update after which the model had its final weights.
        figures: validation figures at that update; empty without validation.
        losses: means of the loss and its parts over the last lines of the log; empty if no step was left.
        resumed: the update from which this process resumed, 0 at a fresh start.
        seconds: time spent in this process.
    """

    step: int
    best: int
    figures: Mapping[str, float]
    losses: Mapping[str, float]
    resumed: int
    seconds: float
