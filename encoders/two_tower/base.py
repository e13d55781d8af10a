"""Inputs of towers in use: vectors of frozen encoders, and n-grams of words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quiver import registry
from quiver.encoders import _frozen
from quiver.encoders._frozen import Frozen, Readers
from quiver.encoders.two_tower.config import WORDS, Base
from quiver.encoders.two_tower.word import GramReader, pad
from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True)
class Ground:
    """Encoders and n-grams, for one key.

    Attributes:
        frozen: the encoders; they may be none.
        grams: reads the n-grams; None where there are none.
    """

    frozen: Frozen
    grams: GramReader | None

    @property
    def reader(self) -> Readers:
        """Decodes for ``given``."""
        grams = () if self.grams is None else (self.grams,)
        return Readers((*self.frozen.reader.parts, *grams))

    def given(self, batch: Sequence[Any]) -> dict[str, Tensor]:
        """Return the input of a tower, of n outputs of the reader."""
        found = {}
        if self.frozen.parts:
            found["features"] = torch.from_numpy(self.frozen.embed(batch))
        if self.grams is not None:
            found["grams"] = torch.from_numpy(pad([item[-1] for item in batch]))
        return found


def parse(text: str) -> tuple[str, bool]:
    """Split a setting such as ``image=`` into the spec of its encoders, "" for none, and whether it has words.

    >>> parse("words + timm model=resnet50")
    ('timm model=resnet50', True)

    Raises:
        BadSpec: it is empty.
    """
    parts = [part.strip() for part in text.split(" + ")]
    if not all(parts):
        raise BadSpec(f"{text!r} is no tower: give encoders joined by ' + ', such as {WORDS!r} for text")
    return " + ".join(registry.canonical(part) for part in parts if part != WORDS), WORDS in parts


def reopen(base: Base, key: str, *, folder: Path | None, buckets: int, device: str) -> Ground:
    """Load the encoders below a saved tower.

    Args:
        base: as it was saved.
        key: of KEYS, embedded by the tower.
        folder: of the model, in which the files of the spec are looked up; None takes the spec as it is.
        buckets: of its table of n-grams.
        device: of the encoders that say none and take one.

    Raises:
        BadSpec: the vectors are not those the tower has learnt from.
        MissingWeights: a file of an encoder is missing.
    """
    frozen = _frozen.open(_frozen.placed(base.spec, folder, device=device), key)
    if (frozen.width, frozen.revision) != (base.width, base.revision):
        raise BadSpec(f"{base.spec!r} gives other {key} vectors than those this two_tower model has learnt from")
    return Ground(frozen, GramReader(buckets) if base.words else None)


def kept(towers: Mapping[str, Base], folder: Path) -> dict[str, Base]:
    """Copy the files of the encoders below all towers into a model's folder, and return the towers that say so."""
    specs = _frozen.keep({key: each.spec for key, each in towers.items()}, folder)
    return {key: replace(each, spec=specs[key]) for key, each in towers.items()}
