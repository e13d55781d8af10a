"""What is particular to FAISS: factories that filter badly, metrics that change, files that lie."""

import json
from dataclasses import replace
from pathlib import Path

import faiss as library
import numpy as np
import pytest

from quiver.errors import BadCollection, BadSpec, SpaceMismatch
from quiver.indexers import _faiss, exact, faiss
from quiver.indexers._topk import ranked, untied
from quiver.types import Metric, Rows, Space, Vectors

DIM = 32


def world(metric: Metric = "l2", n: int = 3000) -> tuple[Vectors, np.ndarray]:
    rng = np.random.default_rng(9)
    centres = rng.normal(size=(30, DIM))
    points = (centres[rng.integers(0, 30, n + 20)] + rng.normal(size=(n + 20, DIM))).astype(np.float32)
    return Vectors(Space("made", DIM, metric, "c0ffee"), np.arange(n) * 3 + 1, points[:n]), points[n:]


def recall(found: Rows, wanted: Rows) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, wanted, strict=True)]))


def test_the_library_is_not_hidden_by_the_module_of_the_same_name() -> None:
    assert _faiss.library() is library


@pytest.mark.parametrize("factory", ["PQ16x4fs,RFlat", "PQ16x4fs", "NSG16,Flat", "RQ2x4"])
def test_types_without_selectors_find_allowed_rows_only_and_enough_of_them(factory: str) -> None:
    vectors, queries = world()
    index = faiss.build(vectors, factory=factory)
    assert not index._selects
    for count in (3, 100, 1500):
        allow = np.sort(np.random.default_rng(count).choice(vectors.rows, count, replace=False))
        rows = index.search(queries, 10, allow=allow)[1]
        assert rows.shape == (20, min(10, count)) and np.isin(rows, allow).all()


@pytest.mark.parametrize("share", [0.003, 0.03, 0.3])
def test_graph_keeps_its_recall_under_filters(share: float) -> None:
    vectors, queries = world()
    allow = np.sort(np.random.default_rng(1).choice(vectors.rows, round(share * len(vectors)), replace=False))
    oracle, index = exact.build(vectors, device="cpu"), faiss.build(vectors, factory="HNSW16", ef=16)
    free, filtered = (
        recall(index.search(queries, 10, allow=some)[1], oracle.search(queries, 10, allow=some)[1])
        for some in (None, allow)
    )
    assert filtered >= free - 0.01 and free > 0.9


def test_lists_are_looked_through_until_k_are_found() -> None:
    vectors, queries = world()
    index = faiss.build(vectors, factory="IVF64,Flat", nprobe=1)
    scores, rows = index.search(queries, 1000)
    assert (rows >= 0).all() and np.isfinite(scores).all()


def test_more_probes_find_more() -> None:
    vectors, queries = world()
    wanted = exact.build(vectors, device="cpu").search(queries, 10)[1]
    index = faiss.build(vectors, factory="IVF64,Flat", nprobe=1)
    wide = index.tuned(replace(index.params, nprobe=64))
    assert recall(index.search(queries, 10)[1], wanted) < 0.8 < recall(wide.search(queries, 10)[1], wanted) == 1


def test_parameters_are_saved_with_the_index(tmp_path: Path) -> None:
    vectors, _ = world()
    index = faiss.build(vectors, factory="IVF16,Flat", nprobe=3, ef=5, refine=7, threads=2)
    index.save(tmp_path / "index")
    again = faiss.open(tmp_path / "index", vectors.space)
    assert again.params == faiss.Params(nprobe=3, ef=5, refine=7, threads=2) and again.factory == "IVF16,Flat"


@pytest.mark.parametrize("name", ["nprobe", "ef", "refine", "threads"])
def test_parameters_must_be_positive(name: str) -> None:
    with pytest.raises(BadSpec, match=f"{name} must be at least 1"):
        faiss.Params(**{name: 0})


def test_too_few_vectors_for_so_many_centroids_are_refused() -> None:
    vectors, _ = world(n=100)
    with pytest.raises(BadSpec, match=r"IVF256,Flat.* 100 vectors"):
        faiss.build(vectors, factory="IVF256,Flat")


