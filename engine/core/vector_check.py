"""One rule for vectors, stored and asked: numbers that every index can compare.

Shapes: n vectors, dim their width.
"""

import numpy as np

from quiver.types import Floats, Metric

#: Longer vectors overflow float32 when squared, and shorter ones vanish: all scores would be equal.
LONGEST, SHORTEST = 1e18, 1e-18
#: Squares of lengths that float32 surely holds: such vectors are not looked at twice.
_LOW, _HIGH = 1e-30, 1e30
#: Vectors measured together.
_TOGETHER = 1 << 14


def faults(vectors: Floats, metric: Metric) -> dict[int, str]:
    """Find the vectors that no index can compare.

    Args:
        vectors: (n, dim) float32.
        metric: how they are compared; a vector of zeros has no direction, and so no cosine.

    Returns:
        By position, why: not finite, longer than 1e18, shorter than 1e-18 though not zero, or zero for cosine.
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
            f"the vector is {length:.3g} long: at most {LONGEST:.0e} can be compared in float32; scale all vectors down"
        )
    if not length:
        return "the vector is all zeros, which has no direction to compare by cosine"
    return f"the vector is {length:.3g} long: at least {SHORTEST:.0e} can be compared in float32; scale all vectors up"
