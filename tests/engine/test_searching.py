"""The keywords of searches: written out, one vector without the name of its space, current and old names."""

import inspect
from dataclasses import fields, replace

import numpy as np
import pytest

import quiver
from quiver.errors import BadSpec
from quiver.types import MEDIA, NEGATIVES, THE_SPACE, Query

METHODS = ("search", "search_batch", "pages", "explain")


@pytest.fixture
def circle(tmp_path):
    """Ten vectors, 10 degrees apart, with a brand and a price."""
    angles = np.radians(np.arange(0, 100, 10))
    collection = quiver.open(tmp_path / "circle", catch_up=False)
    meta = {"price": list(range(10)), "brand": ["it's a", "b"] * 5}
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    collection.add_vectors(vectors, ids=[f"v{n}" for n in range(10)], meta=meta, space="mine")
    return collection


def at(degrees):
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_every_keyword_of_a_query_is_in_the_signature(method):
    named = set(inspect.signature(getattr(quiver.Collection, method)).parameters) - {"self", "query", "queries"}
    every = {"vector", "limit", "group", "per_group", *MEDIA, *NEGATIVES, *(each.name for each in fields(Query))}
    every -= {"media", "unlike_media"}
    assert named == (every - {*MEDIA, *NEGATIVES, "like", "unlike"} if method == "search_batch" else every)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("keyword", [{"k": 5}, {"where": "price > 3"}, {"hybrid": False}, {"spaces": []}])
def test_a_query_together_with_keywords_is_refused_by_name(circle, method, keyword):
    query = Query(vector=at(0))
    with pytest.raises(BadSpec, match=rf"not both: put {next(iter(keyword))} into"):
        list(getattr(circle, method)([query] if method == "search_batch" else query, **keyword))


def test_a_vector_needs_no_name_where_there_is_one_space(circle):
    named = circle.search(vectors={"mine": at(42)}, k=3)
    assert circle.search(vector=at(42), k=3).ids == named.ids == ("v4", "v5", "v3")
    assert circle.search(vector=at(42).tolist(), k=3).ids == named.ids
    assert circle.search(Query(vector=at(42), k=3)).ids == named.ids
    assert circle.search(replace(Query(vector=at(42)), k=3)).ids == named.ids
    assert circle.explain(vector=at(42), k=3) == named.plan
    assert [page.ids for page in circle.pages(vector=at(0), k=6)] == [
        tuple(f"v{n}" for n in range(6)),
        tuple(f"v{n}" for n in range(6, 10)),
    ]


def test_several_vectors_of_one_query_combine_by_the_best(circle):
    assert set(circle.search(vector=np.stack([at(0), at(90)]), k=2).ids) == {"v0", "v9"}


def test_a_batch_of_vectors_needs_no_name_either(circle):
    queries = np.stack([at(11), at(69)])
    assert circle.search_batch(vector=queries, k=2).ids == [("v1", "v2"), ("v7", "v6")]
    both = [Query(vector=at(11), k=2), Query(vectors={"mine": at(69)}, k=2)]
    assert circle.search_batch(both).ids == [("v1", "v2"), ("v7", "v6")]
    with pytest.raises(BadSpec, match="vector or vectors, not both"):
        circle.search_batch(vector=queries, vectors={"mine": queries})


def test_a_vector_that_fits_several_spaces_names_them(circle):
    circle.add_vectors(np.eye(3), ids=["v0", "v1", "v2"], space="other")
    with pytest.raises(BadSpec, match=r"one space with vectors, and there are 2: mine \(2\), other \(3\); name one"):
        circle.search(vector=at(0))
    assert circle.search(vector=at(42), spaces="mine", k=1).ids == ("v4",)
    assert circle.search(vector=[0, 1, 0], spaces="other", k=1).ids == ("v1",)
    assert circle.search(vectors={"mine": at(42)}, k=1).ids == ("v4",)


def test_a_vector_of_a_medium_needs_one_space_with_that_medium(circle):
    circle.add_vectors(np.eye(3), ids=["a", "b", "c"], space="words", key="text")
    assert circle.search(vector=[0, 1, 0], target="text", k=1).ids == ("b",)
    assert circle.search(vector=at(42), target="image", k=1).ids == ("v4",)
    with pytest.raises(BadSpec, match="no audio vectors are stored: add some first"):
        circle.search(vector=at(0), target="audio")


@pytest.mark.parametrize(
    ("ask", "problem"),
    [
        ({"vector": [1, 0], "vectors": {"mine": [1, 0]}}, "give vector or vectors, not both"),
        ({"vector": {"mine": [1, 0]}}, "a mapping from names of spaces to vectors is vectors"),
        ({"vector": "abc"}, "vector for the space 'mine' must be numbers"),
        ({"vector": [1, 0, 0]}, "mine"),
        ({"vector": [1, 0], "k": 3, "limit": 4}, "limit and k are two names of one argument"),
        ({"vector": [1, 0], "params": [1]}, "params needs where"),
        ({"vector": [1, 0], "where": "price < ?", "params": []}, r"\?"),
    ],
)
def test_what_contradicts_itself_is_refused(circle, ask, problem):
    with pytest.raises(quiver.QuiverError, match=problem):
        circle.search(**ask)


def test_limit_is_another_name_of_k(circle):
    assert circle.search(vector=at(0), limit=3).ids == circle.search(vector=at(0), k=3).ids
    assert Query(vector=at(0), limit=3).k == 3
    assert circle.search_batch(vector=at(0)[None], limit=3).ids == [("v0", "v1", "v2")]


def test_conditions_take_parameters_in_order_and_by_name(circle):
    found = circle.search(vector=at(0), where="price < ? AND brand = ?", params=[5, "it's a"], k=9)
    assert found.ids == ("v0", "v2", "v4")
    named = {"where": "price < :most AND brand = :brand", "params": {"most": 5, "brand": "it's a"}}
    assert circle.search(vector=at(0), k=9, **named).ids == found.ids
    assert circle.search(Query(vector=at(0), k=9, **named)).ids == found.ids
    assert circle.search_batch(vector=at(0)[None], k=9, **named).ids == [found.ids]
    assert circle.count(**named) == 3
    assert circle.delete(**named) == 3 and len(circle) == 7


def test_old_names_of_groups_work_and_warn(circle):
    now = circle.search(vector=at(0), group_by="brand", group_size=2, k=2)
    assert now.ids == ("v0", "v1", "v2", "v3")
    with pytest.warns(DeprecationWarning) as told:
        assert circle.search(vector=at(0), group="brand", per_group=2, k=2).ids == now.ids
    assert [str(each.message).partition(";")[0] for each in told] == [
        "group is now called group_by",
        "per_group is now called group_size",
    ]
    assert {each.filename for each in told} == {__file__}
    with pytest.warns(DeprecationWarning, match="group is now called group_by"):
        query = Query(vector=at(0), group="brand")
    with pytest.warns(DeprecationWarning, match="group is now called group_by"):
        assert query.group == query.group_by == "brand"
    with pytest.raises(BadSpec, match="group and group_by are two names"):
        Query(vector=at(0), group="brand", group_by="brand")


def test_no_space_has_the_name_that_stands_for_the_only_one(circle):
    with pytest.raises(BadSpec, match="visible characters"):
        circle.add_vectors(np.eye(2), ids=["a", "b"], space=THE_SPACE)
