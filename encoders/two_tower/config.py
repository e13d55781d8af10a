"""Configuration of a two-tower model: its base encoders, and the heads on top of them.

``config.json`` beside the weights is a config as JSON, and describes the model completely.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from quiver.encoders._settings import found
from quiver.errors import BadSpec
from quiver.types import KEYS

Loss = Literal["infonce", "sigmoid"]
LOSSES: tuple[Loss, ...] = ("infonce", "sigmoid")
#: Which other tower a key goes through where it has none.
SHARED = {"video": "image", "image": "video"}
#: Stands in a spec for n-grams of words, learnt from nothing.
WORDS = "words"


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The inputs of a tower.

    Attributes:
        spec: frozen encoders, joined by " + ", whose vectors stand side by side; of a value that starts with ``./``
            the model's own folder is meant. Empty where the tower has words alone.
        width: of those vectors together.
        revision: tells them from others.
        words: whether n-grams are added to what the head makes of them.
    """

    spec: str = ""
    width: int = 0
    revision: str = ""
    words: bool = False

    def __post_init__(self) -> None:
        if bool(self.spec) != (self.width > 0) or not (self.spec or self.words):
            raise BadSpec("two_tower: a tower needs encoders with vectors, words, or both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Configuration of a model: base encoders and heads.

    Attributes:
        towers: by key of KEYS the encoders below it, set by training. A video goes through the image tower where it
            has none of its own, and a picture through that of videos.
        name: the space is called ``two_tower/<name>``; set by training.
        dim: width of the space.
        hidden: width inside each head; 0 for a linear one, as in CLIP.
        residual: add a linear head to the one with a hidden layer.
        dropout: of the input of a head, and of its hidden layer.
        buckets: rows of the table of n-grams; n-grams of one hash share a row.
        word_dropout: share of n-grams that are left out in training.
        loss: ``infonce`` (CLIP) or ``sigmoid`` (SigLIP).
        temperature: by which cosines are divided at first; learnt, never below 0.01.
        bias: added to the sigmoid loss's logits at first; learnt.
        smoothing: share of infonce's target that is spread over the whole batch.

    Raises:
        BadSpec: a value makes no sense; the message names it.
    """

    towers: Mapping[str, Base] = found(dict)
    name: str = found("model")
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

    def __post_init__(self) -> None:
        # As JSON has them, which is how the Hub's mixin hands them over, bases are mappings.
        bases = {key: _base(key, base) for key, base in self.towers.items()}
        object.__setattr__(self, "towers", bases)
        if unknown := sorted(set(self.towers) - set(KEYS)):
            raise BadSpec(f"two_tower has towers for {', '.join(KEYS)}, not for {unknown[0]}")
        if foreign := [key for key, base in self.towers.items() if base.words and key != "text"]:
            raise BadSpec(f"two_tower {foreign[0]}: only the text tower takes {WORDS}")
        if min(self.dim, self.buckets) < 1 or self.hidden < 0:
            raise BadSpec("two_tower needs dim and buckets of at least 1, and hidden of at least 0")
        for name in ("dropout", "word_dropout", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise BadSpec(f"two_tower {name} must be from 0 to below 1, not {getattr(self, name)}")
        if not 0.01 <= self.temperature <= 1:
            raise BadSpec(f"two_tower temperature must be from 0.01 to 1, not {self.temperature}")
        if self.loss not in LOSSES:
            raise BadSpec(f"two_tower loss must be one of {', '.join(LOSSES)}, not {self.loss!r}")

    def tower(self, key: str) -> str | None:
        """Return the name of the tower a key goes through, or None."""
        if key not in self.towers and key in SHARED:
            key = SHARED[key]
        return key if key in self.towers else None

    @classmethod
    def tiny(cls, *, loss: Loss = "infonce") -> "Config":
        """Return the smallest model with all parts, for tests."""
        towers = {
            "text": Base(spec="classic dim=64", width=64, words=True),
            "image": Base(spec="classic", width=1120),
        }
        return cls(towers=towers, name="tiny", dim=16, hidden=8, residual=True, buckets=64, loss=loss)


def _base(key: str, base: Base | Mapping[str, Any]) -> Base:
    if isinstance(base, Base):
        return base
    known = {each.name for each in fields(Base)}
    if unknown := sorted(set(base) - known):
        raise BadSpec(f"two_tower {key} has the unknown field {unknown[0]!r}: it was written by another version")
    return Base(**base)
