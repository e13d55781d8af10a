"""Vectors in every format come back as they were written, and recall counts what is equally near."""

import gzip
import struct
import tracemalloc

import h5py
import numpy as np
import pytest

from quiver.benchmarks.datasets import _array, ann, fashion_mnist, sift100k
from quiver.errors import BadData, BadSpec
from quiver.registry import load

RNG = np.random.default_rng(4)
BASE = RNG.integers(0, 200, (50, 7)).astype(np.uint8)
QUERIES = RNG.integers(0, 200, (6, 7)).astype(np.uint8)


def brute(base, queries, metric):
    """(q, n) float64 distances, written another way than in the code."""
    base, queries = base.astype(float), queries.astype(float)
    if metric == "l2":
        return np.array([[np.linalg.norm(b - q) for b in base] for q in queries])
    if metric == "dot":
        return -queries @ base.T
    return 1 - (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (base / np.linalg.norm(base, axis=1)[:, None]).T


TRUTH = np.argsort(brute(BASE, QUERIES, "l2"), axis=1, kind="stable")[:, :10]


def write_vecs(path, rows, kind):
    with path.open("wb") as file:
        for row in rows:
            file.write(struct.pack("<i", len(row)) + np.asarray(row, kind).tobytes())


def write_hdf5(path, metric, **layout):
    order = np.argsort(brute(BASE, QUERIES, {"euclidean": "l2", "angular": "cosine"}[metric]), axis=1)[:, :10]
    with h5py.File(path, "w") as file:
        file.attrs["distance"] = metric
        file.create_dataset("train", data=BASE.astype(np.float32), **layout)
        file.create_dataset("test", data=QUERIES.astype(np.float32))
        file.create_dataset("neighbors", data=order.astype(np.int32))


@pytest.mark.parametrize(("suffix", "kind"), [(".fvecs", "<f4"), (".bvecs", "u1"), (".ivecs", "<i4")])
def test_vecs_files_are_mapped_and_hold_what_was_written(tmp_path, suffix, kind):
    write_vecs(tmp_path / f"a{suffix}", BASE, kind)
    found = _array.read(tmp_path / f"a{suffix}", ())
    np.testing.assert_array_equal(found, BASE.astype(kind))
    assert found.dtype == np.dtype(kind)
    assert not found.flags.writeable


def test_a_vecs_row_is_laid_out_as_published(tmp_path):
    (tmp_path / "two.fvecs").write_bytes(struct.pack("<i2fi2f", 2, 1.5, -2.0, 2, 0.25, 8.0))
    np.testing.assert_array_equal(_array.read(tmp_path / "two.fvecs", ()), [[1.5, -2.0], [0.25, 8.0]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack("<i2fi1f", 2, 1, 2, 2, 3), "not a whole number of rows"),
        (struct.pack("<i2fi2f", 2, 1, 2, 3, 4, 5), "row 1 has dimension 3 and the first one 2"),
        (b"", "has no vectors"),
        (struct.pack("<i2f", -7, 1, 2), "not a whole number of rows"),
    ],
)
def test_a_broken_vecs_file_is_refused(tmp_path, content, message):
    (tmp_path / "bad.fvecs").write_bytes(content)
    with pytest.raises(BadData, match=message):
        _array.read(tmp_path / "bad.fvecs", ())


def test_the_formats_agree_on_one_data_set(tmp_path):
    write_vecs(tmp_path / "x_base.bvecs", BASE, "u1")
    write_vecs(tmp_path / "x_query.bvecs", QUERIES, "u1")
    write_vecs(tmp_path / "x_groundtruth.ivecs", TRUTH, "<i4")
    write_hdf5(tmp_path / "x.hdf5", "euclidean")
    np.savez(tmp_path / "whole.npz", base=BASE, queries=QUERIES, neighbors=TRUTH)
    np.savez_compressed(tmp_path / "packed.npz", train=BASE, test=QUERIES, neighbours=TRUTH)
    np.save(tmp_path / "base.npy", BASE)
    np.savez(tmp_path / "rest.npz", queries=QUERIES, rows=TRUTH)
    specs = (
        "ann base={0}/x_base.bvecs queries={0}/x_query.bvecs truth={0}/x_groundtruth.ivecs",
        "ann base={0}/x.hdf5",
        "ann base={0}/whole.npz",
        "ann base={0}/packed.npz",
        "ann base={0}/base.npy queries={0}/rest.npz metric=l2",
    )
    tasks = [load("benchmarks.datasets", spec.format(tmp_path), entry="neighbours") for spec in specs]
    for task in tasks:
        np.testing.assert_array_equal(task.base, BASE)
        np.testing.assert_array_equal(task.queries, QUERIES)
        np.testing.assert_array_equal(task.distances(task.rows), np.sort(brute(BASE, QUERIES, "l2"))[:, :10])
    assert {task.metric for task in tasks} == {"l2"}
    assert len({task.revision for task in tasks}) == len(tasks)


