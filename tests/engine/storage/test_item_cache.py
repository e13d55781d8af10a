"""Hits are read when they are looked at, and always as they were when they were found."""

import numpy as np
import pytest

import quiver
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.item_cache import Shelf, View
from quiver.types import Query

N = 40


@pytest.fixture
def store(tmp_path):
    """Forty vectors in two fragments with a number and a name each, of which #n is nearest to the n-th axis."""
    collection = quiver.open(tmp_path / "c")
    for part, start in (("a", 0), ("b", 20)):
        data = np.zeros((20, N), np.float32)
        data[np.arange(20), start + np.arange(20)] = 1
        np.save(tmp_path / f"{part}.npy", data)
        collection.add_vectors(tmp_path / f"{part}.npy", space="made")
    collection.update_meta({f"{'a' if n < 20 else 'b'}#{n % 20}": {"n": n, "name": f"thing {n}"} for n in range(N)})
    return collection


def axis(n):
    return np.eye(N, dtype=np.float32)[n]


def nearest(collection, n):
    return collection.search(vectors={"made": axis(n)}, k=1)


def test_hits_are_the_same_from_disk_and_from_memory(store):
    first = [nearest(store, n)[0] for n in range(N)]
    assert [hit.meta for hit in first] == [{"n": n, "name": f"thing {n}"} for n in range(N)]
    assert [nearest(store, n)[0] for n in range(N)] == first
    assert nearest(quiver.open(store.uri), 7)[0] == first[7]


def test_changed_metadata_is_seen_by_the_next_search_and_not_by_the_last_one(store):
    warm = [nearest(store, 3)[0].meta["name"] for _ in range(5)]
    before, looked = nearest(store, 3), nearest(store, 3)
    assert looked[0].meta["name"] == "thing 3" == warm[-1]
    store.update_meta({"a#3": {"name": "another"}})
    after = nearest(store, 3)
    assert (before[0].meta["name"], looked[0].meta["name"], after[0].meta["name"]) == ("thing 3", "thing 3", "another")


def test_what_was_found_can_be_looked_at_after_it_was_deleted(store):
    before = nearest(store, 30)
    store.delete(["b#10"])
    assert before.ids == ("b#10",) and before[0].meta["n"] == 30
    assert nearest(store, 30).ids != ("b#10",)


def test_a_new_column_is_seen_at_once(store):
    assert [nearest(store, 5)[0].meta for _ in range(4)][-1] == {"n": 5, "name": "thing 5"}
    store.update_meta({"a#5": {"stars": 4.5}})
    assert nearest(store, 5)[0].meta == {"n": 5, "name": "thing 5", "stars": 4.5}
    assert nearest(store, 6)[0].meta == {"n": 6, "name": "thing 6"}


def test_ids_come_without_the_hits_and_agree_with_them(store):
    found = store.search(vectors={"made": axis(2)}, k=6)
    ids = found.ids
    assert len(found) == 6 and ids == tuple(hit.id for hit in found) == found.ids


def test_a_batch_looks_up_what_single_searches_do(store):
    queries = [Query(vectors={"made": axis(n) + axis((n + 9) % N)}, k=3) for n in range(N)]
    for query, found in zip(queries, store.search_batch(queries), strict=True):
        assert found.hits == tuple(store.search(query))


def test_a_fragment_that_does_not_fit_is_read_from_disk(store):
    table = Table(f"{store.uri}/items.lance")
    view, rows = View.of(table), table.rows()
    small, large = Shelf(table, room=100), Shelf(table)
    for _ in range(3):
        assert small.items(view, rows) == large.items(view, rows)
    assert not small._parts and len(large._parts) == len(view.fragments)


def test_a_plan_is_kept_until_something_changes(store):
    first = nearest(store, 1).plan
    assert nearest(store, 2).plan is first
    assert store.search(vectors={"made": axis(1)}, k=2).plan.stages[0].k == 2
    store.index("faiss factory=Flat")
    assert nearest(store, 1).plan is not first
    store.delete(["a#0"])
    assert nearest(store, 1).plan.items == N - 1


def test_ids_come_in_the_order_of_rows_from_disk_and_from_memory_alike(store):
    store.delete(["a#0", "a#7", "b#19"])
    table = Table(f"{store.uri}/items.lance")
    view, shelf = View.of(table), Shelf(table)
    rows = np.random.default_rng(0).permutation(np.repeat(table.rows(), 2))
    known = {row["_rowid"]: row["id"] for row in table.read(["id"]).to_pylist()}
    first = shelf.ids(view, rows)
    assert len(shelf._parts) == len(view.fragments)
    assert first == shelf.ids(view, rows) == [known[row] for row in rows.tolist()]
    assert [shelf.ids(view, rows[n : n + 1]) for n in range(9)] == [first[n : n + 1] for n in range(9)]


def test_a_row_that_is_not_in_memory_is_not_made_up(store):
    store.delete(["a#0", "a#7"])
    table = Table(f"{store.uri}/items.lance")
    view, shelf, rows = View.of(table), Shelf(table), table.rows()
    shelf.ids(view, rows)
    gone = np.setdiff1d(np.arange(rows[0] - 1, rows[0] + 20), rows)
    far = np.array([rows[-1] + 1, rows[-1] + 1000, rows[-1] + (1 << 32), rows[-1] + (9 << 32)])
    for row in (*gone, *far):
        assert shelf._held(np.array([row])) is shelf._held(np.append(rows, row)) is None


def test_a_version_before_the_newest_is_still_named(store):
    before = store.search(vectors={"made": axis(1)}, k=N)
    wanted = store.search(vectors={"made": axis(1)}, k=N).ids
    store.update_meta({"a#1": {"name": "another"}})
    assert store.search(vectors={"made": axis(2)}, k=N).ids != wanted
    assert before.ids == wanted
