"""Indexes catch up beside the searches: published whole or not at all, one process at a time, whoever dies."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import quiver
from quiver.engine.storage.index_files import Cache
from quiver.engine.tuning import index_choice, maintenance
from quiver.engine.tuning.maintenance import Lag, lag
from quiver.types import Query

DIM = 24
KINDS = ["exact", "faiss", "lance"]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A collection of 400 random vectors with a FAISS index, that catches up from 50 rows on when it is told to."""
    monkeypatch.setattr(maintenance, "LEAST", 50)
    collection = quiver.open(tmp_path / "c", catch_up=False)
    data = put(collection, tmp_path, "emb", 400, seed=1)
    collection.index("faiss factory=HNSW8")
    return collection, data, tmp_path


def put(collection, folder, name, count, *, seed, around=None):
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    rows = rows if around is None else around + 0.01 * rows
    np.save(folder / f"{name}.npy", rows)
    collection.add_vectors(folder / f"{name}.npy", space="made")
    return {f"{name}#{n}": row for n, row in enumerate(rows)}


def best(data, query, k=10):
    scores = {id: row @ query / np.linalg.norm(row) for id, row in data.items()}
    return sorted(scores, key=lambda id: -scores[id])[:k]


def found(collection, query, kind="faiss", k=10):
    return [hit.id for hit in collection.search(Query(vectors={"made": query}, k=k, index=kind))]


def behind(collection, kind="faiss"):
    session = collection._session()
    return lag(session, session.graph.columns[0], kind)


def held(collection):
    """The index as the searches of a collection hold it."""
    session = collection._session()
    return session.resident(session.graph.columns[0]).load("faiss")


def until(true, seconds=120.0):
    ends = time.monotonic() + seconds
    while not true() and time.monotonic() < ends:
        time.sleep(0.01)
    return true()


def test_the_lag_counts_what_was_added_rewritten_and_deleted(store):
    collection, data, folder = store
    assert behind(collection) == Lag(400, 0, 0)
    collection.delete(list(data)[:30])
    assert behind(collection) == Lag(400, 0, 30)
    (column,) = collection.info()["columns"]
    assert column["behind"] == {"faiss": {"tail": 0, "dead": 30, "share": 0.075}}
    put(collection, folder, "more", 70, seed=2)
    assert behind(collection) == Lag(400, 70, 30) and not behind(collection).due
    put(collection, folder, "more", 1, seed=3)
    state = behind(collection)
    assert state.tail - state.dead == 440 - 400 and state.due


def test_what_was_added_is_added_to_a_copy_of_the_index(tmp_path, monkeypatch):
    monkeypatch.setattr(maintenance, "LEAST", 50)
    monkeypatch.setattr("quiver.engine.storage.dataset.Table.tidy", lambda self: None)  # nothing moves
    collection = quiver.open(tmp_path / "c", catch_up=False)
    data = put(collection, tmp_path, "emb", 400, seed=1)
    collection.index("faiss factory=IVF4,Flat nprobe=4")
    collection.delete(list(data)[:20])
    data = dict(list(data.items())[20:]) | put(collection, tmp_path, "more", 90, seed=2)
    (done,) = collection.catch_up()
    assert (done["how"], done["vectors"]) == ("extended", 490)
    assert behind(collection) == Lag(490, 0, 20) and collection.catch_up() == []
    reader = quiver.open(collection.uri)
    assert held(reader).tail is None and len(held(reader).dead) == 20
    for seed in range(5):
        query = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
        assert found(reader, query) == best(data, query)
    data |= put(collection, tmp_path, "yet", 330, seed=3)  # more than twice what it was trained on
    assert collection.catch_up()[0]["how"] == "built anew"
    assert behind(collection) == Lag(800, 0, 0) and found(reader, query) == best(data, query)


def test_what_was_rewritten_takes_a_new_index(store):
    collection, _, folder = store
    moved = put(collection, folder, "emb", 400, seed=9)
    assert behind(collection).share >= 1
    assert collection.catch_up()[0]["how"] == "built anew"
    query = np.ones(DIM, np.float32)
    assert held(quiver.open(collection.uri)).tail is None
    assert found(quiver.open(collection.uri), query, k=1) == best(moved, query, 1)


def test_searches_go_on_by_the_old_index_and_turn_to_the_new_one_by_themselves(store):
    collection, data, folder = store
    reader, query = quiver.open(collection.uri), np.ones(DIM, np.float32)
    found(reader, query)
    data |= put(collection, folder, "more", 150, seed=2)
    assert found(reader, query, k=3) == best(data, query, 3) and held(reader).tail is not None
    collection.catch_up()
    assert until(lambda: held(reader).tail is None)
    assert len(held(reader).index) == 550 and found(reader, query, k=3) == best(data, query, 3)


def test_a_thread_catches_up_after_changes_unless_it_is_told_not_to(store):
    collection, _, folder = store
    put(collection, folder, "more", 150, seed=2)
    assert collection.wait() and behind(collection).due
    willing = quiver.open(collection.uri)
    willing.delete(["more#0"])
    assert willing.wait(60) and not behind(collection).due
    assert behind(collection) == Lag(549, 0, 0)


