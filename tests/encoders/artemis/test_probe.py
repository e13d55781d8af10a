"""Recall of ARTEMIS scores by one product: how much of the top 10 it finds, and when it is exact."""

import numpy as np
import pytest
import torch

from quiver.encoders.artemis import probe, score
from quiver.encoders.artemis.probe import Lift
from quiver.types import Space

D, N, Q = 128, 4000, 48


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def world(deviation: float, count: int = N):
    """A clustered gallery whose clusters differ in where their energy lies, and attention of a given unevenness."""
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(0, 0.5, (50, D)))
    cluster = rng.integers(50, size=count)
    rows = unit((rng.normal(size=(50, D)) * scale)[cluster] + rng.normal(size=(count, D)) * scale[cluster])
    a, b = (np.exp(rng.normal(0, deviation, (Q, D))).astype(np.float32) for _ in "ab")
    asked = unit(rows[rng.integers(count, size=Q)] + rng.normal(0, D**-0.5, (Q, D)))
    held = rows[rng.integers(count, size=Q)]
    explicit, implicit = (score.explicit, score.implicit)
    p, a, r, b = (torch.from_numpy(x) for x in (asked, a, held, b))
    return score.arrays({"change": explicit(p, a), "keep": implicit(r, b)}), rows, np.square(rows).mean(axis=0)


def total(terms, rows):
    return np.sum(list(score.scan(terms, rows).values()), axis=0)


def top(scores, k):
    return np.argsort(-scores, axis=1)[:, :k]


def found(exact, *lists):
    """The share of the exact top 10 in the union of lists."""
    best = top(exact, 10)
    return np.mean(
        [np.isin(best[row], np.concatenate([each[row] for each in lists])).mean() for row in range(len(best))]
    )


@pytest.mark.parametrize(("deviation", "single", "lifted"), [(0.5, 0.98, 0.99), (1.0, 0.65, 0.96), (2.0, 0.20, 0.70)])
def test_recall_among_fifty_has_the_known_pattern(deviation, single, lifted) -> None:
    terms, rows, moments = world(deviation)
    exact = total(terms, rows)
    first = found(exact, top(probe.single(terms, moments) @ rows.T, 50))
    query = probe.lifted(terms, moments, probe.typical(terms, moments, rows))
    second = found(exact, top(query @ probe.lift(rows).T, 50))
    assert first > single
    assert second > lifted
    assert second > first
    parts = [top(part @ rows.T, 50) for part in probe.parts(terms, moments).values()]
    assert found(exact, top(probe.single(terms, moments) @ rows.T, 50), *parts) >= first


def test_uneven_attention_is_what_costs_recall() -> None:
    recalls = []
    for deviation in (0.5, 1.0, 2.0):
        terms, rows, moments = world(deviation)
        recalls.append(found(total(terms, rows), top(probe.single(terms, moments) @ rows.T, 50)))
    assert recalls == sorted(recalls, reverse=True)


def test_single_probe_is_the_score_where_attention_is_even() -> None:
    terms, rows, moments = world(0.0)
    np.testing.assert_allclose(probe.single(terms, moments) @ rows.T, total(terms, rows), atol=2e-6)


def test_lifted_product_agrees_with_the_score_to_second_order() -> None:
    """Halving how far a norm is from the mean quarters the error of the lifted probe, and halves that of the single."""
    errors = []
    for step in (0.08, 0.04):
        rows = np.full((1, 64), 1 / 8, np.float64)
        rows[0, :32] *= np.sqrt(1 + step)
        rows[0, 32:] *= np.sqrt(1 - step)  # length 1 still, but attended to only in its first half
        energy = np.repeat([1.0, 0.0], 32)[None]
        query = np.repeat([0.9 / 4, 0.0], 32)[None]
        terms, moments = {"keep": (query, energy)}, np.full(64, 1 / 64)
        exact = (query @ rows.T / np.sqrt(energy @ (rows**2).T)).item()
        mean = 1 / np.sqrt(2)
        at = (query @ np.full(64, 1 / 8)).item() / mean  # the term's value where norms are at their mean
        lifted = probe.lifted(terms, moments, {"keep": at}).astype(np.float64) @ probe.lift(rows).T
        errors.append(
            (abs(lifted.item() + at / 2 - exact), abs((probe.single(terms, moments) @ rows.T).item() - exact))
        )
    assert errors[0][0] / errors[1][0] == pytest.approx(4, rel=0.1)
    assert errors[0][1] / errors[1][1] == pytest.approx(2, rel=0.1)
    assert errors[1][0] < errors[1][1] / 20


def test_bridge_leads_where_the_lifted_query_is_asked() -> None:
    terms, rows, moments = world(1.0, 30)
    source, target = Space("artemis/artemis", D, "cosine", "0"), Space("artemis/artemis/lifted", 2 * D, "dot", "1")
    lifted = Lift(source, target).map(rows)
    assert (lifted.shape, lifted.dtype) == ((30, 2 * D), np.float32)
    query = probe.lifted(terms, moments, {"change": 0.3, "keep": 0.6})
    first, second = query[:, :D] @ rows.T, query[:, D:] @ lifted[:, D:].T
    np.testing.assert_allclose(query @ lifted.T, first + second, atol=1e-5)
    squares = sum(
        s * terms[name][1] / (2 * (terms[name][1] @ moments)[:, None]) for name, s in (("change", 0.3), ("keep", 0.6))
    )
    np.testing.assert_allclose(second, -squares @ np.square(rows).T, atol=1e-5)
