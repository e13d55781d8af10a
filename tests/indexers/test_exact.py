"""The exact index, against numbers worked out by hand, numpy, and published ground truth."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quiver.errors import BadCollection, BadData, BadSpec
from quiver.indexers import _gpu, _topk, exact
from quiver.indexers._score import prepared
from quiver.types import METRICS, Metric, Space, Vectors


def vectors(data: object, metric: Metric = "dot", rows: object = None) -> Vectors:
    array = np.ascontiguousarray(data, np.float32)
    numbers = np.arange(len(array)) if rows is None else np.asarray(rows, np.int64)
    return Vectors(Space("made", array.shape[1], metric, "c0ffee"), numbers, array)


@pytest.mark.parametrize(
    ("metric", "scores", "rows"),
    [
        ("dot", [11.0, 3.0, 0.0, -4.0], [40, 10, 30, 20]),  # (3,4)·(1,2), (3,4)·(1,0), ...
        ("cosine", [11 / (5 * 5**0.5), 0.6, 0.0, -0.8], [40, 10, 30, 20]),
        ("l2", [-8.0, -20.0, -25.0, -34.0], [40, 10, 30, 20]),
    ],
)
def test_scores_are_those_worked_out_by_hand(metric: Metric, scores: list[float], rows: list[int]) -> None:
    index = exact.build(vectors([[1, 0], [0, -1], [0, 0], [1, 2]], metric, [10, 20, 30, 40]))
    found, names = index.search(np.array([[3, 4]], np.float32), 4)
    assert names.tolist() == [rows]
    assert found[0] == pytest.approx(scores, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), metric=st.sampled_from(("dot", "l2")), n=st.integers(1, 90), k=st.integers(1, 100))
def test_whole_numbers_rank_as_in_numpy_ties_included(data: st.DataObject, metric: Metric, n: int, k: int) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    held = rng.integers(-2, 3, (n, 3))  # few values, many ties
    asked = rng.integers(-2, 3, (4, 3))
    rows = rng.permutation(2 * n)[:n]
    allow = np.flatnonzero(rng.random(2 * n) < data.draw(st.sampled_from((0.1, 0.6, 1.0))))
    scores, found = exact.build(vectors(held, metric, rows)).search(asked.astype(np.float32), k, allow=allow)
    true = asked @ held.T if metric == "dot" else -((asked[:, None] - held) ** 2).sum(2)
    for query in range(4):
        wanted = sorted((-true[query, at], row) for at, row in enumerate(rows) if row in allow)[:k]
        assert [(-s, r) for s, r in zip(scores[query], found[query], strict=True)] == wanted


@pytest.mark.parametrize("metric", METRICS)
def test_tiles_and_batches_change_nothing(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    index = exact.build(vectors(rng.normal(size=(5000, 8)).round(1), metric))  # rounded, so that some tie
    queries = rng.normal(size=(300, 8)).round(1).astype(np.float32)
    whole = index.search(queries, 20)
    monkeypatch.setattr(_topk, "_ROWS", 1000)
    monkeypatch.setattr(_topk, "_PRODUCTS", 1)
    monkeypatch.setattr(_topk, "_QUERIES", 7)
    parts = index.search(queries, 20)
    assert (whole[0] == parts[0]).all() and (whole[1] == parts[1]).all()


def test_hundreds_of_equal_vectors_come_in_the_order_of_their_rows() -> None:
    rows = np.random.default_rng(1).permutation(700)
    index = exact.build(vectors(np.ones((700, 4)), "cosine", rows))
    assert index.search(np.ones((1, 4), np.float32), 12)[1].tolist() == [list(range(12))]


@pytest.mark.parametrize("metric", METRICS)
def test_differences_finer_than_a_float32_product_are_seen(metric: Metric) -> None:
    rng = np.random.default_rng(2)
    data = (rng.normal(size=64) + 1e-4 * rng.normal(size=(400, 64)) + 30).astype(np.float32)
    query = (data[:1] * 1.0001).astype(np.float32)
    held, asked = data.astype(np.float64), query.astype(np.float64)[0]
    true = {
        "dot": held @ asked,
        "cosine": held @ asked / np.linalg.norm(held, axis=1) / np.linalg.norm(asked),
        "l2": -((held - asked) ** 2).sum(1),
    }[metric].astype(np.float32)
    scores, rows = exact.build(vectors(data, metric)).search(query, 10)
    assert (rows[0] == np.lexsort((np.arange(400), -true))[:10]).all()
    assert np.allclose(scores[0], true[rows[0]], rtol=1e-7)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_answers_are_exact_where_torch_is_told_to_be_less_so(precision: str) -> None:
    rng = np.random.default_rng(3)
    index = exact.build(vectors(rng.normal(size=(3000, 32)), "l2"))
    queries = rng.normal(size=(40, 32)).astype(np.float32)
    before, kept = index.search(queries, 10), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        after = index.search(queries, 10)
    finally:
        torch.set_float32_matmul_precision(kept)
    assert (before[1] == after[1]).all() and (before[0] == after[0]).all()


def test_score_gives_what_search_gives() -> None:
    rng = np.random.default_rng(4)
    for metric in METRICS:
        index = exact.build(vectors(rng.normal(size=(50, 6)), metric, rng.permutation(200)[:50]))
        queries = rng.normal(size=(3, 6)).astype(np.float32)
        scores, rows = index.search(queries, 50)
        for line in range(3):
            assert (index.score(queries, rows[line])[line] == scores[line]).all()
        assert index.score(queries, rows[0][:0]).shape == (3, 0)


def test_score_refuses_rows_it_does_not_hold() -> None:
    index = exact.build(vectors(np.eye(3), rows=[5, 6, 9]))
    with pytest.raises(BadData, match="row 7 is not"):
        index.score(np.eye(3, dtype=np.float32), np.array([9, 7]))


def test_memory_mapped_vectors_are_searched_where_they_lie(tmp_path: Path) -> None:
    data = np.random.default_rng(5).normal(size=(200, 16)).astype(np.float32)
    np.save(tmp_path / "data.npy", data)
    mapped = np.load(tmp_path / "data.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index = exact.build(Vectors(Space("made", 16, "l2", "c0ffee"), np.arange(200), mapped), device="cpu")
    assert np.shares_memory(index.data, mapped)
    assert (index.search(data[:9], 1)[1][:, 0] == np.arange(9)).all()


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index"
    index = exact.build(vectors(np.eye(40)))
    index.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadCollection, match="not an exact index"):
        exact.open(path, index.space)
    with pytest.raises(BadCollection, match="not an exact index"):
        exact.open(tmp_path / "nothing", index.space)


def test_folder_that_holds_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(BadSpec, match="something else"):
        exact.build(vectors(np.eye(2))).save(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["diary.txt"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadSpec, match="device=cpu"):
        exact.build(vectors(np.eye(2)), device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("metric", METRICS)
def test_gpu_and_cpu_give_the_same_answers(metric: Metric) -> None:
    rng = np.random.default_rng(6)
    held, queries = vectors(rng.normal(size=(9000, 24)), metric), rng.normal(size=(30, 24)).astype(np.float32)
    here, there = exact.build(held, device="cpu"), exact.build(held, device="cuda")
    for allow in (None, np.arange(0, 9000, 2), np.arange(0, 9000, 50)):
        mine, theirs = here.search(queries, 10, allow=allow), there.search(queries, 10, allow=allow)
        assert (mine[1] == theirs[1]).all() and np.allclose(mine[0], theirs[0], rtol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_torch_on_any_device_gives_the_answers_of_numpy(metric: Metric) -> None:
    rng = np.random.default_rng(6)
    data, queries = rng.normal(size=(3000, 24)).round(1), rng.normal(size=(30, 24)).round(1).astype(np.float32)
    data[1000:1300] = data[0]  # hundreds of ties
    index = exact.build(vectors(data, metric, rng.permutation(9000)[:3000]), device="cpu")
    other = _gpu.Gpu(metric, index.rows, index.data, index.lengths, "cpu")
    for positions in (None, np.arange(0, 3000, 2), np.arange(0, 3000, 50)):
        allow = None if positions is None else np.sort(index.rows[positions])
        mine, theirs = index.search(queries, 10, allow=allow), other.search(queries, 10, positions)
        assert (mine[1] == theirs[1]).all() and (mine[0] == theirs[0]).all()
    assert (other.score(prepared(metric, queries), np.arange(99)) == index.score(queries, index.rows[:99])).all()


def test_neither_faiss_nor_lance_is_needed() -> None:
    script = """
import sys
sys.modules["faiss"] = sys.modules["lance"] = None
import numpy as np
from quiver.indexers import exact
from quiver.types import Space, Vectors
index = exact.build(Vectors(Space("made", 2, "dot", "c0ffee"), np.arange(2), np.eye(2, dtype=np.float32)))
print(index.search(np.array([[0, 1]], np.float32), 1)[1])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "[[1]]\n", done.stderr


@pytest.mark.data
def test_sift_neighbours_are_those_of_the_ground_truth(packs: Path) -> None:
    with np.load(packs / "sift100k/base.npz") as file:
        index = exact.build(vectors(file["base"], "l2"))
    with np.load(packs / "sift100k/queries.npz") as file:
        queries, wanted, squares = (file[name][:64] for name in ("queries", "neighbors", "sq_distances"))
    scores, rows = index.search(queries.astype(np.float32), 100)
    assert (rows == wanted).all()
    assert (scores == -squares).all()
