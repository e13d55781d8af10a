"""Recall for scores that are not a single dot product: the query vectors for an index.

Own derivation (the ARTEMIS paper scores whole galleries): s(t) = sum over terms of <q, t> / n(t), n(t) = ||a * t||.

    single   q_0 = sum of q / n', with n'^2 = <a^2, mean of t^2>: exact where n(t) is the same for all t
    union    q_0, and each term's vector by itself: what is strong in one term alone is not lost
    lifted   n(t)^2 is linear in t^2, so x / sqrt(y) to first order around (s n', n'^2) is one product with [t; t^2]:
             <q_0, t> - <sum of s a^2 / (2 n'^2), t^2> + constant, with s the typical value of a term

Shapes: q queries, n stored vectors, D features. Terms are those of ``score.Arrays``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quiver.encoders.artemis.score import EPS, Arrays, scan
from quiver.types import Floats, Space


def norms(terms: Arrays, moments: Floats) -> dict[str, Floats]:
    """Return n' by term, (q, 1): the root mean square norm of attended stored vectors; 1 where a term has no norm.

    Args:
        terms: of q queries.
        moments: mean of the squared stored vectors, (D,).
    """
    return {
        name: np.ones((len(query), 1), np.float32)
        if energy is None
        else np.sqrt(np.maximum(energy @ moments, EPS**2))[:, None]
        for name, (query, energy) in terms.items()
    }


def parts(terms: Arrays, moments: Floats) -> dict[str, Floats]:
    """Return each term's vector by itself, q / n': (q, D) by term."""
    norm = norms(terms, moments)
    return {name: query / norm[name] for name, (query, _) in terms.items()}


def single(terms: Arrays, moments: Floats) -> Floats:
    """Return q_0, (q, D)."""
    return np.sum(list(parts(terms, moments).values()), axis=0)


def lifted(terms: Arrays, moments: Floats, typical: Mapping[str, Floats | float]) -> Floats:
    """Return the query of first order against ``lift``: (q, 2 D).

    Args:
        terms: of q queries.
        moments: as in ``norms``.
        typical: value of each term among good answers, times its weight; one number, or (q, 1).
    """
    norm = norms(terms, moments)
    squares = [
        typical[name] / (2 * norm[name] ** 2) * energy for name, (_, energy) in terms.items() if energy is not None
    ]
    first = single(terms, moments)
    second = -np.sum(squares, axis=0) if squares else np.zeros_like(first)
    return np.concatenate([first, second / _stretch(first.shape[1])], axis=1).astype(np.float32)


def typical(terms: Arrays, moments: Floats, rows: Floats, *, hits: int = 200) -> dict[str, float]:
    """Measure the inputs of ``lifted``: the mean of each term among the first hits of the single probe.

    Args:
        terms: of some queries, such as those of a validation split.
        moments: as in ``norms``.
        rows: (n, D), what they were asked of.
        hits: per query.
    """
    first = np.argsort(-(single(terms, moments) @ rows.T), axis=1)[:, :hits]
    values = scan(terms, rows)
    return {name: float(np.take_along_axis(value, first, axis=1).mean()) for name, value in values.items()}


def lift(rows: Floats) -> Floats:
    """Return [t; sqrt(D) t^2], (n, 2 D): both halves are of like size, which quantisers want."""
    return np.concatenate([rows, rows * rows * _stretch(rows.shape[1])], axis=1)


def _stretch(width: int) -> np.float32:
    return np.float32(np.sqrt(width))


@dataclass(frozen=True, slots=True)
class Lift:
    """The bridge from stored vectors to lifted ones, whose products with ``lifted`` are scores to first order."""

    source: Space
    target: Space

    def map(self, vectors: Floats) -> Floats:
        """Lift (n, D) to (n, 2 D) float32."""
        return lift(vectors)