def test_one_process_at_a_time_catches_up(store):
    collection, _, folder = store
    put(collection, folder, "more", 150, seed=2)
    session = collection._session()
    with session.cache.lock(session.graph.columns[0], "faiss", "upkeep.lock", wait=False) as ours:
        assert ours and collection.catch_up() == []
    assert len(collection.catch_up()) == 1


def test_an_index_that_was_replaced_meanwhile_is_left_alone(store):
    collection, _, _ = store
    session = collection._session()
    column, cache = session.graph.columns[0], session.cache
    stamp, (index, _) = cache.stamp(column, "faiss"), cache.open(column, "faiss")
    collection.index("faiss factory=Flat")
    assert not cache.save(column, "faiss", index, {"options": {}}, instead=stamp)
    assert cache.kinds(column)["faiss"]["options"] == {"factory": "Flat"}
    assert len(list(cache.path(column, "faiss").glob("index*"))) == 1


def test_what_does_not_fit_in_memory_is_not_begun(store, monkeypatch):
    collection, _, folder = store
    put(collection, folder, "more", 150, seed=2)
    monkeypatch.setattr(index_choice, "free", lambda: 100_000)
    with pytest.raises(quiver.QuiverError, match=r"updating this index needs .* of memory, and only .* are available"):
        collection.catch_up()
    assert behind(collection).due


#: Builds and publishes an index, and dies right before the n-th time that something is done below a folder.
PUBLISH = """
import os, signal, sys, quiver
uri, folder, event, number = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
left = number

def die(name, arguments):
    global left
    if name == event and arguments and folder in str(arguments[0]):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
quiver.open(uri, catch_up=False).index("faiss factory=HNSW8")
print("done", flush=True)
"""
#: While the new index is written, before it gets its name, before the note names it, before and amid removing the old.
MOMENTS = [("open", 3), ("os.rename", 1), ("os.rename", 2), ("shutil.rmtree", 1), ("os.rmdir", 1)]
EVERY = [(event, n) for event in ("open", "os.mkdir", "os.rename", "os.remove", "shutil.rmtree") for n in range(1, 7)]


def test_killed_at_any_step_of_publishing_an_index_serves_and_nothing_is_left_behind(store):
    """A process is killed right before a chosen step, in the long form (QUIVER_KILLS) before every one."""
    collection, data, folder = store
    data |= put(collection, folder, "more", 150, seed=2)
    column, ended = collection._session().graph.columns[0], []
    place, query = Cache(collection.uri).path(column, "faiss"), np.ones(DIM, np.float32)
    for event, number in EVERY if "QUIVER_KILLS" in os.environ else MOMENTS:
        words = [collection.uri, str(place), event, str(number)]
        process = subprocess.run([sys.executable, "-c", PUBLISH, *words], capture_output=True, text=True, check=False)
        assert process.returncode == -signal.SIGKILL or process.stdout == "done\n", process.stderr
        ended.append(process.returncode == 0)
        note = json.loads((place / "built.json").read_text())
        reader = quiver.open(collection.uri)
        assert held(reader).index is not None and (place / note["folder"]).is_dir()
        assert found(reader, query, k=3) == best(data, query, 3)
    assert not all(ended) and ("QUIVER_KILLS" in os.environ or not any(ended))
    collection.index("faiss factory=HNSW8")
    left = sorted(path.name for path in place.iterdir() if not path.name.endswith(".lock"))
    assert left == ["built.json", json.loads((place / "built.json").read_text())["folder"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shared", [False, True])
def test_in_a_storm_of_searches_what_changes_is_seen_by_the_next_search(store, kind, shared):
    """Searchers look for one place while things come there, move away and go, and indexes catch up.

    Each has a collection of its own, as other processes have; or they share one with whoever changes it.
    """
    collection, _, folder = store
    collection.index("lance kind=IVF_FLAT partitions=2")
    query = np.zeros(DIM, np.float32)
    query[0] = 1.0
    put(collection, folder, "near", 5, seed=3, around=20 * query)
    seen, problems, stop = {}, [], threading.Event()

    def search(name):
        mine = collection if shared else quiver.open(collection.uri, catch_up=False)
        while not stop.is_set():
            started = time.monotonic()
            try:
                seen[name] = started, set(found(mine, query, kind, k=8))
            except Exception as error:  # whatever it is, it must not happen
                problems.append(error)
                return

    def agree(expected):
        """Every search that starts from now on says so."""
        now = time.monotonic()
        assert until(lambda: problems or all(n in seen and seen[n][0] > now for n in range(2)))
        assert not problems
        assert all(expected(seen[n][1]) for n in range(2))

    threads = [threading.Thread(target=search, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        agree(lambda ids: {f"near#{n}" for n in range(5)} <= ids)
        put(collection, folder, "later", 3, seed=4, around=30 * query)
        agree(lambda ids: {f"later#{n}" for n in range(3)} <= ids)
        collection.delete(["near#1", "later#2"])
        agree(lambda ids: not ids & {"near#1", "later#2"} and "later#1" in ids)
        put(collection, folder, "later", 2, seed=5, around=-30 * query)
        agree(lambda ids: not ids & {"later#0", "later#1"} and "near#0" in ids)
        put(collection, folder, "crowd", 200, seed=6)
        collection.catch_up()
        collection.update_meta({"near#2": {"price": 3}})
        agree(lambda ids: {"near#0", "near#2", "near#3", "near#4"} <= ids)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
