"""Searches by way of the compact copy give the answers of float64, whatever the data does to the bound."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quiver.indexers import _lone, _query, _scan, exact
from quiver.types import METRICS, Floats, Metric, Rows, Space, Vectors

#: What bounds have trouble with, made of (n, dim) normal numbers.
KINDS: dict[str, Callable[[np.random.Generator, Any], Any]] = {
    "normal": lambda rng, data: data,
    "clustered": lambda rng, data: data[rng.integers(0, min(5, len(data)), len(data))] + 1e-4 * data,
    "ties": lambda rng, data: rng.integers(-1, 2, data.shape),
    "outlier": lambda rng, data: data * np.where(np.arange(data.shape[1]) == 0, 1e3, 1),
    "offset": lambda rng, data: data + 50,
    "spread": lambda rng, data: data * 10.0 ** rng.uniform(-6, 6, (len(data), 1)),
    "bytes": lambda rng, data: rng.integers(0, 256, data.shape),
    "zeros": lambda rng, data: data * (rng.random((len(data), 1)) < 0.5),
    "equal": lambda rng, data: np.repeat(data[:1], len(data), 0),
    "near": lambda rng, data: data[:1] + 1e-6 * data,  # far below what a byte tells apart
    "alone": lambda rng, data: data * np.where(np.arange(len(data)) == 0, 1e5, 1)[:, None],  # sets too large a scale
    "huge": lambda rng, data: data * 1e13,
    "tiny": lambda rng, data: data * 1e-13,
}


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    """Go by the compact copy however little there is to search, and from the first query on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_WORTH", 0)
        patch.setattr(exact, "_FEW", 0)
        patch.setattr(exact, "_PATIENCE", 0)
        patch.setattr(_query, "swift", lambda width: True)
        if not _query.multiplies_exactly(64):
            patch.setattr(torch, "_int_mm", multiplied)
        yield


