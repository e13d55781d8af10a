"""Vectors from Python arrays: added with ids and metadata, refused in one line where something does not match."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import quiver
from quiver.errors import BadData, BadSpec

N, DIM = 50, 8
IDS = [f"item{n}" for n in range(N)]


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(N, DIM))


@pytest.fixture
def shop(tmp_path):
    return quiver.open(tmp_path / "shop", catch_up=False)


@pytest.mark.parametrize(
    "meta",
    [
        {"price": list(range(N))},
        [{"price": n} for n in range(N)],
        pa.table({"price": pa.array(range(N), pa.int64())}),
    ],
)
def test_an_array_is_found_by_its_vectors_and_its_metadata(shop, vectors, meta):
    report = shop.add_vectors(vectors, ids=IDS, space="mine", meta=meta, progress=False)
    assert (report.added, report.embedded, report.quarantined) == (N, N, 0)
    hits = shop.search(vectors={"mine": vectors[7]}, where="price > 3", k=3)
    assert hits.ids[0] == "item7" and hits[0].meta == {"price": 7}


def test_the_same_ids_get_new_vectors_and_other_ids_are_added(shop, vectors):
    shop.add_vectors(vectors, ids=IDS, space="mine", progress=False)
    report = shop.add_vectors(-vectors[:5], ids=[*IDS[:4], "new"], space="mine", progress=False)
    assert (report.added, report.embedded, len(shop)) == (1, 5, N + 1)
    assert shop.search(vectors={"mine": -vectors[2]}, k=1).ids == ("item2",)
    assert any(note.startswith("4 items have new vectors in mine") for note in report.notes)


def test_vectors_that_are_not_finite_are_quarantined_and_the_others_added(shop, vectors):
    vectors[3, 2], vectors[9] = np.nan, np.inf
    report = shop.add_vectors(vectors.tolist(), ids=IDS, space="mine", progress=False)
    assert (report.added, report.quarantined) == (N - 2, 2)
    assert {each["id"] for each in shop.info()["quarantine"]} == {"item3", "item9"}


@pytest.mark.parametrize(
    ("ids", "meta", "says"),
    [
        (None, None, r"need ids, one for each row"),
        (IDS[:-1], None, "49 ids for 50 vectors"),
        ("item", None, "not the text 'item'"),
        ([*IDS[:-1], "item0"], None, "'item0' is repeated"),
        ([*IDS[:-1], ""], None, "an id is empty"),
        (list(range(N)), None, "ids must be text, not 0"),
        (IDS, {"price": [1]}, "1 rows of metadata for 50 vectors"),
        (IDS, 7, "metadata must be a mapping of columns"),
        (IDS, {"a": [b"x"] * N}, "metadata column 'a' has type binary"),
        (IDS, {"a.b": [1] * N}, "metadata cannot be called 'a.b'"),
        (IDS, {"_rowid": [1] * N}, "metadata cannot be called '_rowid'"),
        (IDS, {"Price": [1] * N, "price": [1] * N}, "differ only in upper and lower case"),
        (IDS, [{"a": "cut \ud83d"}] * N, "half a surrogate pair"),
        ([*IDS[:-1], "\ud83d"], None, "half a surrogate pair"),
    ],
)
def test_what_does_not_match_is_refused_in_one_line(shop, vectors, ids, meta, says):
    with pytest.raises((BadData, BadSpec), match=says) as problem:
        shop.add_vectors(vectors, ids=ids, space="mine", meta=meta, progress=False)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_vectors_that_are_all_bad_are_all_quarantined(shop, bad):
    report = shop.add_vectors(np.full((3, 8), bad), ids=list("abc"), space="mine", progress=False)
    assert (report.added, report.quarantined) == (0, 3)


@pytest.mark.parametrize("odd", [np.zeros(5), np.zeros((5, 0)), [["a"]], [[1.0], [1.0, 2.0]], None])
def test_what_is_no_matrix_is_refused(shop, odd):
    with pytest.raises(BadData, match=r"vectors must be \(n, dim\) numbers"):
        shop.add_vectors(odd, ids=["a"], space="mine", progress=False)


def test_ids_for_a_file_are_refused(shop, tmp_path, vectors):
    np.save(tmp_path / "v.npy", vectors)
    with pytest.raises(BadSpec, match="ids apply to an array"):
        shop.add_vectors(tmp_path / "v.npy", ids=IDS, space="mine")


@pytest.mark.parametrize(
    ("space", "data", "options"),
    [
        ("mine", np.eye(8), {"metric": "l2"}),
        ("mine", np.eye(8), {"metric": "dot", "key": "text"}),
        ("mine", np.eye(5), {}),
        ("mine", np.eye(5), {"key": "text"}),
        ("two words", np.eye(8), {}),
    ],
)
def test_vectors_of_another_space_are_refused_and_nothing_changes(shop, space, data, options):
    shop.add_vectors(np.eye(8), ids=IDS[:8], space="mine", progress=False)
    shop.add_vectors(np.eye(8), ids=IDS[:8], space="two_words", progress=False)
    version = shop.info()["version"]
    with pytest.raises(BadData, match=r"not go into the space '(mine|two_words)' .8 wide, cosine, ready-made.: give"):
        shop.add_vectors(data, ids=IDS[: len(data)], space=space, meta=[{"new": 1}] * len(data), **options)
    assert shop.info()["version"] == version


@pytest.mark.parametrize("space", ["", " ", "a\nb", "x" * 201, 5, None])
def test_a_space_has_a_name_that_can_be_seen(shop, space):
    with pytest.raises(BadSpec, match="the name of a space has 1 to 200 visible characters"):
        shop.add_vectors(np.eye(8), ids=IDS[:8], space=space)


@pytest.mark.parametrize(
    ("metric", "length", "reason"),
    [
        ("cosine", 1e30, r"1e\+30, and float32 allows at most 1e\+18"),
        ("dot", 1e19, "at most"),
        ("l2", 3e38, "at most"),
        ("cosine", 1e-30, "1e-30, and float32 needs at least 1e-18"),
        ("dot", 1e-39, "at least 1e-18"),
        ("l2", 1e-20, "at least 1e-18"),
        ("cosine", 0, "all zeros, which has no direction"),
        ("l2", 0, None),
        ("dot", 0, None),
        ("cosine", 1e17, None),
        ("l2", 1e-17, None),
    ],
)
@pytest.mark.parametrize("form", ["array", "npy", "parquet"])
def test_a_vector_that_no_index_can_compare_is_quarantined_and_the_rest_is_found(
    shop, tmp_path, metric, length, reason, form
):
    data = np.eye(8)
    data[3] *= length
    names = [f"v#{n}" for n in range(8)]
    if form == "array":
        report = shop.add_vectors(data, ids=names, space="mine", metric=metric, progress=False)
    else:
        if form == "npy":
            np.save(tmp_path / "v.npy", data)
        else:
            pq.write_table(pa.table({"id": names, "vector": list(data)}), tmp_path / "v.parquet")
        report = shop.add_vectors(tmp_path / f"v.{form}", space="mine", metric=metric, progress=False)
    found = shop.info()["quarantine"]
    assert (report.quarantined, len(found)) == ((1, 1) if reason else (0, 0))
    if reason:
        assert found[0]["id"] == "v#3" and re.search(reason, found[0]["reason"])
    assert shop.search(vectors={"mine": data[5]}, k=1).ids == ("v#5",)
