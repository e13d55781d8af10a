"""What is particular to Lance: columns of other people's datasets, and answers it leaves incomplete."""

import gc
import time
from pathlib import Path
from typing import Any

import lance as library
import numpy as np
import pyarrow as pa
import pytest

from quiver.errors import BadCollection, BadData, BadSpec, SpaceMismatch
from quiver.indexers import exact, lance
from quiver.types import METRICS, Floats, Metric, Rows, Space, Vectors

DIM, N = 16, 4000
COLUMN = "emb__made/one"


def space(metric: Metric = "cosine") -> Space:
    return Space("made", DIM, metric, "c0ffee")


def points(n: int, seed: int = 8) -> Floats:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(30, DIM))
    return (centres[rng.integers(0, 30, n)] + rng.normal(size=(n, DIM))).astype(np.float32)


def table(data: Floats, start: int = 0) -> pa.Table:
    """A table whose every fifth vector is null, the first among them."""
    holes = pa.array((np.arange(len(data)) + start) % 5 == 0)
    column = pa.FixedSizeListArray.from_arrays(pa.array(data.ravel()), DIM, mask=holes)
    return pa.table({"id": np.arange(len(data)) + start, COLUMN: column})


@pytest.fixture(params=[True, False], ids=["stable", "addresses"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Three fragments with nulls and deletions; row ids are stable ones or addresses."""
    made = library.write_dataset(
        table(points(N)), tmp_path / "data", enable_stable_row_ids=request.param, max_rows_per_file=1500
    )
    made.delete("id % 7 = 3")
    return made


def held(dataset: Any, metric: Metric = "cosine") -> Vectors:
    """What a reader of the dataset sees."""
    seen = dataset.to_table(columns=["id", COLUMN], with_row_id=True, filter=f"`{COLUMN}` IS NOT NULL")
    data = seen[COLUMN].combine_chunks().flatten().to_numpy().reshape(-1, DIM)
    return Vectors(space(metric), seen["_rowid"].to_numpy().astype(np.int64), data)


def agree(index: Any, vectors: Vectors, k: int = 10, allow: Rows | None = None, *, recall: float = 1.0) -> None:
    queries = points(20, seed=77)
    scores, rows = index.search(queries, k, allow=allow)
    wanted_scores, wanted = exact.build(vectors, device="cpu").search(queries, k, allow=allow)
    assert rows.shape == wanted.shape and np.isfinite(scores).all()
    assert np.mean([np.isin(a, b).mean() for a, b in zip(rows, wanted, strict=True)]) >= recall
    assert (scores <= wanted_scores + 1e-4 * np.abs(wanted_scores).max()).all()


@pytest.mark.parametrize("metric", METRICS)
def test_column_of_a_dataset_is_searched_by_row_id(dataset: Any, metric: Metric) -> None:
    vectors = held(dataset, metric)
    index = lance.over(dataset, COLUMN, space(metric), kind="IVF_FLAT", partitions=8)
    assert set(index.rows) == set(vectors.rows) and len(index) == len(vectors)
    agree(index, vectors)  # 16 probes: all 8 partitions
    agree(index, vectors, k=N)


def test_filter_may_name_deleted_null_and_unknown_rows(dataset: Any) -> None:
    vectors = held(dataset)
    index = lance.over(dataset, COLUMN, space(), kind="IVF_FLAT", partitions=8)
    for some in (vectors.rows[:4], vectors.rows[::40], vectors.rows[::3]):
        agree(index, vectors, allow=np.union1d(some, [0, 3, 10**9, 2**35 + 8, 2**50]))


def test_rows_appended_after_the_index_are_found(dataset: Any) -> None:
    lance.over(dataset, COLUMN, space(), partitions=8)
    more = points(300, seed=5)
    grown = library.write_dataset(table(more, start=N), dataset.uri, mode="append")
    index = lance.attach(grown, COLUMN, space())
    agree(index, held(grown), recall=0.97)
    row = index.search(more[7:8], 1)[1][0, 0]
    assert grown.to_table(columns=["id"], with_row_id=True, filter=f"_rowid = {row}")["id"].to_pylist() == [N + 7]


def test_column_without_an_index_is_compared_exactly(dataset: Any) -> None:
    vectors = held(dataset)
    index = lance.attach(dataset, COLUMN, space())
    agree(index, vectors)
    agree(index, vectors, allow=np.sort(vectors.rows[::3]))


def test_column_without_a_vector_finds_nothing(tmp_path: Path) -> None:
    empty = pa.array([None] * 10, pa.list_(pa.float32(), DIM))
    made = library.write_dataset(pa.table({"id": range(10), COLUMN: empty}), tmp_path / "data")
    index = lance.over(made, COLUMN, space())
    assert len(index) == 0
    assert index.search(points(2), 5)[1].shape == (2, 0)


def test_selective_filters_keep_their_recall(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    vectors = Vectors(space("l2"), np.arange(12_000), points(12_000))
    index = lance.build(vectors, kind="IVF_RQ", partitions=64, nprobe=8)
    for count in (600, 1200, 6000):  # all more than are simply compared
        agree(index, vectors, allow=np.sort(rng.choice(12_000, count, replace=False)), recall=0.96)


def test_zero_vectors_that_lance_leaves_out_are_found() -> None:
    data = points(1000)
    data[5] = 0
    index = lance.build(Vectors(space(), np.arange(1000), data), partitions=4, refine=1)
    scores, rows = index.search(points(3, seed=1), 1000)
    assert (scores[rows == 5] == 0).all() and (np.sort(rows) == np.arange(1000)).all()


@pytest.mark.parametrize(
    ("column", "asked", "error", "words"),
    [
        ("nothing", space(), BadData, "it has id, emb__made/one"),
        ("id", space(), SpaceMismatch, "has type int64"),
        (COLUMN, Space("made", 8, "cosine", "c0ffee"), SpaceMismatch, "has type fixed_size_list"),
        (COLUMN, space("l2"), SpaceMismatch, "compares by cosine"),
    ],
)
def test_column_that_does_not_fit_is_refused(
    column: str, asked: Space, error: type[Exception], words: str, tmp_path: Path
) -> None:
    made = library.write_dataset(table(points(600)), tmp_path / "data")
    lance.over(made, COLUMN, space(), kind="IVF_FLAT")
    with pytest.raises(error, match=words):
        lance.attach(made, column, asked)


def test_width_that_a_kind_cannot_hold_is_refused() -> None:
    vectors = Vectors(Space("made", 12, "l2", "c0ffee"), np.arange(300), points(225).reshape(300, 12))
    with pytest.raises(BadSpec, match=r"IVF_RQ .*divisible by 8 for IVF_RQ$"):
        lance.build(vectors, kind="IVF_RQ")


@pytest.mark.parametrize("name", ["nprobe", "ef", "refine"])
def test_parameters_must_be_positive(name: str) -> None:
    with pytest.raises(BadSpec, match=f"{name} must be at least 1"):
        lance.Params(**{name: 0})


def test_temporary_dataset_goes_with_its_last_index() -> None:
    index: Any = lance.build(Vectors(space(), np.arange(20), points(20)))
    folder = Path(index.dataset.uri)
    tuned = index.tuned(lance.Params(nprobe=2))
    del index
    gc.collect()
    assert tuned.search(points(1), 3)[1].shape == (1, 3) and folder.exists()
    del tuned
    ends = time.monotonic() + 60
    while folder.parent.exists() and time.monotonic() < ends:  # a thread of Lance may let go of it a little later
        gc.collect()
        time.sleep(0.01)
    assert not folder.exists() and not folder.parent.exists()


def test_dataset_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    vectors = Vectors(space(), np.arange(20), points(20))
    index = lance.build(vectors, nprobe=5, path=tmp_path / "here")
    index.save(tmp_path / "here")  # where it is already
    again = lance.open(tmp_path / "here", space())
    assert again.params == lance.Params(nprobe=5)
    assert (again.search(points(3), 4)[1] == index.search(points(3), 4)[1]).all()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "diary.txt").write_text("mine")
    with pytest.raises(BadSpec, match="something else"):
        lance.build(vectors, path=tmp_path / "other")


def test_what_is_not_an_index_of_quiver_is_refused(tmp_path: Path) -> None:
    library.write_dataset(table(points(10)), tmp_path / "data")
    for path in (tmp_path / "data", tmp_path / "nothing"):
        with pytest.raises(BadCollection, match="not a Lance index of Quiver"):
            lance.open(path, space())


def test_index_of_a_collection_is_not_saved_apart(dataset: Any, tmp_path: Path) -> None:
    with pytest.raises(BadCollection, match="is a part of"):
        lance.attach(dataset, COLUMN, space()).save(tmp_path / "copy")
