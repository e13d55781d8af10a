"""The compact copy: what it holds, and that no settled score is outside the bounds it gives."""

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quiver.indexers import _lone
from quiver.indexers._bounds import below
from quiver.indexers._check import euclidean
from quiver.indexers._compact import PAD, ZERO, Compact, compress
from quiver.indexers._scan import Corpus, _Pool, _Search
from quiver.indexers._score import prepared, settled
from quiver.types import METRICS, Floats, Metric


def _cancelling(data: Floats, rng: np.random.Generator) -> Floats:
    half = np.tile(1e6 * data[:, : data.shape[1] // 2], (1, 2))
    half[:, data.shape[1] // 2 :] *= -1
    return np.pad(half, ((0, 0), (0, data.shape[1] % 2))) + data


def _doubled(data: Floats, rng: np.random.Generator) -> Floats:
    half = np.tile(data[:, : data.shape[1] // 2], (1, 2))
    return np.pad(half, ((0, 0), (0, data.shape[1] % 2)))


def _two_sizes(data: Floats, rng: np.random.Generator) -> Floats:
    ones = np.sign(data) * np.where(np.arange(len(data)) % 4 < 2, 1, -1)[:, None]
    ones[1::2] = -ones[::2][: len(ones[1::2])]
    return np.where(np.arange(len(data))[:, None] % 4 < 2, ones, data * 1e-25)


def _near_bytes(data: Floats, rng: np.random.Generator) -> Floats:
    data = rng.integers(0, 256, data.shape).astype(float)
    data[rng.integers(len(data)), rng.integers(data.shape[1])] = rng.choice([-4e-6, 1e-7, 255.00001, 3e-45])
    return data


#: Vectors of every sort that bounds have trouble with, made of normally distributed ones.
SORTS: dict[str, Callable[[Any, np.random.Generator], Any]] = {
    "normal": lambda data, rng: data,
    "clustered": lambda data, rng: data[rng.integers(0, min(5, len(data)), len(data))] + 1e-3 * data,
    "outlier": lambda data, rng: data * np.where(np.arange(data.shape[1]) == 0, 1e3, 1),
    "offset": lambda data, rng: data + 50,
    "spread": lambda data, rng: data * 10.0 ** rng.uniform(-6, 6, (len(data), 1)),
    "bytes": lambda data, rng: rng.integers(0, 256, data.shape),
    "whole": lambda data, rng: rng.integers(-3, 400, data.shape),
    "zeros": lambda data, rng: data * (rng.random((len(data), 1)) > 0.5),
    "small": lambda data, rng: data * 1e-9,
    "equal": lambda data, rng: np.tile(data[:1] * 1e3, (len(data), 1)),
    "cancelling": _cancelling,  # halves that take one another away, up to a little
    "doubled": _doubled,  # at right angles to the ones before, up to a little
    "two sizes": _two_sizes,  # short ones whose squares are lost, in a segment of their own
    "near bytes": _near_bytes,  # whole numbers, but for one that is lost when 128 is subtracted
    "far": lambda data, rng: data * 1e14 / math.sqrt(data.shape[1]),  # squares are about to overflow
    "subnormal": lambda data, rng: np.where(rng.random(data.shape) < 0.9, data * 1e-40, data),
    "short": lambda data, rng: data * 10.0 ** rng.uniform(-44, 0, (len(data), 1)),
    "near ties": lambda data, rng: np.nextafter(np.float32(data[:1]), np.float32(rng.choice([-9, 9], data.shape))),
    "halves": lambda data, rng: rng.integers(-9, 10, data.shape) / 2 * 2.0 ** rng.integers(-3, 4, (len(data), 1)),
}
KINDS = tuple(SORTS)


def made(kind: str, n: int, dim: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    return np.ascontiguousarray(SORTS[kind](rng.normal(size=(n, dim)), rng), np.float32)


def copy(metric: Metric, data: Floats) -> Compact | None:
    return compress(metric, torch.from_numpy(data), torch.from_numpy(euclidean(data)))


def search(metric: Metric, data: Floats, queries: Floats, compact: Compact) -> _Search:
    lengths = torch.from_numpy(euclidean(data))
    return _Search(Corpus(metric, torch.from_numpy(data), lengths, np.arange(len(data)), compact), queries, 1)


def true(metric: Metric, data: Floats, queries: Floats) -> torch.Tensor:
    """(n, q) float64 scores: sums are exact but for one rounding, as products of float32 are exact in float64."""
    held, asked = data.astype(np.float64), queries.astype(np.float64)

    def sums(of: Floats) -> Floats:
        return np.array([math.fsum(line) for line in of])

    if metric == "l2":  # (x - q)^2 = x^2 - 2 x q + q^2
        every = [np.hstack([held**2, -2 * held * one, np.tile(one**2, (len(held), 1))]) for one in asked]
        return torch.from_numpy(np.stack([-sums(each) for each in every], 1))
    dots = np.stack([sums(held * one) for one in asked], 1)
    if metric == "cosine":
        lengths = np.sqrt(sums(held**2))[:, None] * np.sqrt(sums(asked**2))
        dots = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
    return torch.from_numpy(dots)


def settled_by(metric: Metric, data: Floats, queries: Floats) -> torch.Tensor:
    every = [settled(metric, one, data) for one in prepared(metric, queries)]
    return torch.from_numpy(np.stack(every, 1).astype(np.float64))


#: Examples of each property; QUIVER_EXAMPLES=20000 for the long form.
EXAMPLES = int(os.environ.get("QUIVER_EXAMPLES", "100"))


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    metric=st.sampled_from(METRICS),
    n=st.integers(1, 60),
    dim=st.sampled_from((1, 2, 3, 7, 32, 100)),
    asked=st.sampled_from((1, 12)),
    asking=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32),
)
@example("spread", "dot", 1, 1, 1, "normal", 510509)  # -4e-6 less 128 is -128 in float32, and was taken for the byte 0
@example("cancelling", "dot", 1, 100, 1, "doubled", 1)  # the centre is the vector itself: all that is left is rounding
def test_no_score_is_further_off_than_its_bound(
    kind: str, metric: Metric, n: int, dim: int, asked: int, asking: str, seed: int
) -> None:
    data = made(kind, n, dim, seed)
    compact = copy(metric, data)
    if compact is None:
        return
    queries = made(asking, asked, dim, seed + 1)
    form = (state := search(metric, data, queries, compact)).asked
    product = (compact.codes.long() - ZERO) @ form.codes.long().T
    if form.fine:
        product = product[:, :asked] * form.fine + product[:, asked:]
    assert product.abs().max() < 2**31, "would not fit the 32 bits that products are summed in"
    segment = segments(compact)
    value = form.base + product * state.factor[segment]
    value -= compact.square[:, None] if metric == "l2" else 0
    doubt = state.doubt[segment]
    for wanted in (true(metric, data, queries), settled_by(metric, data, queries)):
        off = (value - wanted[compact.order]).abs()
        assert (off <= doubt).all(), f"{float((off - doubt).max())} beyond the bound"
    assert not form.whole or (value == true(metric, data, queries)[compact.order]).all()


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    metric=st.sampled_from(METRICS),
    n=st.integers(1, 60),
    dim=st.sampled_from((1, 2, 3, 7, 32, 100)),
    asking=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32),
)
def test_float32_products_bound_the_settled_scores(
    kind: str, metric: Metric, n: int, dim: int, asking: str, seed: int
) -> None:
    data = made(kind, n, dim, seed)
    compact = copy(metric, data)
    if compact is None:
        return
    queries = made(asking, 3, dim, seed + 1)
    state = search(metric, data, queries, compact)
    query, position = torch.arange(3).repeat_interleave(n), torch.arange(n).repeat(3)
    none = torch.zeros(3 * n, dtype=torch.float64)
    pool = state._score(_Pool(query, position, none, none.clone(), none > 0), none == 0)
    wanted = settled_by(metric, data, queries).T.flatten()
    assert (pool.lower <= wanted).all() and (wanted <= pool.upper).all()


def segments(compact: Compact) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(compact.scale)), compact.starts.diff())


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    metric=st.sampled_from(METRICS),
    n=st.integers(1, 60),
    dim=st.sampled_from((1, 2, 3, 7, 32, 100)),
    asking=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32),
)
@example("cancelling", "dot", 1, 100, "doubled", 1)
def test_no_score_of_a_lone_query_is_outside_its_bounds(
    kind: str, metric: Metric, n: int, dim: int, asking: str, seed: int
) -> None:
    data = made(kind, n, dim, seed)
    compact = copy(metric, data)
    if compact is None:
        return
    query = made(asking, 1, dim, seed + 1)
    form, codes, segment = (
        _lone._Asked(metric, query[0], compact),
        compact.codes.double().numpy() - ZERO,
        segments(compact).numpy(),
    )
    exact = true(metric, data, query)[compact.order, 0].numpy()
    wanted = settled_by(metric, data, query)[compact.order, 0].numpy()
    assert np.abs(form.codes).max() <= 127 and (form.codes == form.codes.round()).all()
    for number, own in enumerate(form.codes.astype(np.float64)):
        rows = segment == number
        values = ((codes[rows] - own) ** 2).sum(1) if metric == "l2" else codes[rows] @ own
        lower, upper = form.bounds(number, values.astype(np.float32))
        assert (lower <= exact[rows]).all() and (exact[rows] <= upper).all()
        for low, high, score in zip(lower, upper, wanted[rows], strict=True):
            assert below(np.float32(low)) <= score and below(np.float32(score)) <= high