def test_a_large_base_stays_on_disk(tmp_path):
    rows = np.zeros((4000, 1000), np.float32)
    rows[:, 0] = np.arange(4000)
    np.savez(tmp_path / "big.npz", base=rows, queries=rows[:3], neighbors=np.arange(3)[:, None])
    with h5py.File(tmp_path / "big.hdf5", "w") as file:
        for name, data in {"train": rows, "test": rows[:3], "neighbors": np.arange(3)[:, None]}.items():
            file.create_dataset(name, data=data)
    np.concatenate([np.full((4000, 1), 1000, np.int32), rows.view(np.int32)], axis=1).tofile(tmp_path / "big.fvecs")
    asked = tmp_path / "big.npz"
    for options in (
        {"base": asked},
        {"base": tmp_path / "big.hdf5"},
        {"base": tmp_path / "big.fvecs", "queries": asked},
    ):
        tracemalloc.start()
        task = ann.neighbours(**options)
        recall = task.recall(np.arange(3)[:, None], k=1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert recall.tolist() == [1, 1, 1]
        assert task.base[3999, 0] == 3999
        assert peak < rows.nbytes / 4, f"{name} took {peak} bytes of {rows.nbytes}"


def test_a_chunked_hdf5_dataset_is_read_all_the_same(tmp_path):
    write_hdf5(tmp_path / "a.hdf5", "angular", chunks=(10, 7), compression="gzip")
    task = ann.neighbours(base=tmp_path / "a.hdf5")
    np.testing.assert_array_equal(task.base, BASE)
    assert task.metric == "cosine"
    np.testing.assert_allclose(task.distances(task.rows), np.sort(brute(BASE, QUERIES, "cosine"))[:, :10], atol=1e-12)


@pytest.mark.parametrize("metric", ["l2", "cosine", "dot"])
def test_a_missing_truth_is_found_by_comparing_everything(tmp_path, metric):
    np.savez(tmp_path / "a.npz", base=BASE, queries=QUERIES)
    task = ann.neighbours(base=tmp_path / "a.npz", metric=metric, depth=5)
    np.testing.assert_allclose(
        task.distances(task.rows), np.sort(brute(BASE, QUERIES, metric), axis=1)[:, :5], atol=1e-9
    )
    assert "true neighbours found here by exact search" in task.notes


def line(*places):
    """A base of points on a line, asked from 0, and all of them in order of distance."""
    base = np.array(places, np.float32)[:, None]
    order = np.argsort(np.abs(base[:, 0]), kind="stable")[None]
    return ann.Neighbours("line", "0", base, np.zeros((1, 1), np.float32), order, "l2", "made")


def test_equally_near_rows_count_alike():
    task = line(1, 2, -2, 3)  # rows 1 and 2 are equally near
    assert task.recall(np.array([[0, 2]]), k=2) == 1.0
    assert task.recall(np.array([[0, 1]]), k=2) == 1.0
    assert task.recall(np.array([[0, 3]]), k=2) == 0.5
    assert task.recall(np.array([[2, 1]]), k=1) == 0.0  # only the first place is looked at


def test_recall_counts_a_row_once_and_missing_rows_as_misses():
    task = line(1, 2, 3, 4)
    assert task.recall(np.array([[0, 0, 0]]), k=3) == pytest.approx(1 / 3)
    assert task.recall(np.array([[2, -1, -1]]), k=3) == pytest.approx(1 / 3)
    assert task.recall(np.array([[1, 0]]), k=4) == 0.5
    assert task.recall(np.empty((1, 0), np.int64), k=2) == 0.0
    with pytest.raises(BadData, match="outside 0 to 3"):
        task.recall(np.array([[4]]), k=1)
    with pytest.raises(BadSpec, match="from 1 to 4"):
        task.recall(np.array([[0]]), k=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": QUERIES[:, :5]}, "the base is 7 wide and the queries 5"),
        ({"neighbors": TRUTH[:4]}, "true neighbours of 4 queries, but 6 queries"),
        ({"neighbors": TRUTH + 45}, "row numbers from 0 to 49"),
        ({"neighbors": TRUTH[:, ::-1]}, "not nearest first under l2"),
        ({"neighbors": np.argsort(brute(BASE, QUERIES, "dot"))[:, :10]}, "or metric= is another one"),
        ({"base": BASE[0]}, "base must be a table of numbers"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, change, message):
    np.savez(tmp_path / "a.npz", **({"base": BASE, "queries": QUERIES, "neighbors": TRUTH} | change))
    with pytest.raises(BadData, match=message):
        ann.neighbours(base=tmp_path / "a.npz", metric="l2")


def test_files_that_cannot_be_read_are_named(tmp_path):
    np.save(tmp_path / "base.npy", BASE)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "base.npy").read_bytes()[:-40])
    (tmp_path / "no.hdf5").write_text("no")
    np.savez(tmp_path / "other.npz", things=BASE)
    for options, message in (
        ({"base": tmp_path / "base.npy"}, "has no queries: name their file with queries="),
        ({"base": tmp_path / "none.npy"}, "there is no file"),
        ({"base": tmp_path / "base.csv"}, "arrays are read from"),
        ({"base": tmp_path / "cut.npy"}, "cut.npy is not a whole .npy file"),
        ({"base": tmp_path / "no.hdf5"}, "no.hdf5 is not a whole .hdf5 file"),
        ({"base": tmp_path / "other.npz"}, "has no array called train or base"),
    ):
        with pytest.raises(BadData, match=message):
            ann.neighbours(**options)