def multiplied(one: torch.Tensor, other: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
    """Products of bytes, for processors whose own overflow."""
    product = (one.double() @ other.double()).int()
    return product if out is None else out.copy_(product)


def made(kind: str, n: int, dim: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    return np.ascontiguousarray(KINDS[kind](rng, rng.normal(size=(n, dim))), np.float32)


def build(data: Floats, metric: Metric, rows: Rows | None = None) -> Any:
    rows = np.arange(len(data)) if rows is None else rows
    return exact.build(Vectors(Space("made", data.shape[1], metric, "c0ffee"), rows, data), device="cpu")


def brute(data: Floats, metric: Metric, queries: Floats) -> Floats:
    """Score everything in float64 and round to float32: (q, n)."""
    held, asked = data.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return -((asked[:, None] - held[None]) ** 2).sum(2).astype(np.float32)
    scores = (asked[:, None] * held[None]).sum(2)
    if metric == "cosine":
        size = np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(held, axis=1)
        scores = np.where(size > 0, scores / np.where(size > 0, size, 1), 0)
    return scores.astype(np.float32)


def check(found: tuple[Floats, Rows], rows: Rows, scores: Floats, k: int) -> None:
    """Compare an answer with all scores; sums in another order may round to the float32 beside."""
    got, names = found
    wanted = np.sort(scores, axis=1)[:, ::-1][:, :k]
    room = 2.0**-22 * np.abs(wanted) + 1e-12 * np.abs(scores).max(initial=0)
    assert got.shape == wanted.shape and (np.abs(got - wanted) <= room).all(), "not the best scores"
    order = np.argsort(rows)
    place = order[np.searchsorted(rows, names, sorter=order)] if len(rows) else names
    assert (np.abs(np.take_along_axis(scores, place, 1) - got) <= room).all(), "scores of other rows"
    assert all(len(set(line)) == len(line) for line in names.tolist()), "a row twice"
    for line, own in zip(names, got, strict=True):
        assert (np.lexsort((line, -own)) == np.arange(len(line))).all(), "not by score, then by row"


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    metric=st.sampled_from(METRICS),
    n=st.integers(1, 1500),
    dim=st.sampled_from((1, 3, 16, 65)),
    asked=st.sampled_from((1, 9, 40)),
    k=st.sampled_from((1, 3, 10, 2000)),
    alike=st.booleans(),
    share=st.sampled_from((None, 0.02, 0.1, 0.3, 1.0)),
    lone=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_answers_are_those_of_comparing_everything(
    kind: str,
    metric: Metric,
    n: int,
    dim: int,
    asked: int,
    k: int,
    alike: bool,
    share: float | None,
    lone: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    data, rows = made(kind, n, dim, seed), rng.permutation(3 * n)[:n].astype(np.int64)
    queries = made(kind, asked, dim, seed + 1) if alike else data[rng.integers(0, n, asked)] + np.float32(1e-3)
    allow = None if share is None else np.sort(rows[rng.random(n) < share])
    kept = np.ones(n, bool) if allow is None else np.isin(rows, allow)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_scan, "_PRODUCTS", 1)  # stretches as short as k allows
        patch.setattr(_scan, "_BYTES", 1)
        patch.setattr(_scan, "_QUERIES", 16)
        patch.setattr(_lone, "able", lambda queries, *_: lone and queries <= 9 and _lone._there())
        patch.setattr(_lone, "_SPARE", 1)  # so that more has to be asked for
        patch.setattr(_lone, "_SHARE", 4096)  # several threads
        index = build(data, metric, rows)
        found = index.search(queries, k, allow=allow)
        if allow is not None:
            allow.flags.writeable = False
            again = [index.search(queries, k, allow=allow) for _ in range(3)]  # first tested one by one, then gathered
            assert all((a == b).all() for other in again for a, b in zip(found, other, strict=True))
    check(found, rows[kept], brute(data[kept], metric, queries), k)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["normal", "bytes"])
def test_plain_and_compact_answers_are_equal_to_the_last_bit(
    metric: Metric, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, queries = made(kind, 6000, 48, 3), made(kind, 70, 48, 4)
    index = build(data, metric)
    found = [index.search(queries[:m], k) for m in (1, 8, 70) for k in (1, 10, 60)]
    assert index.last == _scan.Scan(6000, 70, index.last.candidates, 0)
    monkeypatch.setattr(exact, "_WORTH", 1 << 40)
    plain = [index.search(queries[:m], k) for m in (1, 8, 70) for k in (1, 10, 60)]
    assert index.last is None
    for a, b in zip(found, plain, strict=True):
        assert (a[0] == b[0]).all() and (a[1] == b[1]).all()


def test_few_rows_are_scored_in_full_where_scores_differ() -> None:
    data, queries = made("normal", 20_000, 64, 5), made("normal", 20, 64, 6)
    index = build(data, "cosine")
    for m in (2, 20):  # one by one, and together
        index.search(queries[:m], 10)
        assert 10 * m <= index.last.candidates < 600 * m and index.last.widened == 0


def test_whole_numbers_need_no_second_look() -> None:
    data = made("bytes", 4000, 32, 7)
    index = build(data, "l2")
    index.search(data[:20] // 2, 10)
    assert index.last == _scan.Scan(4000, 20, 0, 0)
    index.search(data[:20] / np.float32(2.3), 10)
    assert index.last.candidates > 0


@pytest.mark.parametrize("together", [True, False])
def test_pass_is_widened_where_the_bound_tells_nothing_apart_and_only_there(
    together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lone, "able", lambda *_: not together)
    data = np.concatenate([np.ones((5000, 64), np.float32), made("normal", 5000, 64, 8)])
    index = build(data, "cosine", np.random.default_rng(0).permutation(10_000))
    queries = np.stack([np.ones(64), np.zeros(64), -np.ones(64)]).astype(np.float32)
    scores, rows = index.search(queries, 5)
    assert index.last.widened == 2  # all ones are equally near the first, everything to the second
    assert (rows[0] == np.sort(index.rows[:5000])[:5]).all()
    assert rows[1].tolist() == [0, 1, 2, 3, 4] and (scores[1] == 0).all()


def test_more_rows_are_asked_for_where_the_first_do_not_prove_the_answer() -> None:
    data = made("normal", 20_000, 64, 16)
    data[:300] = data[0] + 1e-4 * data[:300]  # closer to one another than the bound can tell
    index = build(data, "l2")
    scores, rows = index.search(data[:1], 10)
    assert index.last.widened == 0 and index.last.candidates >= 300
    true = brute(data, "l2", data[:1])[0]
    assert (rows[0] == np.lexsort((np.arange(len(true)), -true))[:10]).all()
    assert np.allclose(scores[0], true[rows[0]], rtol=1e-6)
    assert index._past.lone.depth >= 290  # and at once for the next query


def test_codes_that_a_filter_leaves_are_gathered_if_they_are_few_or_asked_again() -> None:
    data = made("normal", 9000, 40, 19)
    index, queries = build(data, "cosine"), made("normal", 2, 40, 20)
    for step, first in ((10, True), (3, False)):
        allow = np.arange(0, 9000, step)
        allow.flags.writeable = False
        wanted = index.search(queries, 10, allow=allow)
        ((_, held), *_) = index._past.allowed._held
        assert (held._codes is not None) is first
        found = index.search(queries, 10, allow=allow)
        assert held._codes is not None and (held._codes == index.compact.codes.numpy()[held.places]).all()
        assert all((a == b).all() for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("metric", METRICS)
def test_without_faiss_lone_queries_get_the_same_answers(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made("normal", 9000, 40, 17)
    index, queries = build(data, metric), made("normal", 2, 40, 18)
    wanted = index.search(queries, 10)
    monkeypatch.setattr(_lone, "able", lambda *_: False)
    found = index.search(queries, 10)
    assert index.last.widened == 0
    assert (found[0] == wanted[0]).all() and (found[1] == wanted[1]).all()


def test_threads_that_search_at_once_get_their_own_answers() -> None:
    data, queries = made("normal", 30_000, 32, 19), made("normal", 64, 32, 20)
    wanted = build(data, "cosine").search(queries, 5)
    index = build(data, "cosine")  # its copy is made while others search
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: index.search(queries[at : at + 1 + at % 3], 5), range(61)))
    for at, (scores, rows) in enumerate(found):
        assert (rows == wanted[1][at : at + 1 + at % 3]).all() and (scores == wanted[0][at : at + 1 + at % 3]).all()


def test_faiss_keeps_the_number_of_threads_it_was_given() -> None:
    data = made("normal", 5000, 16, 21)
    faiss.omp_set_num_threads(2)
    build(data, "dot").search(data[:1], 5)
    assert faiss.omp_get_max_threads() == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not limit what is allocated")
def test_file_larger_than_memory_is_searched(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["100", "100", "0"], done.stderr


#: 256 MiB of vectors in a file, of which 224 MiB may be allocated besides what libraries take: 64 MiB are the copy.
LIMITED = """
import resource, sys
import faiss, numpy as np, torch
from quiver.indexers import exact
from quiver.types import Space, Vectors
n, dim = 1 << 19, 128
torch.set_num_threads(1)
data = np.lib.format.open_memmap(sys.argv[1] + "/data.npy", "w+", np.float32, (n, dim))
rng = np.random.default_rng(0)
for at in range(0, n, 1 << 14):
    data[at : at + (1 << 14)] = rng.standard_normal((1 << 14, dim), np.float32)
queries = data[:: n // 100][:100] + np.float32(0.01)
data = np.load(sys.argv[1] + "/data.npy", mmap_mode="r")
torch._int_mm(torch.ones((32, 64), dtype=torch.int8), torch.ones((64, 32), dtype=torch.int8))
used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + (224 << 20),) * 2)
index = exact.build(Vectors(Space("made", dim, "l2", "c0ffee"), np.arange(n), data), device="cpu")
wanted = np.arange(0, n, n // 100)[:100]
parts = np.split(np.arange(100), [4])  # without the copy, and with it
print(sum((index.search(queries[part], 1)[1][:, 0] == wanted[part]).sum() for part in parts))
found = [index.search(queries[at : at + 1], 1)[1][0, 0] for at in range(100)]
print((found == wanted).sum())
print(index.last.widened)
"""


def test_copy_is_made_when_it_has_been_earned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_PATIENCE", 12)
    data = made("normal", 3000, 8, 9)
    index = build(data, "dot")
    before = index.nbytes
    index.search(data[:11], 3)
    assert index.last is None and index.nbytes == before
    index.search(data[:1], 3)
    assert index.last is not None and index.nbytes > before + data.size


@pytest.mark.parametrize("metric", METRICS)
def test_copy_is_saved_and_found_again(metric: Metric, tmp_path: Path) -> None:
    data = made("normal", 2000, 24, 10)
    index = build(data, metric)
    wanted = index.search(data[:30], 10)
    index.save(tmp_path / "index")
    again = exact.open(tmp_path / "index", index.space, device="cpu")
    assert again.nbytes == index.nbytes
    found = again.search(data[:30], 10)
    assert again.last == index.last
    assert (found[0] == wanted[0]).all() and (found[1] == wanted[1]).all()
    for name, value in index.compact.tensors().items():
        assert torch.equal(value, again.compact.tensors()[name])


def test_vectors_stay_on_disk(tmp_path: Path) -> None:
    data = made("clustered", 3000, 16, 11)
    np.save(tmp_path / "data.npy", data)
    mapped = np.load(tmp_path / "data.npy", mmap_mode="r")
    index = build(mapped, "l2")
    found, wanted = index.search(data[:20], 7), build(data, "l2").search(data[:20], 7)
    assert index.last is not None and np.shares_memory(index.data, mapped)
    assert (found[0] == wanted[0]).all() and (found[1] == wanted[1]).all()


@pytest.mark.parametrize("factor", [1e-30, 1e14, 1e30])
def test_extreme_queries_are_answered(factor: float) -> None:
    data = made("normal", 500, 8, 12)
    queries = (made("normal", 3, 8, 13) * factor).astype(np.float32)
    index = build(data, "cosine")
    assert (index.search(queries, 5)[1] == index.search(queries / np.float32(factor), 5)[1]).mean() > 0.9


def test_threads_change_nothing() -> None:
    data, queries = made("normal", 9000, 32, 14), made("normal", 33, 32, 15)
    index = build(data, "l2")
    one = index.search(queries, 10)
    torch.set_num_threads(2)
    two = index.search(queries, 10)
    assert (one[0] == two[0]).all() and (one[1] == two[1]).all()


def test_bytes_are_multiplied_exactly_or_not_at_all() -> None:
    if _query.swift(64):
        rows, asked = torch.full((64, 64), -128, dtype=torch.int8), torch.full((17, 64), 127, dtype=torch.int8)
        assert (torch._int_mm(rows, asked.T) == -128 * 127 * 64).all()


@pytest.mark.data
def test_sift_neighbours_are_those_of_the_ground_truth(packs: Path) -> None:
    with np.load(packs / "sift100k/base.npz") as file:
        index = build(np.ascontiguousarray(file["base"], np.float32), "l2")
    with np.load(packs / "sift100k/queries.npz") as file:
        queries, wanted, squares = (file[name][:64] for name in ("queries", "neighbors", "sq_distances"))
    scores, rows = index.search(queries.astype(np.float32), 100)
    assert index.last == _scan.Scan(100_000, 64, 0, 0)
    assert (rows == wanted).all() and (scores == -squares).all()