def test_less_than_the_threshold_settles_lower() -> None:
    for score in np.float32([1, -1, 0, 3e38, -3e38, 1e-38, 1e-45, -1e-45, 7 / 3]):
        assert np.float32(np.nextafter(below(score), -np.inf)) < score


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [1, 31, 32, 33, 1000])
def test_every_row_stands_once(metric: Metric, n: int) -> None:
    compact = copy(metric, made("spread", n, 6, 0))
    assert compact.codes.shape == (n, PAD) and (compact.codes[:, 6:] == ZERO).all()
    assert sorted(compact.order.tolist()) == list(range(n))
    assert compact.starts[0] == 0 and compact.starts[-1] == n and (compact.starts.diff() > 0).all()
    assert sorted(number for number, _, _ in compact.segments()) == list(range(len(compact.scale)))
    assert compact.nbytes == sum(each.nbytes for each in compact.tensors().values())


def test_rows_share_a_scale_with_rows_of_their_size() -> None:
    data = made("normal", 4000, 16, 3)
    data[:2000] *= 0.3
    data[7] *= 5000  # alone
    compact = copy("dot", data)
    largest = torch.from_numpy(np.abs(data - compact.centre.numpy().astype(np.float32)).max(1))[compact.order]
    scale, segment = compact.scale, segments(compact)
    assert len(scale) > 1 and (segment == 0).sum() == 1 and (scale.diff() < 0).all()
    assert all(largest[segment == each].max() == pytest.approx(float(scale[each]) * 127) for each in range(len(scale)))


