"""Check of stored and query vectors: every index must be able to compare them.

Shapes: n vectors, dim their dimension.
"""

from typing import Any

import numpy as np

from quiver.types import Floats, Metric

#: Longer vectors overflow float32 when squared, and shorter ones underflow: all scores would be equal.
LONGEST, SHORTEST = 1e18, 1e-18
#: Squared lengths that are safe in float32: such vectors need no second check.
_LOW, _HIGH = 1e-30, 1e30
#: Batch size of the check.
_TOGETHER = 1 << 14


def as_float32(vectors: Any) -> Floats:
    """Return numbers as float32; those out of range become infinite, and are refused later.

    Raises:
        TypeError: they are complex, and float32 would drop their imaginary parts.
        TypeError, ValueError: they are not numbers, or lists of different lengths.
    """
    data = np.asarray(vectors)
    if data.dtype.kind == "c":
        raise TypeError("complex numbers do not fit: give real parts and imaginary parts as numbers of their own")
    with np.errstate(over="ignore"):
        return np.asarray(data, np.float32)


def faults(vectors: Floats, metric: Metric) -> dict[int, str]:
    """Find the vectors that indexes cannot compare.

    Args:
        vectors: (n, dim) float32.
        metric: metric of the space; a vector of zeros has no direction, and so no cosine.

    Returns:
        Reason by position: not finite, longer than 1e18, shorter than 1e-18 but not zero, or zero for cosine.
    """
    if len(vectors) == 1 and _LOW < float(np.einsum("d,d", vectors[0], vectors[0])) < _HIGH:
        return {}
    found: dict[int, str] = {}
    for start in range(0, len(vectors), _TOGETHER):
        part = vectors[start : start + _TOGETHER]
        squares = np.einsum("nd,nd->n", part, part)
        odd = np.flatnonzero(~((squares > _LOW) & (squares < _HIGH)))  # NaN is neither
        lengths = np.sqrt(np.einsum("nd,nd->n", part[odd], part[odd], dtype=np.float64))
        good = (lengths <= LONGEST) & (lengths >= SHORTEST)
        wrong = ~(good if metric == "cosine" else good | (lengths == 0))
        found |= {
            start + int(n): _reason(part[n], float(length))
            for n, length in zip(odd[wrong], lengths[wrong], strict=True)
        }
    return found


def _reason(vector: Floats, length: float) -> str:
    if odd := int((~np.isfinite(vector)).sum()):
        return f"{odd} of its {len(vector)} numbers are missing or not finite"
    if length > LONGEST:
        return (
            f"the vector has the length {length:.3g}, and float32 allows at most {LONGEST:.0e}: scale all vectors down"
        )
    if not length:
        return "the vector is all zeros, which has no direction to compare by cosine"
    return f"the vector has the length {length:.3g}, and float32 needs at least {SHORTEST:.0e}: scale all vectors up"
