"""Configuration of a MAP-IVR model.

``config.json`` beside the weights is a config as JSON, and describes the model completely.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from quiver.encoders._settings import found
from quiver.errors import BadSpec

Reduction = Literal["mean", "sum"]
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum")
#: A model stores at least this many motion codes, so that more can be used without training.
CODES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Features that one side of the model reads.

    Attributes:
        spec: frozen encoders, joined by " + "; their vectors stand side by side.
        width: dimension of the joined vectors.
        revision: hash that tells them from other features; empty in a model without encoders.
    """

    spec: str = ""
    width: int = 1
    revision: str = ""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise BadSpec(f"map_ivr features need a width of at least 1, not {self.width}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Configuration of a model.

    Attributes:
        image: features of stills; set by training.
        video: features of windows of clips; set by training.
        classes: names of the activities; set by training.
        positive: whether no video feature is negative; the decoder then ends in a ReLU. Measured by training.
        blend: lambda, the share of the motion distance in the score; chosen by training, see the setting "blend".
        name: the spaces are called ``map_ivr/NAME``; set by training.
        hidden: width of the hidden layers.
        dim: width of the motion vector and of the appearance space.
        code: width of the motion uncertainty code.
        dropout: share of hidden units that are left out in training.
        windows: windows of equal length that a clip is cut into.
        keep: number of windows of highest class confidence whose mean is taken; 0 takes all.
        samples: motion codes per query (h).
        seed: seed of the motion codes.
        classify: weight of the classification loss of both appearance vectors.
        orthogonal: weight of the cosine between motion and appearance vector.
        kl: weight of the divergence of the motion code from the standard normal distribution.
        rebuild: weight of the squared distance between a clip's features and their reconstruction.
        triplet: weight of a triplet loss between stills and clips; not a part of MAP-IVR, for comparison.
        margin: margin of the triplet loss, a difference of cosines.
        reduction: how kl and rebuild are reduced over dimensions: sum adds both up, mean divides both by the width of
            the video features. So their ratio, on which the collapse of the code depends, is the same.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    image: Features = found(Features)  # noqa: RUF009 - a default factory
    video: Features = found(Features)  # noqa: RUF009
    classes: tuple[str, ...] = found(())
    positive: bool = found(False)
    blend: float = found(0.5)
    name: str = found("model")
    hidden: int = 2048
    dim: int = 1024
    code: int = 1024
    dropout: float = 0.0
    windows: int = 1
    keep: int = 0
    samples: int = 20
    seed: int = 0
    classify: float = 1.0
    orthogonal: float = 1.0
    kl: float = 1.0
    rebuild: float = 1.0
    triplet: float = 0.0
    margin: float = 0.2
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        # As JSON has them, parts are mappings and lists.
        for side in ("image", "video"):
            object.__setattr__(self, side, _features(side, getattr(self, side)))
        object.__setattr__(self, "classes", tuple(self.classes))
        for name in ("hidden", "dim", "code", "windows", "samples"):
            if getattr(self, name) < 1:
                raise BadSpec(f"map_ivr {name} must be at least 1, not {getattr(self, name)}")
        for name in ("keep", "seed", *LOSSES, "margin"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise BadSpec(f"map_ivr {name} must be finite and at least 0, not {getattr(self, name)}")
        if not any(getattr(self, name) for name in LOSSES):
            raise BadSpec(f"map_ivr needs a loss: one of {', '.join(LOSSES)} above 0")
        if not 0 <= self.dropout < 1:
            raise BadSpec(f"map_ivr dropout must be from 0 to below 1, not {self.dropout}")
        if not 0 <= self.blend <= 1:
            raise BadSpec(f"map_ivr blend must be from 0 to 1, not {self.blend}")
        if self.reduction not in REDUCTIONS:
            raise BadSpec(f"map_ivr reduction must be one of {', '.join(REDUCTIONS)}, not {self.reduction!r}")

    @property
    def joint(self) -> int:
        """Width of the stored column: appearance, then video features."""
        return self.dim + self.video.width

    @classmethod
    def tiny(cls, *, image: int = 12, video: int = 10, classes: int = 3, **changes: Any) -> "Config":
        """Return the smallest model with all parts, for tests."""
        names = tuple(f"class {number}" for number in range(classes))
        sides = {"image": Features(width=image), "video": Features(width=video)}
        return cls(**{**sides, "classes": names, "hidden": 16, "dim": 8, "code": 6, "samples": 5, **changes})


#: Names of the losses, whose weights are fields of the config.
LOSSES = ("classify", "orthogonal", "kl", "rebuild", "triplet")


def _features(side: str, given: Features | Mapping[str, Any]) -> Features:
    if isinstance(given, Features):
        return given
    if unknown := sorted(set(given) - {each.name for each in fields(Features)}):
        raise BadSpec(f"map_ivr {side} has the unknown field {unknown[0]!r}: it was written by another version")
    return Features(**given)
