"""What towers stand on when they are asked: vectors in the order in which ``_train.extract`` has them, and n-grams."""

import inspect
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quiver import registry
from quiver.encoders import _fingerprint
from quiver.encoders.two_tower.config import HERE, WORDS, Base
from quiver.encoders.two_tower.reader import Readers
from quiver.encoders.two_tower.word import GramReader, pad
from quiver.errors import BadSpec
from quiver.protocols import Encoder
from quiver.types import Space


@dataclass(frozen=True, slots=True)
class Ground:
    """Encoders and n-grams, for one key.

    Attributes:
        key: one of KEYS.
        parts: each encoder, and the space of it that counts: the finest.
        grams: reads the n-grams; None where there are none.
    """

    key: str
    parts: tuple[tuple[Encoder, Space], ...]
    grams: GramReader | None

    @property
    def reader(self) -> Readers:
        """What decodes for ``given``."""
        grams = () if self.grams is None else (self.grams,)
        return Readers((*(encoder.reader(self.key) for encoder, _ in self.parts), *grams))

    @property
    def width(self) -> int:
        """Of the vectors side by side."""
        return sum(space.dim for _, space in self.parts)

    @property
    def revision(self) -> str:
        """What tells these vectors from others; empty where there are none."""
        spaces = [f"{space.name} {space.dim} {space.revision}" for _, space in self.parts]
        return _fingerprint.of_parts(*spaces) if spaces else ""

    def given(self, batch: Sequence[Any]) -> dict[str, Tensor]:
        """Return what a tower is given of n outputs of the reader."""
        found = {}
        if self.parts:
            columns = [
                encoder.embed(self.key, [item[place] for item in batch], space)
                for place, (encoder, space) in enumerate(self.parts)
            ]
            found["features"] = torch.from_numpy(np.concatenate(columns, axis=1))
        if self.grams is not None:
            found["grams"] = torch.from_numpy(pad([item[-1] for item in batch]))
        return found


def parse(text: str) -> tuple[str, bool]:
    """Split what a recipe says of a tower into the spec of its encoders, "" for none, and whether it has words.

    >>> parse("words + timm model=resnet50")
    ('timm model=resnet50', True)

    Raises:
        BadSpec: it is empty.
    """
    parts = [part.strip() for part in text.split(" + ")]
    if not all(parts):
        raise BadSpec(f"{text!r} is no tower: give encoders joined by ' + ', such as {WORDS!r} for text")
    return " + ".join(registry.canonical(part) for part in parts if part != WORDS), WORDS in parts


def open(spec: str, key: str, *, buckets: int | None = None) -> Ground:
    """Load the encoders of a spec, joined by " + ".

    Args:
        spec: "" for none.
        key: what they are to embed.
        buckets: of the table of n-grams, where there is one.

    Raises:
        BadSpec: one does not embed the key.
    """
    encoders: list[Encoder] = [registry.load("encoders", each) for each in spec.split(" + ") if each]
    if foreign := [each for each in encoders if key not in each.keys]:
        raise BadSpec(f"of {spec!r} one embeds {', '.join(foreign[0].keys)}, not {key}")
    parts = tuple((each, each.spaces(key)[0]) for each in encoders)
    return Ground(key, parts, None if buckets is None else GramReader(buckets))


def reopen(base: Base, key: str, *, folder: Path, buckets: int, device: str) -> Ground:
    """Load what a saved tower stands on.

    Args:
        base: as it was saved.
        key: what it is to embed.
        folder: of the model.
        buckets: of its table of n-grams.
        device: of the encoders that say none and take one.

    Raises:
        BadSpec: the vectors are not those the tower has learnt from.
    """
    spec = placed(base.spec, folder, device=device)
    ground = open(spec, key, buckets=buckets if base.words else None)
    if (ground.width, ground.revision) != (base.width, base.revision):
        raise BadSpec(f"{spec!r} gives other {key} vectors than those this two_tower model has learnt from")
    return ground


def placed(spec: str, folder: Path, *, device: str) -> str:
    """Write a saved spec so that it can be loaded: files found, and the device told to encoders that take one."""
    return " + ".join(_placed(each, folder, device) for each in spec.split(" + ") if each)


def _placed(spec: str, folder: Path, device: str) -> str:
    name, options = registry.split(spec)
    for key, value in options.items():
        options[key] = str(folder.resolve() / value) if value.startswith(HERE) else value
    if device != "auto" and "device" in inspect.signature(registry.module("encoders", name).load).parameters:
        options.setdefault("device", device)
    return shlex.join([name, *(f"{key}={value}" for key, value in options.items())])
