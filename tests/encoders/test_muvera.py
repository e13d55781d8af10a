"""Encodings of many vectors in one: the paper's definition in plain loops, and how near they come to MaxSim."""

import hashlib

import numpy as np
import pytest

from quiver.encoders import _muvera
from quiver.encoders._muvera import CUTS, PLANES, OneVector, dim, of_queries
from quiver.types import Space

WIDTH, TOKENS = 32, 6
SOURCE = Space("many", TOKENS * WIDTH, "dot", "1" * 16)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def sets(rng, count, topics=40, least=1):
    """Sets of unit vectors that crowd around some topics, as tokens do."""
    centres = rng.standard_normal((topics, WIDTH))
    sizes = rng.integers(least, TOKENS + 1, count)
    return [unit(centres[rng.integers(topics, size=n)] + 0.3 * rng.standard_normal((n, WIDTH))) for n in sizes]


def rows(items):
    found = np.zeros((len(items), TOKENS * WIDTH), np.float32)
    for row, vectors in zip(found, items, strict=True):
        row[: vectors.size] = vectors.ravel()
    return found


def maxsim(queries, items):
    return np.array([[(q.astype(np.float64) @ d.T).max(axis=1).sum() for d in items] for q in queries])


def by_loops(vectors, *, query):
    """The definition, one vector and one cell at a time."""
    planes, signs = _muvera._drawn(WIDTH)
    parts = []
    for cut in range(CUTS):
        codes = [sum(1 << p for p in range(PLANES) if planes[cut, p] @ v > 0) for v in vectors]
        small = [signs[cut] @ v for v in vectors]
        for cell in range(1 << PLANES):
            own = [s for s, code in zip(small, codes, strict=True) if code == cell]
            if query:
                parts.append(sum(own, np.zeros(len(signs[cut]))) / CUTS)
                continue
            if not own:
                nearest = min(sorted(set(codes)), key=lambda code: bin(code ^ cell).count("1"))
                own = [s for s, code in zip(small, codes, strict=True) if code == nearest]
            parts.append(np.mean(own, axis=0))
    return np.concatenate(parts)


def test_encodings_are_those_of_the_definition():
    items = sets(np.random.default_rng(3), 5)
    ours = OneVector(SOURCE, WIDTH).map(rows(items))
    assert ours.dtype == np.float32 and ours.shape == (5, dim(WIDTH)) == (5, OneVector(SOURCE, WIDTH).target.dim)
    np.testing.assert_allclose(ours, [by_loops(each, query=False) for each in items], atol=1e-5)
    np.testing.assert_allclose(of_queries(items), [by_loops(each, query=True) for each in items], atol=1e-5)


def test_one_vector_against_one_gives_nearly_their_product():
    rng = np.random.default_rng(4)
    one, other = unit(rng.standard_normal((2, 200, 1, WIDTH)))
    encoded = OneVector(SOURCE, WIDTH).map(rows(list(other)))
    found = np.einsum("nd,nd->n", of_queries(list(one)), encoded)
    true = np.einsum("nij,nij->n", one, other)  # an item with one vector has it in every cell
    # products have a spread of 1 / sqrt(32) = 0.18; 320 projections err by 1 / sqrt(320) = 0.06
    assert np.corrcoef(found, true)[0, 1] > 0.93 and abs(np.mean(found - true)) < 0.02


def test_the_first_ten_by_maxsim_are_among_the_first_by_encodings():
    rng = np.random.default_rng(5)
    items = sets(rng, 1000)
    queries = [unit(each + 0.2 * rng.standard_normal(each.shape)) for each in items[:40]]
    best = np.argsort(-maxsim(queries, items), axis=1)[:, :10]
    near = np.argsort(-(of_queries(queries) @ OneVector(SOURCE, WIDTH).map(rows(items)).T), axis=1)[:, :100]
    found = np.mean([np.isin(own, theirs).mean() for own, theirs in zip(best, near, strict=True)])
    assert found > 0.8  # 0.1 by chance


def test_items_are_encoded_alike_in_any_batch(monkeypatch):
    given = rows(sets(np.random.default_rng(6), 9))
    given[4] = 0  # nothing is known of it
    whole = OneVector(SOURCE, WIDTH).map(given)
    monkeypatch.setattr(_muvera, "_NUMBERS", 1)
    np.testing.assert_allclose(OneVector(SOURCE, WIDTH).map(given), whole, atol=1e-6)
    assert not whole[4].any() and OneVector(SOURCE, WIDTH).map(given[:0]).shape == (0, dim(WIDTH))


def test_planes_and_projections_are_the_same_everywhere():
    _muvera._drawn.cache_clear()
    planes, signs = _muvera._drawn(WIDTH)
    digest = hashlib.sha256(planes.tobytes() + np.sign(signs).astype(np.int8).tobytes()).hexdigest()
    assert digest[:16] == "a6f1452fcc02fee3"
    narrow = _muvera._drawn(4)[1]
    assert narrow.shape == (CUTS, 4, 4) and (narrow == np.eye(4)).all()  # nothing is to be shortened


def test_another_source_is_another_target():
    other = Space("many", TOKENS * WIDTH, "dot", "2" * 16)
    assert OneVector(SOURCE, WIDTH).target.revision != OneVector(other, WIDTH).target.revision
    with pytest.raises(ValueError, match="reshape"):
        OneVector(SOURCE, WIDTH).map(np.zeros((2, 7), np.float32))
