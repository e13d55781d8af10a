"""An encoder made of towers: one reader and one function per key, all of them into one space."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from quiver.encoders._pool import mean, unit
from quiver.errors import BadSpec, SpaceMismatch
from quiver.protocols import Reader
from quiver.types import KEYS, Floats, Space

T = TypeVar("T")
#: Rows and columns of a picture by which equal ones are found before they are compared.
_PROBED = 12
Features = Callable[[Sequence[Any]], Floats]


@dataclass(frozen=True, slots=True)
class Tower:
    """The processing of one key.

    Attributes:
        reader: decodes it in a worker.
        features: n outputs of the reader to (n, dim) float32, of any length; each row by itself.
        query: the same for queries, if the model embeds them differently; None if it does not.
    """

    reader: Reader
    features: Features
    query: Features | None = None


@dataclass(frozen=True, slots=True)
class Towers:
    """An encoder whose keys share one cosine space.

    Attributes:
        space: where every tower ends.
        towers: by key.
        at_once: inputs that go through the model together, if the user chose a number; ``add`` then gives as many to
            ``embed``.
    """

    space: Space
    towers: Mapping[str, Tower]
    at_once: int | None = field(default=None, kw_only=True)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it embeds, in the order of KEYS."""
        return tuple(key for key in KEYS if key in self.towers)

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return its one space, or () for a foreign key."""
        return (self.space,) if key in self.towers else ()

    def reader(self, key: str) -> Reader:
        """Return the decoder of one key."""
        return self._tower(key).reader

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed n outputs of ``reader(key)`` as (n, dim) float32 rows of length 1.

        Raises:
            BadSpec: the key is foreign.
            SpaceMismatch: the space is foreign.
        """
        return self._unit(self._tower(key).features, batch, space)

    def embed_query(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed n outputs of ``reader(key)`` as queries; see ``embed``."""
        tower = self._tower(key)
        return self._unit(tower.query or tower.features, batch, space)

    def _unit(self, features: Features, batch: Sequence[Any], space: Space) -> Floats:
        if space != self.space:
            raise SpaceMismatch(f"{self.space} does not embed into {space}")
        return unit(features(batch)) if len(batch) else np.empty((0, space.dim), np.float32)

    def _tower(self, key: str) -> Tower:
        if key not in self.towers:
            raise BadSpec(f"{self.space} embeds {', '.join(self.keys)}, not {key}")
        return self.towers[key]


def chunks(batch: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a batch into runs of at most ``size``."""
    for start in range(0, len(batch), size):
        yield batch[start : start + size]


def in_batches(features: Features, at_once: int) -> Features:
    """Bound the number of inputs that go through a model together."""

    def features_of_batches(batch: Sequence[Any]) -> Floats:
        if len(batch) <= at_once:
            return features(batch)
        return np.concatenate([features(chunk) for chunk in chunks(batch, at_once)])

    return features_of_batches


def check_sizes(dim: int | None, at_once: int | None) -> None:
    """Check two options that many encoders have.

    Raises:
        BadSpec: one is not positive.
    """
    for name, value in (("dim", dim), ("at_once", at_once)):
        if value is not None and value < 1:
            raise BadSpec(f"{name} must be at least 1, not {value}")


def check_dim(dim: int | None, width: int) -> None:
    """See that a model has as many numbers as the user wants to keep.

    Args:
        dim: number of leading numbers to keep (Matryoshka); None for all.
        width: the numbers that the model gives, after ``dim`` of them are kept.

    Raises:
        BadSpec: the model has fewer.
    """
    if dim is not None and width < dim:
        raise BadSpec(f"the vectors of this model have {width} numbers: dim must be from 1 to {width}, not {dim}")


def shape_parts(dim: int | None) -> tuple[str, ...]:
    """Return what a revision says of ``dim``: nothing where all numbers are kept, as it has always been."""
    return () if dim is None else (f"first {dim}",)


def averaged(features: Features, *, at_once: int) -> Features:
    """Make the features of sequences from those of their parts: the mean of their unit vectors.

    Equal parts are embedded once: windows of a film that overlap have the same frames.

    Args:
        features: of one part, such as a frame.
        at_once: parts embedded together, which bounds memory whatever the number of sequences.

    Returns:
        A function from n sequences of parts, none empty, to (n, dim) float32.
    """

    def features_of_sequences(batch: Sequence[Any]) -> Floats:
        parts, places = distinct([part for sequence in batch for part in sequence])
        rows = np.concatenate([unit(features(chunk)) for chunk in chunks(parts, at_once)])
        return mean(rows[places], [len(sequence) for sequence in batch])

    return features_of_sequences


def distinct(parts: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """Return the parts that differ, in order, and the position of each given part among them.

    >>> distinct([np.zeros(3), np.ones(3), np.zeros(3)])[1]
    [0, 1, 0]
    """
    kept: list[Any] = []
    places: list[int] = []
    alike: dict[bytes, list[int]] = {}
    for part in parts:
        array = np.asarray(part)
        few = array[tuple(slice(None, None, max(1, size // _PROBED)) for size in array.shape[:2])]
        group = alike.setdefault(few.tobytes(), [])
        place = next((n for n in group if np.array_equal(kept[n], array)), None)
        if place is None:
            place = len(kept)
            group.append(place)
            kept.append(part)
        places.append(place)
    return kept, places
