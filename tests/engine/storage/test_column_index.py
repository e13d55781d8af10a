"""An index may be old, an answer may not: adds, deletes and rewrites are seen at once, on every kind of index."""

import numpy as np
import pytest

import quiver
from quiver.engine.core.column import Column
from quiver.engine.storage.column_index import Resident
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.index_files import Cache
from quiver.types import Query, Space

KINDS = ["exact", "faiss", "lance"]


@pytest.fixture
def store(tmp_path):
    """A collection of 300 random vectors, indexed by faiss and lance, and the vectors by id."""
    rng = np.random.default_rng(1)
    data = {f"emb#{n}": row for n, row in enumerate(rng.standard_normal((300, 24)).astype(np.float32))}
    np.save(tmp_path / "emb.npy", np.stack(list(data.values())))
    collection = quiver.open(tmp_path / "c")
    collection.add_vectors(tmp_path / "emb.npy", space="made")
    collection.index("faiss factory=Flat")
    collection.index("lance kind=IVF_FLAT partitions=2")
    return collection, data, tmp_path


def best(data, query, k):
    unit = {id: row / np.linalg.norm(row) for id, row in data.items()}
    scores = {id: float(row @ (query / np.linalg.norm(query))) for id, row in unit.items()}
    return sorted(scores, key=lambda id: -scores[id])[:k]


def found(collection, query, kind, k=10):
    return [hit.id for hit in collection.search(Query(vectors={"made": query}, k=k, index=kind))]


@pytest.mark.parametrize("kind", KINDS)
def test_what_changes_after_an_index_was_built_is_seen_at_once(store, kind):
    collection, data, folder = store
    rng = np.random.default_rng(2)
    query = rng.standard_normal(24).astype(np.float32)
    assert found(collection, query, kind) == best(data, query, 10)

    gone = best(data, query, 3)
    collection.delete(gone)
    for id in gone:
        del data[id]
    assert found(collection, query, kind) == best(data, query, 10)

    later = {f"later#{n}": query + rng.standard_normal(24).astype(np.float32) * n / 5 for n in range(6)}
    np.save(folder / "later.npy", np.stack(list(later.values())))
    collection.add_vectors(folder / "later.npy", space="made")
    data |= later
    assert found(collection, query, kind) == best(data, query, 10)

    moved = {"later#0": -query, "later#1": query}
    np.save(folder / "later.npy", np.stack([moved.get(id, row) for id, row in later.items()]))
    collection.add_vectors(folder / "later.npy", space="made")
    data |= moved
    assert found(collection, query, kind) == best(data, query, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_sees_it_too(store, kind):
    collection, data, _ = store
    other = quiver.open(collection.uri)
    query = np.ones(24, np.float32)
    assert found(other, query, kind) == best(data, query, 10)
    gone = best(data, query, 80)
    collection.delete(gone)
    for id in gone:
        del data[id]
    assert found(other, query, kind) == best(data, query, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_holds_on_every_kind(store, kind):
    collection, data, _ = store
    collection.update_meta({id: {"n": n} for n, id in enumerate(data)})
    query = np.ones(24, np.float32)
    odd = {id: row for n, (id, row) in enumerate(data.items()) if n % 7 == 3}
    hits = collection.search(Query(vectors={"made": query}, k=60, index=kind, where="n % 7 = 3"))
    assert [hit.id for hit in hits] == best(odd, query, 60)


def test_a_grown_tail_is_folded_into_the_exact_index(store):
    collection, _, folder = store
    column = Column("image", Space("made", 24, "cosine", "given"), None)
    table = Table(f"{collection.uri}/items.lance")
    resident = Resident(table, column, cache=Cache(collection.uri))
    assert resident.load("exact").tail is None
    for part, size in (("a", 20), ("b", 100)):
        np.save(folder / f"{part}.npy", np.random.default_rng(3).standard_normal((size, 24)).astype(np.float32))
        collection.add_vectors(folder / f"{part}.npy", space="made")
        table.refresh()
        held = resident.load("exact")
        lengths = (len(held.index.rows), 0 if held.tail is None else len(held.tail.rows))
        assert lengths in ((300, 20), (420, 0), (320, 0))
    assert lengths == (420, 0)


def test_an_index_whose_file_is_damaged_is_not_used(store):
    collection, _, _ = store
    note = next(path for path in Cache(collection.uri).root.rglob("built.json"))
    for path in next(note.parent.glob("index-*")).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    with pytest.raises(quiver.QuiverError, match="build one with `quiver index`"):
        found(quiver.open(collection.uri), np.ones(24, np.float32), "faiss")


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_that_all_meet_is_looked_at_again_when_something_changes(store, kind):
    collection, data, folder = store
    query, where = np.ones(24, np.float32), "id <> 'late#0'"
    ask = Query(vectors={"made": query}, k=10, index=kind, where=where)
    assert list(collection.search(ask).ids) == best(data, query, 10)
    np.save(folder / "late.npy", query[None])
    collection.add_vectors(folder / "late.npy", space="made")
    assert list(collection.search(ask).ids) == best(data, query, 10)
    assert found(collection, query, kind)[0] == "late#0"
    gone = best(data, query, 2)
    collection.delete(gone)
    for id in gone:
        del data[id]
    for _ in range(2):
        assert list(collection.search(ask).ids) == best(data, query, 10)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"files": 3}', '{"files": {"x": "y"}, "vectors": "many"}'])
def test_an_index_whose_note_is_damaged_counts_as_absent(store, text):
    collection, data, _ = store
    note = next(path for path in Cache(collection.uri).root.rglob("built.json"))
    note.write_text(text)
    fresh = quiver.open(collection.uri)
    query = np.ones(24, np.float32)
    assert found(fresh, query, None) == best(data, query, 10)
    assert fresh.info()["columns"][0]["indexes"] == ["exact", "lance"]
    fresh.index("faiss factory=Flat")
    assert found(quiver.open(collection.uri), query, "faiss") == best(data, query, 10)


def test_a_lock_is_held_by_one_at_a_time_and_freed_when_the_block_ends(store):
    collection, _, _ = store
    cache, column = Cache(collection.uri), collection._session().graph.columns[0]
    held = cache.lock(column, "faiss", "x.lock", wait=False)
    with held as first, cache.lock(column, "faiss", "x.lock", wait=False) as second:
        assert first and not second
    with cache.lock(column, "faiss", "x.lock", wait=True) as again:
        assert again
