"""Queries by vector go as one array, and say the same as each alone."""

import numpy as np
import pytest

import quiver
from quiver.engine.execution.query_batch import Batch, alike, join
from quiver.errors import BadSpec, SpaceMismatch
from quiver.types import Query

N, DIM = 60, 12


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Sixty vectors in three fragments, some deleted, indexed by faiss before the last came."""
    folder = tmp_path_factory.mktemp("batch")
    data = np.random.default_rng(4).standard_normal((N, DIM)).astype(np.float32)
    collection = quiver.open(folder / "c")
    for part in range(3):
        np.save(folder / f"{part}.npy", data[part * 20 : part * 20 + 20])
        collection.add_vectors(folder / f"{part}.npy", space="made")
        if part == 1:
            collection.index("faiss factory=IVF4,Flat nprobe=4")
    collection.delete(["0#3", "1#0", "2#19"])
    return collection, np.random.default_rng(5).standard_normal((40, DIM)).astype(np.float32)


def said(result):
    return [(hit.id, hit.score, dict(hit.meta), hit.trace) for hit in result]


@pytest.mark.parametrize("kind", ["exact", "faiss"])
def test_an_array_a_list_and_single_searches_answer_alike(store, kind):
    collection, asked = store
    whole = collection.search_batch(vectors={"made": asked}, k=7, index=kind)
    listed = collection.search_batch([Query(vectors={"made": each}, k=7, index=kind) for each in asked])
    alone = [collection.search(vectors={"made": each}, k=7, index=kind) for each in asked]
    assert list(whole.ids) == list(listed.ids) == [each.ids for each in alone] == [each.ids for each in whole]
    for one, two, three in zip(whole, listed, alone, strict=True):
        assert [s[0] for s in said(one)] == [s[0] for s in said(two)] == [s[0] for s in said(three)]
        np.testing.assert_allclose([s[1] for s in said(one)], [s[1] for s in said(three)], atol=1e-6)


def test_answers_are_made_once_and_slices_of_them_are_answers(store):
    collection, asked = store
    whole = collection.search_batch(vectors={"made": asked}, k=3)
    assert whole[4] is whole[4] is whole[4 - len(asked)] and len(whole) == len(asked)
    assert list(whole[3:6].ids) == list(whole.ids)[3:6] and whole[3:6][1] is whole[4]
    assert whole == list(whole) and whole != list(whole)[1:]
    with pytest.raises(IndexError):
        whole[len(asked)]


def test_a_condition_a_page_and_several_vectors_of_a_query_hold_in_arrays_too(store):
    collection, asked = store
    pairs = asked.reshape(20, 2, DIM)
    whole = collection.search_batch(vectors={"made": pairs}, k=4, offset=1, where="id <> '0#0'")
    alone = [collection.search(vectors={"made": each}, k=4, offset=1, where="id <> '0#0'").ids for each in pairs]
    assert list(whole.ids) == alone


def test_nothing_asked_is_nothing_answered(store):
    collection, asked = store
    assert list(collection.search_batch([])) == list(collection.search_batch(vectors={"made": asked[:0]})) == []
    assert list(collection.search_batch([]).ids) == []


def test_an_array_stays_as_it_was(store):
    collection, asked = store
    before = asked.copy()
    asked.flags.writeable = False
    collection.search_batch(vectors={"made": asked}, k=3)
    asked.flags.writeable = True
    assert (asked == before).all()


@pytest.mark.parametrize(
    ("ask", "fault", "words"),
    [
        ({"vectors": {"made": np.ones(DIM)}}, BadSpec, r"not made \(12,\)"),
        ({"vectors": {"made": np.ones((2, DIM)), "other": np.ones((3, 4))}}, BadSpec, r"other \(3, 4\)"),
        ({}, BadSpec, "not none"),
        ({"text": "red"}, TypeError, "search_batch has no option 'text'"),
        ({"vectors": {"made": np.ones((2, DIM))}, "k": 0}, BadSpec, "k must be at least 1"),
        ({"vectors": {"made": np.ones((2, 5))}}, SpaceMismatch, "takes vectors of dimension 12, not 5"),
    ],
)
def test_arrays_that_cannot_be_asked_are_refused(store, ask, fault, words):
    with pytest.raises(fault, match=words):
        store[0].search_batch(**ask)


def query(n, **ask):
    return Query(vectors={"made": np.full(DIM, n, np.float32)}, **ask)


def test_only_queries_that_differ_in_nothing_but_their_vector_are_alike():
    assert alike([query(1), query(2)]).vectors["made"].tolist() == [[1.0] * DIM, [2.0] * DIM]
    for other in (query(2, k=9), query(2, where="n < 3"), Query(text := {"text": "red"}), Query(like=("a",))):
        assert alike([query(1), other]) is alike([other, Query(text)]) is None
    assert alike([query(1), Query(vectors={"made": np.ones(3, np.float32)})]) is None
    assert alike([query(1), Query(vectors={"made": np.ones(DIM), "more": np.ones(2)})]) is None


def test_batches_of_one_kind_are_joined_and_others_are_listed():
    one, two = (alike([query(n), query(n + 1)]) for n in (1, 5))
    both = join([one, two])
    assert isinstance(both, Batch) and both.vectors["made"][:, 0].tolist() == [1, 2, 5, 6]
    other = alike([query(7, k=3)])
    mixed = join([one, other, [query(8)]])
    assert [(each.vectors["made"][0], each.k) for each in mixed] == [(1, 10), (2, 10), (7, 3), (8, 10)]
