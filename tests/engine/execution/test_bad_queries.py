"""What a query cannot be is said in one line, before anything is searched; media may come as objects."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import quiver
from quiver.errors import BadSpec, QuiverError, SpaceMismatch
from quiver.types import Item, Query


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    collection = quiver.open(tmp_path_factory.mktemp("bad") / "shop", catch_up=False)
    collection.add_vectors(np.eye(3), ids=["a", "b", "c"], space="cos", progress=False)
    collection.add_vectors(np.eye(3), ids=["a", "b", "c"], space="far", metric="l2", progress=False)
    return collection


ONE = {"vectors": {"cos": [1, 0, 0]}}


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"k": "5"}, "k must be a whole number, not '5'"),
        ({"k": 2.5}, "k must be a whole number, not 2.5"),
        ({"k": True}, "k must be a whole number, not True"),
        ({"group_by": ["n"]}, r"group_by must be a string, not \['n'\]"),
        ({"index": ["faiss"]}, "index must be a string"),
        ({"scorer": {"a": 1}}, "scorer must be a string"),
        ({"recall": 5}, "recall must be a string"),
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"k": 2**31}, "k must be at most 2,147,483,647"),
        ({"offset": -1}, "offset must be at least 0"),
        ({"offset": "1"}, "offset must be a whole number"),
        ({"depth": "x"}, "depth must be a whole number"),
        ({"group_size": 1.5, "group_by": "n"}, "group_size must be a whole number"),
        ({"min_score": "high"}, "min_score must be a finite number or 'auto', not 'high'"),
        ({"budget_ms": "fast"}, "budget_ms must be a positive number"),
        ({"budget_ms": 0}, "budget_ms must be a positive number"),
        ({"weights": 5}, "weights must be a mapping from names to numbers"),
        ({"text": 5}, "text must be a string, not int"),
        ({"text": "\ud83d"}, "is not valid Unicode"),
        ({"text": b"\xff"}, "is not valid Unicode"),
        ({"vectors": [1, 0, 0]}, "vectors must be a mapping from space names to vectors"),
        ({"vectors": {"cos": "abc"}}, "the query vector for the space 'cos' must be numbers"),
        ({"vectors": {"cos": [0, 0, 0]}}, "the query in cos: the vector is all zeros"),
        ({"vectors": {"cos": [1, np.nan, 0]}}, "1 of its 3 numbers are missing or not finite"),
        ({"vectors": {"cos": [1e30, 0, 0]}}, r"has the length 1e\+30, and float32 allows at most 1e\+18"),
        ({"vectors": {"cos": [1e300, 0, 0]}}, "not finite"),
        ({"vectors": {"far": [1e-30, 0, 0]}}, "has the length 1e-30, and float32 needs at least 1e-18"),
        ({"vectors": {"cos": [[1, 0, 0], [0, 0, 0]]}}, "all zeros"),
        ({"vectors": {"cos": np.ones((2, 2, 3))}}, r"not an array of shape \(2, 2, 3\)"),
        ({"vectors": {"cos": [1, 0]}}, "takes vectors of dimension 3, not 2"),
    ],
    ids=repr,
)
def test_what_a_query_cannot_be_is_one_line(shop, ask, says):
    with pytest.raises((BadSpec, SpaceMismatch), match=says) as refused:
        shop.search(**{**ONE, **ask})
    assert "\n" not in str(refused.value)


def test_a_vector_of_zeros_may_be_asked_for_where_distances_count(shop):
    assert shop.search(vectors={"far": [0, 0, 0]}, k=1)[0].score == -1.0


def test_the_bad_one_of_many_queries_is_named(shop):
    with pytest.raises(BadSpec, match=r"queries\[1\]: the query in cos"):
        shop.search_batch(vectors={"cos": [[1, 0, 0], [0, 0, 0]]}, k=1)


def test_a_query_is_given_whole_or_in_keywords_but_not_both(shop):
    query = Query(vectors={"cos": [1, 0, 0]}, k=2)
    for ask in (shop.search, shop.pages, shop.explain):
        with pytest.raises(BadSpec, match="a Query or keywords, not both: put k into the Query"):
            ask(query, k=5)
    with pytest.raises(BadSpec, match="a list of queries or keywords, not both: put k into each Query"):
        shop.search_batch([query], k=5)
    assert len(shop.search(query)) == 2 and [len(each) for each in shop.search_batch(each for each in [query])] == [2]


@pytest.mark.parametrize("odd", ["red dress", Item("x", {}), {"text": "x"}, 5], ids=repr)
def test_what_is_no_query_is_refused_with_an_example(shop, odd):
    with pytest.raises(BadSpec, match="a query is a Query, or keywords such as text="):
        shop.search(odd)
    with pytest.raises(BadSpec, match=r"search_batch takes a list|a query is a Query"):
        shop.search_batch(odd)


def test_whole_numbers_of_numpy_count(shop):
    assert len(shop.search(**ONE, k=np.int64(2), offset=np.int8(1))) == 2


def test_text_in_bytes_is_text():
    assert Query({"text": b"caf\xc3\xa9"}).media["text"] == "café"
    assert Query({"text": ["a", b"b"]}).media["text"] == ["a", "b"]


def test_a_picture_may_be_asked_with_as_an_object(tmp_path, photos):
    collection = quiver.open(tmp_path / "shop", catch_up=False)
    collection.add(photos, workers=0, progress=False)
    path = Path(photos) / "red0.png"
    picture = Image.open(path)
    forms = [str(path), path, picture, np.array(picture), path.read_bytes(), bytearray(path.read_bytes())]
    for form in forms:
        assert collection.search(image=form, k=1).ids == ("photos/red0.png",)
    together = collection.search_batch([Query({"image": form}, k=1) for form in forms])
    assert set(together.ids) == {("photos/red0.png",)}
    assert collection.search(image=[picture, np.array(picture)], k=1).ids == ("photos/red0.png",)
    for odd in (np.array(picture) / 255, np.zeros((0, 0, 3), np.uint8), 5, io.StringIO("x"), b"no picture"):
        with pytest.raises(QuiverError) as refused:
            collection.search(image=odd)
        assert "\n" not in str(refused.value)


def test_an_array_of_ids_is_a_list_of_ids(shop):
    assert "a" not in shop.search(**ONE, exclude=np.array(["a"])).ids
    assert shop.search(**ONE, candidates=np.array(["b"])).ids == ("b",)


def test_a_batch_of_vectors_without_a_space_is_refused_in_one_line(shop):
    with pytest.raises(BadSpec, match="vectors by the name of their space"):
        shop.search_batch(vectors=np.eye(3))


def test_threshold_names_the_query_that_is_none(shop):
    with pytest.raises(BadSpec, match="threshold takes queries as a list of Query"):
        shop.threshold([ONE], ["a"])
    for rate in (0, 5, -1, float("nan")):
        with pytest.raises(BadSpec, match="rate must be a share between 0 and 1"):
            shop.threshold([Query(**ONE)], ["a"], rate=rate)
    with pytest.raises(BadSpec, match=r"threshold takes rate as a number, not '0\.1'"):
        shop.threshold([Query(**ONE)], ["a"], rate="0.1")
