"""Features of frozen encoders at the time of asking: the columns that ``_train.extract`` makes, in the same order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quiver import registry
from quiver.encoders import _fingerprint
from quiver.errors import BadSpec
from quiver.protocols import Encoder, Reader
from quiver.types import Floats, Space


@dataclass(frozen=True, slots=True)
class Readers:
    """Reads one thing for each of several encoders."""

    parts: tuple[Reader, ...]

    def __call__(self, source: Any) -> tuple[Any, ...]:
        """Return what each encoder's reader gives.

        Raises:
            BadMedia: one of them cannot decode it.
        """
        return tuple(read(source) for read in self.parts)


@dataclass(frozen=True, slots=True)
class Source:
    """The encoders of a spec, for one key.

    Attributes:
        key: one of KEYS.
        parts: each encoder, and the space of it that counts.
    """

    key: str
    parts: tuple[tuple[Encoder, Space], ...]

    @property
    def reader(self) -> Readers:
        """What decodes for ``embed``."""
        return Readers(tuple(encoder.reader(self.key) for encoder, _ in self.parts))

    @property
    def revision(self) -> str:
        """What tells these features from others."""
        return _fingerprint.of_parts(*(f"{space.name} {space.dim} {space.revision}" for _, space in self.parts))

    def embed(self, batch: Sequence[Any]) -> Floats:
        """Return the vectors of all encoders side by side: (n, W) float32."""
        columns = [
            encoder.embed(self.key, [item[place] for item in batch], space)
            for place, (encoder, space) in enumerate(self.parts)
        ]
        return np.concatenate(columns, axis=1)


def open(spec: str, key: str, width: int) -> Source:
    """Load the encoders of a spec, several of them joined by " + ".

    Raises:
        BadSpec: there is none, one does not embed the key, or their vectors are not ``width`` wide together.
    """
    if not spec:
        raise BadSpec(f"the model learned from {key} features but does not say of which encoder: set Config.{key}_spec")
    encoders: list[Encoder] = [registry.load("encoders", each) for each in spec.split(" + ")]
    if foreign := [each for each in encoders if key not in each.keys]:
        raise BadSpec(f"of {spec!r} one embeds {', '.join(foreign[0].keys)}, not {key}")
    parts = tuple((each, each.spaces(key)[0]) for each in encoders)
    if (found := sum(space.dim for _, space in parts)) != width:
        raise BadSpec(f"{spec!r} gives {found} {key} features, and the model learned from {width}")
    return Source(key, parts)
