"""The score of a pair: worked out by hand, the same bits however it is computed, and one order among equals."""

import hashlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quiver.errors import BadData
from quiver.indexers import _score, exact, faiss, lance
from quiver.indexers._score import prepared, settled, settled_on, total
from quiver.types import METRICS, Floats, Metric, Space, Vectors


def points(n: int, dim: int, seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def vectors(data: Floats, metric: Metric) -> Vectors:
    return Vectors(Space("made", data.shape[1], metric, "0"), np.arange(len(data)), data)


@pytest.mark.parametrize(
    ("metric", "score"), [("dot", 11.0), ("cosine", 11 / (5 * math.sqrt(5))), ("l2", -(2**2 + 2**2))]
)
def test_a_score_is_the_one_worked_out_by_hand(metric: Metric, score: float) -> None:
    asked, held = prepared(metric, np.float32([[3, 4]])), np.float32([[1, 2]])
    assert settled(metric, asked[0], held).tolist() == [np.float32(score)]


def test_halves_are_added_up_whatever_their_number() -> None:
    for count in range(1, 70):
        terms = np.arange(2.0 * count).reshape(count, 2)
        assert total(terms.copy()).tolist() == terms.sum(0).tolist()


@given(metric=st.sampled_from(METRICS), dim=st.integers(1, 70), seed=st.integers(0, 2**32), scale=st.integers(-9, 9))
@settings(max_examples=100, deadline=None)
def test_a_score_is_the_exact_one_rounded_once(metric: Metric, dim: int, seed: int, scale: int) -> None:
    held, asked = points(3, dim, seed) * np.float32(10) ** scale, points(1, dim, seed + 1)
    one, rows = asked[0].astype(np.float64), held.astype(np.float64)
    dots = np.array([math.fsum(row * one) for row in rows])
    if metric == "l2":
        dots = np.array([-math.fsum(np.concatenate([row * row, -2 * row * one, one * one])) for row in rows])
    elif metric == "cosine":
        dots /= np.sqrt([math.fsum(row * row) for row in rows]) * math.sqrt(math.fsum(one * one))
    found = settled(metric, prepared(metric, asked)[0], held)
    size = {"cosine": 1.0, "dot": float(np.abs(rows * one).sum(1).max()), "l2": float(np.abs(dots).max())}[metric]
    assert (np.abs(found - dots) <= 2.0**-24 * np.abs(dots) + 2.0**-46 * size + 2.0**-149).all()


@pytest.mark.parametrize("metric", METRICS)
def test_bits_are_the_same_alone_in_a_batch_in_parts_and_as_tensors(metric: Metric) -> None:
    held, queries = points(900, 100, 1), points(7, 100, 2)
    asked = prepared(metric, queries)
    whole = np.stack([settled(metric, one, held) for one in asked])
    query, place = np.repeat(np.arange(7), 900), np.tile(np.arange(900), 7)
    assert (settled(metric, asked, held, query=query, place=place).reshape(7, 900) == whole).all()
    for n in range(7):
        own = prepared(metric, queries[n : n + 1])
        assert (own == asked[n]).all()
        assert (np.concatenate([settled(metric, own[0], held[at : at + 1]) for at in range(900)]) == whole[n]).all()
        tensor = settled_on(metric, torch.from_numpy(asked[n : n + 1]), torch.from_numpy(held))
        assert (tensor == whole[n]).all()
    assert (settled(metric, asked[0], np.asfortranarray(held)) == whole[0]).all()


@pytest.mark.parametrize("kind", ["plain", "between two float32", "at right angles"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_kernel_that_sums_otherwise_changes_no_bit(
    metric: Metric, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, asked = points(3000, 64, 11), points(1, 64, 12)
    if kind == "between two float32":  # whole numbers and halves: sums end in the middle of two float32
        draw = np.random.default_rng(13)
        held, asked = (draw.integers(-(2**11), 2**11, (n, 64)).astype(np.float32) / 2 for n in (3000, 1))
    elif kind == "at right angles":
        held[:, :32], asked[:, 32:] = 0, 0
    own = prepared(metric, asked)[0]
    fixed = _score._scores(metric, own[:, None], np.ascontiguousarray(held.astype(np.float64).T))
    wanted = fixed.astype(np.float32) + np.float32(0)
    assert (settled(metric, own, held) == wanted).all()
    kernel, draw = _score._kernel, np.random.default_rng(14)

    def other(*given: Any) -> Any:
        score, room = kernel(*given)
        return score + draw.uniform(-0.4, 0.4, len(score)) * room, room

    monkeypatch.setattr(_score, "_kernel", other)
    assert (settled(metric, own, held) == wanted).all()
    assert not np.signbit(wanted[wanted == 0]).any()


def test_bits_are_the_same_on_every_processor() -> None:
    """Made on one with AVX-512; numbers are drawn by integers, which no library of mathematics has a part in."""
    draw = np.random.default_rng(5)
    held, asked = ((draw.integers(-(2**23), 2**23, (n, 96)) / 2**20).astype(np.float32) for n in (400, 3))
    sums = {}
    for metric in METRICS:
        scores = np.stack([settled(metric, one, held) for one in prepared(metric, asked)])
        sums[metric] = hashlib.sha256(scores.astype("<f4").tobytes()).hexdigest()[:16]
    assert sums == SUMS


SUMS = {"cosine": "33bb8ad7306b4f6c", "dot": "25cdea3458ed5954", "l2": "1908c0c806d1bfd9"}


@pytest.mark.parametrize("metric", METRICS)
def test_every_index_that_keeps_vectors_gives_the_same_bits(metric: Metric) -> None:
    data, queries = points(700, 24, 3), points(30, 24, 4)
    if metric == "cosine":  # of unit length, as FAISS keeps them
        data /= np.linalg.norm(data, axis=1, keepdims=True)
    data[50:53] = data[50]
    held = vectors(data, metric)
    wanted = exact.build(held, device="cpu").search(queries, 700)
    kinds = [
        faiss.build(held, factory="Flat"),
        faiss.build(held, factory="HNSW16", ef=700),
        faiss.build(held, factory="IVF4,Flat", nprobe=4),
        lance.build(held, kind="IVF_FLAT", partitions=4, nprobe=4),
    ]
    for index in kinds:
        for at in (slice(0, 30), slice(0, 1), slice(7, 9)):
            scores, rows = index.search(queries[at], 20)
            assert (scores == wanted[0][at, :20]).all()
            assert (rows == wanted[1][at, :20]).all()


@pytest.mark.parametrize("metric", METRICS)
def test_the_last_of_the_best_is_the_lowest_of_its_equals(metric: Metric) -> None:
    data = points(400, 16, 5)
    data[100:112] = data[399] = data[0] * 3
    held = vectors(data, metric)
    first = [0] if metric == "cosine" else []
    for index in (exact.build(held, device="cpu"), faiss.build(held), lance.build(held)):
        for queries in (data[399:], data[390:], np.tile(data[399:], (30, 1))):
            assert index.search(queries, 5)[1][-1].tolist() == [*first, 100, 101, 102, 103, 104][:5]


def test_many_equals_at_the_cut_are_told_apart_by_row() -> None:
    data = points(3000, 16, 8)
    data[500:900] = data[0]
    index = faiss.build(vectors(data, "l2"))
    for queries in (data[:1], data[:40]):
        assert index.search(queries, 3)[1][0].tolist() == [0, 500, 501]


@pytest.mark.parametrize("factor", [1e-30, 1e-42, 1.0])
def test_vectors_of_any_length_are_found_by_their_direction(factor: float) -> None:
    data = points(300, 12, 6)
    short = (data * np.float32(factor)).astype(np.float32)
    assert (short != 0).any(axis=1).all()
    scores, rows = exact.build(vectors(short, "cosine"), device="cpu").search(data[:5], 300)
    exactly = short.astype(np.float64) / np.linalg.norm(short.astype(np.float64), axis=1, keepdims=True)
    asked = data[:5] / np.linalg.norm(data[:5].astype(np.float64), axis=1, keepdims=True)
    assert np.allclose(scores, -np.sort(-(asked @ exactly.T), axis=1), atol=1e-6)
    assert (np.sort(rows) == np.arange(300)).all()


def test_a_query_too_long_to_be_scored_is_refused_where_length_counts() -> None:
    data = points(50, 4, 7)
    long = np.float32([[1, 0, 0, 0], [3e18, 0, 0, 0]])
    for metric in ("dot", "l2"):
        with pytest.raises(BadData, match="query 1 is longer than 1e\\+18"):
            exact.build(vectors(data, metric), device="cpu").search(long, 3)
    found = exact.build(vectors(data, "cosine"), device="cpu").search(long, 50)
    assert (found[1][0] == found[1][1]).all() and (found[0][0] == found[0][1]).all()
