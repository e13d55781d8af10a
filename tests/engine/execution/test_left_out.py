"""Ids that are never returned, and ids that alone compete: by every kind of index, in words, groups and batches."""

import math

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.errors import BadSpec
from quiver.types import Item, Query

KINDS = ("exact", "faiss", "lance")
N = 90


@pytest.fixture(scope="module")
def circle(tmp_path_factory):
    """Unit vectors in the plane, one degree apart: item n lies at n degrees; its film is n // 10."""
    collection = quiver.open(tmp_path_factory.mktemp("circle") / "c")
    angles = np.radians(np.arange(N))
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    meta = pa.table({"n": range(N), "film": [f"f{n // 10}" for n in range(N)]})
    collection.add_vectors(vectors, ids=[str(n) for n in range(N)], meta=meta, space="plane", progress=False)
    collection.index("faiss factory=HNSW8")
    collection.index("lance kind=IVF_FLAT partitions=2")
    return collection


def at(degrees):
    return {"plane": np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], np.float32)}


def numbers(result):
    return [int(id) for id in result.ids]


@pytest.mark.parametrize("index", KINDS)
def test_excluded_ids_are_never_returned_and_k_others_are(circle, index):
    found = circle.search(vectors=at(0), k=4, index=index, exclude=["0", "2", "not stored"])
    assert numbers(found) == [1, 3, 4, 5]
    assert numbers(circle.search(vectors=at(0), k=3, index=index, exclude="0")) == [1, 2, 3]


@pytest.mark.parametrize("index", KINDS)
def test_more_ids_are_excluded_than_are_left(circle, index):
    seen = [str(n) for n in range(70)]
    found = circle.search(vectors=at(0), k=4, index=index, exclude=seen)
    assert numbers(found) == [70, 71, 72, 73]
    assert "70 excluded: 20 of 90 items match" in str(found.plan)
    assert numbers(circle.search(vectors=at(0), k=99, index=index, exclude=seen, where="n < 75")) == [
        70,
        71,
        72,
        73,
        74,
    ]
    assert numbers(circle.search(vectors=at(0), exclude=[str(n) for n in range(N)], index=index)) == []


@pytest.mark.parametrize("index", KINDS)
def test_candidates_compete_among_themselves(circle, index):
    few = ["40", "3", "80", "nowhere", "3"]
    found = circle.search(vectors=at(0), k=10, index=index, candidates=few)
    assert numbers(found) == [3, 40, 80]
    assert "5 candidates given: 3 of 90 items match" in str(found.plan)
    assert numbers(circle.search(vectors=at(0), index=index, candidates=few, where="n > 3")) == [40, 80]
    assert numbers(circle.search(vectors=at(0), index=index, candidates=few, exclude="40")) == [3, 80]
    assert numbers(circle.search(vectors=at(0), index=index, candidates=[])) == []
    assert numbers(circle.search(vectors=at(0), index=index, candidates=["nowhere"])) == []


def test_examples_are_left_out_beside_excluded_ids(circle):
    assert numbers(circle.search(like="10", k=3, exclude=["9", "11"])) == [8, 12, 7]
    assert numbers(circle.search(like="10", candidates=["10", "9", "50"])) == [9, 50]


def test_groups_and_pages_are_made_of_the_others(circle):
    grouped = circle.search(vectors=at(0), k=3, group_by="film", exclude=["0", "10"])
    assert numbers(grouped) == [1, 11, 20]
    pages = [numbers(page) for page in circle.pages(vectors=at(0), k=2, candidates=["1", "5", "9"], exclude="5")]
    assert pages == [[1, 9]]


def test_queries_of_one_batch_leave_out_their_own(circle):
    queries = [
        Query(vectors=at(0), k=2, exclude=("0",)),
        Query(vectors=at(0), k=2),
        Query(vectors=at(50), k=2, exclude=("50", "49")),
        Query(vectors=at(0), k=2, candidates=("7", "8", "9")),
        Query(vectors=at(0), k=2, exclude=tuple(str(n) for n in range(80))),
    ]
    answers = circle.search_batch(queries)
    assert [numbers(each) for each in answers] == [[1, 2], [0, 1], [51, 48], [7, 8], [80, 81]]
    vectors = np.stack([at(0)["plane"], at(50.2)["plane"]])
    both = circle.search_batch(vectors={"plane": vectors}, k=2, exclude=["0", "50"])
    assert [numbers(each) for each in both] == [[1, 2], [51, 49]]


def test_words_leave_out_and_compete_likewise(tmp_path):
    collection = quiver.open(tmp_path / "c")
    texts = {"it's one": "a red dress", "two": "a red hat", "three": "a red coat", "four": "a blue coat"}
    collection.add(*(Item(id, {"text": text}) for id, text in texts.items()), encoder="classic", progress=False)

    def found(**ask):
        return set(collection.search(text="red", hybrid=True, weights={"text": 0}, **ask).ids)

    assert found() == {"it's one", "two", "three"}
    assert found(exclude="it's one") == {"two", "three"}
    assert found(candidates=["it's one", "four"]) == {"it's one"}
    assert found(candidates=["it's one", "two"], exclude=["two"]) == {"it's one"}
    assert found(candidates=()) == set()
    assert found(exclude=["two", *(f"other {n}" for n in range(100))]) == {"it's one", "three"}


def test_the_command_line_excludes_ids(circle):
    ran = CliRunner().invoke(app, ["search", circle.uri, "--id", "10", "-k", "2", "--exclude", "9", "--exclude", "11"])
    assert ran.exit_code == 0, ran.output
    assert [line.split()[2] for line in ran.stdout.splitlines() if line.split()[:1] in (["1"], ["2"])] == ["8", "12"]


def test_what_cannot_be_is_refused():
    with pytest.raises(BadSpec, match="exclude must contain strings only; value 1 of 1 is 7"):
        Query(like=("a",), exclude=(7,))
    with pytest.raises(BadSpec, match="candidates must be a string or a list of strings, not 7"):
        Query(like=("a",), candidates=7)
    with pytest.raises(BadSpec, match="depth must be at least 1, not 0"):
        Query(like=("a",), depth=0)
    with pytest.raises(BadSpec, match="recall='routes' finds candidates for a scorer, but scorer='none' uses none"):
        Query(like=("a",), recall="routes", scorer="none")


def test_a_recall_without_a_scorer_is_refused(circle):
    with pytest.raises(
        BadSpec, match="recall='routes' needs a scorer, but no scorer here takes these inputs: leave it out"
    ):
        circle.search(vectors=at(0), recall="routes")
