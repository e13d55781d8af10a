"""Health of vectors: whether an encoder tells things apart, and gives a stored item the vector that is stored.

A model can be wrong without any error: a broken ONNX file, weights that were lost, another version of a library. Its
vectors are legal, and search "works". Three signs of it cost little:

- *collapsed*: all vectors point nearly the same way. The mean of n unit vectors has the length R, so that the mean
  cosine of two different ones is (n R^2 - 1) / (n - 1).
- *alike*: different inputs have exactly the same vector.
- *unlike*: a stored item, embedded again, has another vector than the stored one.

Shapes: n vectors, dim their dimension. There is no loop over rows; a batch of 64 vectors of 768 numbers takes 0.2 ms.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.types import Floats

#: Vectors from which on all of them are judged together.
ENOUGH = 16
#: Mean cosine above which vectors are collapsed: of random networks it is 0.9 to 0.999, of trained ones below 0.95.
COLLAPSED = 0.995
#: Share of inputs with the vector of another input, above which it is reported.
ALIKE = 0.1
#: Cosine of two vectors of one item below which they are not the same: half precision keeps it above 0.9999.
SAME = 0.999
#: Stored items of a column that an add embeds again.
AGAIN = 3
_ODD = 0x9E3779B97F4A7C15


@dataclass(slots=True)
class Health:
    """What is known of the vectors of one column.

    Attributes:
        name: the column in words, such as ``image in timm/resnet50``.
        count: vectors seen.
        alike: inputs of a batch whose vector another, different input of the batch has too.
        again: by id of an item that was embedded again, the cosine of its stored and its new vector.
    """

    name: str
    count: int = 0
    alike: int = 0
    again: Mapping[str, float] = field(default_factory=dict)
    _sum: Any = None

    def see(self, vectors: Floats, inputs: Sequence[Any] | None = None) -> None:
        """Take note of a batch.

        Args:
            vectors: (n, dim) float32, of any length above 0.
            inputs: what they were made of, to tell equal inputs from different ones; None if all differ.
        """
        if not len(vectors):
            return
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
        kept = vectors[lengths > 0] / lengths[lengths > 0, None]
        total = kept.sum(axis=0, dtype=np.float64)
        self._sum = total if self._sum is None else self._sum + total
        self.count += len(kept)
        self.alike += _alike(vectors, inputs)

    @property
    def cosine(self) -> float | None:
        """Mean cosine of two different vectors; None for less than two."""
        if self.count < 2:
            return None
        length = float(self._sum @ self._sum) / self.count
        return (length - 1) / (self.count - 1)

    def problems(self) -> Iterator[str]:
        """Yield a line for the user about each sign that the encoder is not well."""
        cosine = self.cosine
        if cosine is not None and self.count >= ENOUGH and cosine > COLLAPSED:
            yield (
                f"all {self.count:,} vectors of {self.name} point nearly the same way (mean cosine {cosine:.4f}): if"
                " the items are not all alike, the model is not loaded or not trained as it should be"
            )
        elif self.count >= ENOUGH and self.alike > ALIKE * self.count:
            yield (
                f"{self.alike:,} of {self.count:,} vectors of {self.name} are equal to that of a different item: the"
                " model does not tell these items apart"
            )
        if unlike := [each for each in self.again.values() if each < SAME]:
            yield (
                f"{len(unlike)} of {len(self.again)} stored items of {self.name}, embedded again, have another vector"
                f" than the stored one (cosine {min(unlike):.4f}): another version of a library or another device"
                " computes differently, so that stored and new vectors do not compare well; add the items to a new"
                " collection"
            )


def _alike(vectors: Floats, inputs: Sequence[Any] | None) -> int:
    """Count the vectors of a batch that another, different input has too."""
    marks = fingerprints(vectors)
    _, first, group, sizes = np.unique(marks, return_index=True, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(sizes > 1)
    if not len(repeated):
        return 0
    rows = np.flatnonzero(sizes[group] > 1)
    same = (vectors[rows] == vectors[first[group[rows]]]).all(axis=1)
    rows = rows[same]
    if inputs is None:
        return len(rows)
    # Only now inputs are looked at, and only those of equal vectors.
    return sum(not _equal(inputs[int(n)], inputs[int(first[group[n]])]) for n in rows)


def fingerprints(vectors: Floats) -> NDArray[np.uint64]:
    """Return a number for each vector: equal vectors have equal ones, whatever the batch; (n,)."""
    bits = np.ascontiguousarray(vectors, np.float32).view(np.uint32).astype(np.uint64)
    with np.errstate(over="ignore"):
        factors = (np.arange(bits.shape[1], dtype=np.uint64) + np.uint64(1)) * np.uint64(_ODD) | np.uint64(1)
        marks: NDArray[np.uint64] = (bits * factors).sum(axis=1, dtype=np.uint64)
    return marks


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(_equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(np.array_equal(one, other))


def cosines(one: Floats, other: Floats) -> tuple[float, ...]:
    """Return the cosine of each pair of rows; 0 where one is all zeros."""
    products = np.einsum("nd,nd->n", one, other, dtype=np.float64)
    lengths = np.linalg.norm(one.astype(np.float64), axis=1) * np.linalg.norm(other.astype(np.float64), axis=1)
    found = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return tuple(found.tolist())