@pytest.mark.parametrize(
    ("factory", "metric", "words"),
    [
        ("bogus", "l2", "could not parse"),
        ("PQ7", "l2", "multiple of the number of subquantizers"),
        ("HNSW16,PQ8", "cosine", "does not support the metric cosine"),
        ("LSH", "l2", "Hamming distances"),
        ("IDMap,Flat", "l2", "add_with_ids"),
        ("IVF16,FlatDedup", "l2", "cannot reconstruct vectors"),
    ],
)
def test_factories_that_would_answer_wrongly_are_refused(factory: str, metric: Metric, words: str) -> None:
    vectors, _ = world(metric, 300)
    with pytest.raises(BadSpec, match=words):
        faiss.build(vectors, factory=factory)


def test_threads_of_the_caller_are_given_back() -> None:
    vectors, queries = world(n=100)
    library.omp_set_num_threads(2)
    faiss.build(vectors, threads=1).search(queries, 3)
    assert library.omp_get_max_threads() == 2


def test_training_sample_is_the_same_every_time() -> None:
    vectors, queries = world()
    first, second = (faiss.build(vectors, factory="IVF32,Flat", train=1500, nprobe=2) for _ in range(2))
    assert (first.search(queries, 10)[1] == second.search(queries, 10)[1]).all()


@pytest.mark.parametrize("name", ["index.faiss", "rows.npy"])
def test_one_changed_byte_is_noticed(name: str, tmp_path: Path) -> None:
    vectors, _ = world(n=50)
    faiss.build(vectors).save(tmp_path / "index")
    file = tmp_path / "index" / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(BadCollection, match=f"{name} is damaged"):
        faiss.open(tmp_path / "index", vectors.space)


@pytest.mark.parametrize("change", [{"format": 2}, {"params": {"nprobe": 0}}, {"sha256": None}, {"factory": ...}])
def test_header_that_does_not_fit_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    vectors, _ = world(n=50)
    faiss.build(vectors).save(tmp_path / "index")
    file = tmp_path / "index" / "header.json"
    header = {**json.loads(file.read_text()), **change}
    file.write_text(json.dumps({key: value for key, value in header.items() if value is not ...}))
    with pytest.raises(BadCollection, match="index"):
        faiss.open(tmp_path / "index", vectors.space)


def test_space_is_checked_before_the_file_is_read(tmp_path: Path) -> None:
    vectors, _ = world(n=50)
    faiss.build(vectors).save(tmp_path / "index")
    (tmp_path / "index" / "index.faiss").unlink()
    with pytest.raises(SpaceMismatch):
        faiss.open(tmp_path / "index", replace(vectors.space, revision="0ther"))
    with pytest.raises(BadCollection):
        faiss.open(tmp_path / "index", vectors.space)


def test_what_stood_there_survives_a_save_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = world(n=50)
    index = faiss.build(vectors)
    index.save(tmp_path / "index")
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            index.save(tmp_path / "index")
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]
    assert (faiss.open(tmp_path / "index", vectors.space).search(queries, 3)[1] == index.search(queries, 3)[1]).all()


def test_equals_stand_by_row_number_in_full_answers_as_in_sorted_ones() -> None:
    rng = np.random.default_rng(3)
    scores = -np.sort(rng.integers(0, 6, (50, 8))).astype(np.float32)  # few values, many ties
    rows = np.stack([rng.permutation(8) for _ in range(50)])
    wanted = ranked(np.repeat(np.arange(50), 8), scores.ravel(), rows.ravel(), (50, 8))
    found = untied(scores.copy(), rows.copy())
    assert [each.tolist() for each in found] == [each.tolist() for each in wanted]
    assert found[0].dtype == np.float32 and found[1].dtype == np.int64


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "HNSW16"])
def test_of_equal_vectors_the_lower_row_comes_first(factory: str) -> None:
    data = np.repeat(np.eye(4, dtype=np.float32), 20, axis=0)
    index = faiss.build(Vectors(Space("made", 4, "l2", "c0ffee"), np.arange(80)[::-1].copy(), data), factory=factory)
    scores, rows = index.search(np.eye(4, dtype=np.float32), 20)
    assert (scores == 0).all() and rows.tolist() == [list(range(60 - 20 * n, 80 - 20 * n)) for n in range(4)]
