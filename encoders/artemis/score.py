"""Scores as sums of terms, each one or two matrix products: no (query, target, feature) array is ever made.

A term is <q, t> / ||a * t||, or plainly <q, t>. The norm is taken from a product too: ||a * t||^2 = <a^2, t^2>. So
explicit matching <p, N(a * t)> has q = a * p, implicit similarity <N(b * r), N(b * t)> has q = b^2 * r / ||b * r||,
and their sum is four products, X_E / sqrt(Y_a) + X_I / sqrt(Y_b). Everything that is one vector has no norm.

Own derivation from the formulas of ARTEMIS (Delmas et al., ICLR 2022); a term is unchanged when t, r, a or b is
multiplied by a positive number, so attention is exp(logit - max): the sum of a softmax would cancel.
Deviates: a term is 0 where ||a * t|| < EPS, where the public code has 0 / 0.

Shapes: B queries, N targets, D features.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from quiver.types import Floats

#: Norms below this count as nothing. Targets have length 1 and attention a maximum of 1.
EPS = 1e-6
#: Targets scored together: with their squares they stay in a core's cache (2 x 0.5 MB at 512 features). One query
#: against 100,000 x 512, one thread: 48 ms so, 155 ms by tiles of 1,024, 186 ms from stored squares without tiles.
TILE = 256


class Term(NamedTuple):
    """One part of the scores of B queries.

    Attributes:
        query: q, (B, D).
        energy: a^2, (B, D), whose product with t^2 is the squared norm to divide by; None for no division.
    """

    query: Tensor
    energy: Tensor | None = None


Terms = Mapping[str, Term]
#: Terms as a scorer holds them: (q, D) query and energy of each.
Arrays = Mapping[str, tuple[Floats, Floats | None]]


def explicit(transformed_BD: Tensor, attention_BD: Tensor | None) -> Term:
    """Match what the words ask for with the attended target: <p, N(a * t)>.

    Args:
        transformed_BD: p, of the words, unit length.
        attention_BD: a, of any positive scale; None for uniform attention and targets of length 1.
    """
    if attention_BD is None:
        return Term(transformed_BD)
    attention = full(attention_BD)
    return Term(attention * full(transformed_BD), attention.square())


def implicit(reference_BD: Tensor, attention_BD: Tensor | None) -> Term:
    """Compare reference and target in the attended features: <N(b * r), N(b * t)>; 0 where ||b * r|| < EPS."""
    reference = normalize(full(reference_BD), dim=1)
    if attention_BD is None:
        return Term(reference)
    attention = full(attention_BD)
    attended = attention * reference
    norm = attended.norm(dim=1, keepdim=True)
    seen = norm >= EPS
    return Term(attention * attended * seen / torch.where(seen, norm, 1), attention.square())


def value(term: Term, target_ND: Tensor) -> Tensor:
    """Return (B, N) values of a term."""
    target = full(target_ND)
    dot = full(term.query) @ target.T
    if term.energy is None:
        return dot
    energy = norm2(term.energy, target)
    seen = energy >= EPS**2
    return torch.where(seen, dot * torch.where(seen, energy, 1).rsqrt(), 0)


def values(terms: Terms, target_ND: Tensor) -> dict[str, Tensor]:
    """Return (B, N) values by term, computed in float32 or better whatever autocast says."""
    with torch.autocast(target_ND.device.type, enabled=False):
        return {name: value(term, target_ND) for name, term in terms.items()}


def norm2(energy_BD: Tensor, target_ND: Tensor) -> Tensor:
    """Return (B, N) ||a * t||^2."""
    return full(energy_BD) @ full(target_ND).square().T


def full(x: Tensor) -> Tensor:
    """Return at least float32: attended energy of 1e-8 is nothing in float16."""
    return x if x.dtype == torch.float64 else x.float()


def arrays(terms: Terms) -> Arrays:
    """Copy terms to the CPU, in float32."""
    return {
        name: (
            term.query.float().cpu().numpy(),
            None if term.energy is None else term.energy.float().cpu().numpy(),
        )
        for name, term in terms.items()
    }


def scan(terms: Arrays, rows: Floats) -> dict[str, Floats]:
    """Score many stored vectors on the CPU, tile by tile: the table is read once, its squares are never stored.

    Args:
        terms: of q queries.
        rows: (n, D) float32.

    Returns:
        (q, n) float32 by term, finite.
    """
    names = list(terms)
    normed = [name for name in names if terms[name][1] is not None]
    queries = np.concatenate([terms[name][0] for name in names])
    energies = np.concatenate([terms[name][1] for name in normed]) if normed else None
    count = len(queries) // len(names)
    out = np.empty((len(queries), len(rows)), np.float32)
    square = np.empty((min(TILE, len(rows)), rows.shape[1]), np.float32)
    for start in range(0, len(rows), TILE):
        tile = rows[start : start + TILE]
        dots = out[:, start : start + TILE]
        np.matmul(queries, tile.T, out=dots)
        if energies is not None:
            squares = np.multiply(tile, tile, out=square[: len(tile)])
            _divide(dots, energies @ squares.T, [names.index(name) for name in normed], count)
    return {name: out[place * count : (place + 1) * count] for place, name in enumerate(names)}


def _divide(dots: Floats, energy: Floats, places: list[int], count: int) -> None:
    """Divide the products of the terms at ``places`` by their norms, in place; 0 where there is none."""
    energy[energy < EPS**2] = np.inf
    factor = 1 / np.sqrt(energy)
    for row, place in enumerate(places):
        dots[place * count : (place + 1) * count] *= factor[row * count : (row + 1) * count]
