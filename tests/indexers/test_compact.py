"""The compact copy: what it holds, and that no score is further off than it says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quiver.indexers import _lone
from quiver.indexers._compact import PAD, ZERO, Compact, compress
from quiver.indexers._scan import Held, _Search
from quiver.types import METRICS, Floats, Metric

KINDS = ("normal", "clustered", "outlier", "offset", "spread", "bytes", "whole", "zeros", "small")


def made(kind: str, n: int, dim: int, seed: int) -> Floats:
    """Vectors of every sort that bounds have trouble with."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(n, dim))
    if kind == "clustered":
        data = data[rng.integers(0, min(5, n), n)] + 1e-3 * data
    elif kind == "outlier":
        data[:, 0] *= 1e3
    elif kind == "offset":
        data += 50
    elif kind == "spread":
        data *= 10.0 ** rng.uniform(-6, 6, (n, 1))
    elif kind == "bytes":
        data = rng.integers(0, 256, (n, dim)).astype(float)
    elif kind == "whole":
        data = rng.integers(-3, 400, (n, dim)).astype(float)
    elif kind == "zeros":
        data[rng.random(n) < 0.5] = 0
    elif kind == "small":
        data *= 1e-9
    return np.ascontiguousarray(data, np.float32)


def copy(metric: Metric, data: Floats) -> Compact:
    lengths = torch.from_numpy(np.linalg.norm(data.astype(np.float64), axis=1).astype(np.float32))
    compact = compress(metric, torch.from_numpy(data), lengths)
    assert compact is not None
    return compact


def search(metric: Metric, data: Floats, queries: Floats) -> _Search:
    lengths = torch.from_numpy(np.linalg.norm(data.astype(np.float64), axis=1).astype(np.float32))
    held = Held(metric, torch.from_numpy(data), lengths, np.arange(len(data)), copy(metric, data))
    return _Search(held, queries, 1)


def true(metric: Metric, data: Floats, queries: Floats) -> torch.Tensor:
    held, asked = torch.from_numpy(data).double(), torch.from_numpy(queries).double()
    if metric == "l2":
        return -(held[:, None] - asked[None]).square().sum(2)
    if metric == "cosine":
        held, asked = (torch.nn.functional.normalize(each, dim=1, eps=1e-300) for each in (held, asked))
    return held @ asked.T


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    metric=st.sampled_from(METRICS),
    n=st.integers(1, 300),
    dim=st.sampled_from((1, 2, 3, 7, 32, 100)),
    asked=st.sampled_from((1, 12)),
    alike=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_no_score_is_further_off_than_its_bound(
    kind: str, metric: Metric, n: int, dim: int, asked: int, alike: bool, seed: int
) -> None:
    data = made(kind, n, dim, seed)
    if not data.any():
        return
    queries = made(kind if alike else "normal", asked, dim, seed + 1)
    state = search(metric, data, queries)
    compact, form = state.held.compact, state.asked
    product = (compact.codes.long() - ZERO) @ form.codes.long().T
    if form.fine:
        product = product[:, :asked] * form.fine + product[:, asked:]
    assert product.abs().max() < 2**31, "would not fit the 32 bits that products are summed in"
    segment = segments(compact)
    value = form.base + product * compact.scale[segment, None] * form.step
    value -= compact.square[:, None] if metric == "l2" else 0
    doubt = (compact.fault @ form.share.T)[segment]
    off = (value - true(metric, data, queries)[compact.order]).abs()
    assert (off <= doubt * (1 + 1e-9)).all(), f"{float((off - doubt).max())} beyond the bound"
    assert not form.whole or off.max() == 0


def segments(compact: Compact) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(compact.scale)), compact.starts.diff())


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    metric=st.sampled_from(METRICS),
    n=st.integers(1, 300),
    dim=st.sampled_from((1, 2, 3, 7, 32, 100)),
    alike=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_no_score_of_a_lone_query_is_outside_its_bounds(
    kind: str, metric: Metric, n: int, dim: int, alike: bool, seed: int
) -> None:
    data = made(kind, n, dim, seed)
    if not data.any():
        return
    query = made(kind if alike else "normal", 1, dim, seed + 1)
    compact = copy(metric, data)
    form, codes, segment = (
        _lone._Asked(metric, query[0], compact),
        compact.codes.double().numpy() - ZERO,
        segments(compact),
    )
    wanted = true(metric, data, query)[compact.order, 0].numpy()
    assert np.abs(form.codes).max() <= 127 and (form.codes == form.codes.round()).all()
    for number, own in enumerate(form.codes.astype(np.float64)):
        rows = segment.numpy() == number
        values = ((codes[rows] - own) ** 2).sum(1) if metric == "l2" else codes[rows] @ own
        lower, upper = form.bounds(number, values.astype(np.float32))
        room = 1e-9 * (np.abs(wanted[rows]) + np.abs(form.base))
        assert (lower - room <= wanted[rows]).all() and (wanted[rows] <= upper + room).all()


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