def test_bytes_are_kept_as_they_are() -> None:
    data = np.array([[0, 255, 128], [7, 128, 1]], np.float32)
    compact = copy("l2", data)
    back = compact.order.argsort()
    assert bool(compact.whole)
    assert (compact.codes[back, :3].numpy() == data).all()
    assert compact.square[back].tolist() == [128**2 + 127**2, 121**2 + 127**2]


def test_one_number_that_is_no_byte_ends_that() -> None:
    data = made("bytes", 40_000, 4, 1)
    for place, number in ((39_999, 256.0), (20_001, 3.5), (1, -1.0)):
        other = data.copy()
        other[place, 2] = number
        assert not bool(copy("l2", other).whole)
    assert bool(copy("l2", data).whole) and not bool(copy("cosine", data).whole)


@pytest.mark.parametrize(("factor", "metric"), [(1e17, "dot"), (1e-17, "dot"), (0.0, "l2")])
def test_extreme_numbers_get_no_copy(factor: float, metric: Metric) -> None:
    data = torch.ones(50, 3) * factor
    assert compress(metric, data, torch.linalg.vector_norm(data, dim=1)) is None


def test_rest_shrinks_with_the_centre_taken_away() -> None:
    near, far = made("normal", 2000, 32, 2), made("normal", 2000, 32, 2) + np.float32(40)
    assert float(copy("dot", far).fault[:, 0].max()) < 1.01 * float(copy("dot", near).fault[:, 0].max())