def write_mnist(folder, pictures, labels):
    shape = struct.pack(">4I", 0x803, *pictures.shape)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(shape + pictures.tobytes()))
    header = struct.pack(">2I", 0x801, len(labels))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + bytes(labels)))


def test_small_pictures_become_files_and_questions(tmp_path):
    pictures = RNG.integers(0, 256, (12, 28, 28)).astype(np.uint8)
    write_mnist(tmp_path, pictures, [0, 1, 2] * 4)
    task = fashion_mnist.load(folder=tmp_path, cache=tmp_path / "png", split="all", partial=True)
    assert [len(question.relevant) for question in task.questions] == [3] * 12
    assert task.questions[4].relevant.keys() == {"00001", "00007", "00010"}
    from PIL import Image

    with Image.open(task.items[11].media["image"]) as picture:
        np.testing.assert_array_equal(picture, pictures[11])
    with pytest.raises(BadData, match="12 pictures, expected 60,000"):
        fashion_mnist.load(folder=tmp_path, cache=tmp_path / "png")


def test_a_cut_off_idx_file_is_refused(tmp_path):
    write_mnist(tmp_path, np.zeros((3, 28, 28), np.uint8), [0, 1, 2])
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(struct.pack(">4I", 0x803, 3, 28, 28) + b"1"))
    with pytest.raises(BadData, match="is not a whole idx file"):
        fashion_mnist.load(folder=tmp_path, cache=tmp_path, partial=True)


@pytest.mark.data
def test_sift100k_agrees_with_its_own_distances(packs):
    folder = packs / "sift100k"
    task = sift100k.neighbours(split="all", folder=folder)
    assert (task.base.shape, task.base.dtype) == ((100_000, 128), np.uint8)
    assert (task.queries.shape, task.rows.shape) == ((1000, 128), (1000, 100))
    with np.load(folder / "queries.npz") as file:
        np.testing.assert_allclose(task.distances(task.rows) ** 2, file["sq_distances"], atol=1e-6)
    few = task.first(20)
    np.testing.assert_array_equal(ann.compared(few, depth=100).rows, few.rows)
    assert few.recall(few.rows[:, ::-1], k=100).tolist() == [1.0] * 20
    halves = [sift100k.neighbours(split=split, folder=folder) for split in ("validation", "test")]
    np.testing.assert_array_equal(np.concatenate([half.queries for half in halves]), task.queries)


@pytest.mark.data
def test_fashion_mnist_has_its_counts(packs, tmp_path):
    folder = packs / "fashion_mnist"
    task = fashion_mnist.load(folder=folder, cache=tmp_path, split="validation", track="text")
    assert (len(task.items), task.items[0].id, task.items[-1].id) == (5000, "50000", "54999")
    assert sum(len(question.relevant) for question in task.questions) == 5000
    first = {item.id: item.meta["class"] for item in task.items[:5]}
    near = fashion_mnist.neighbours(folder=folder, queries=3, depth=5)
    assert (near.base.shape, near.queries.shape, near.rows.shape) == ((50_000, 784), (3, 784), (3, 5))
    exact = np.argsort(((near.base.astype(np.int32) - near.queries[1].astype(np.int32)) ** 2).sum(1), kind="stable")
    assert near.rows[1].tolist() == exact[:5].tolist()
    assert set(first.values()) <= set(fashion_mnist.CLASSES)
