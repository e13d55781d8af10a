"""Searches of several threads run at the same time, each at one version, and give what single searches give."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import quiver
from quiver.engine.execution.session import Session
from quiver.types import Query

ENCODER = """
import threading

import numpy as np

from quiver.types import Space

SPACE = Space("lab/slow", 4, "cosine", "1")
begun, let = threading.Event(), threading.Event()
inside = most = 0


class Slow:
    keys = ("text",)

    def spaces(self, key):
        return (SPACE,) if key == "text" else ()

    def reader(self, key):
        return str

    def embed(self, key, batch, space):
        global inside, most
        inside += 1
        most = max(most, inside)
        begun.set()
        assert let.wait(20)
        inside -= 1
        return np.tile(np.eye(4, dtype=np.float32)[0], (len(batch), 1))


def load():
    return Slow()
"""


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(3)
    collection = quiver.open(tmp_path / "c", catch_up=False)
    meta = {"n": list(range(400)), "colour": ["red", "green", "blue", "grey"] * 100}
    collection.add_vectors(
        rng.normal(size=(400, 16)).astype(np.float32), ids=[f"v{n}" for n in range(400)], meta=meta, space="mine"
    )
    return collection


def questions(count):
    rng = np.random.default_rng(4)
    for n in range(count):
        where = ["n < 200", None, "colour = 'red'", "n >= :least"][n % 4]
        yield Query(
            vector=rng.normal(size=16).astype(np.float32),
            k=1 + n % 7,
            where=where,
            params={"least": 100 + n % 3} if where == "n >= :least" else None,
            group_by="colour" if n % 5 == 0 else None,
        )


@pytest.mark.parametrize("index", ["exact", "faiss factory=IVF8,Flat nprobe=8", "lance kind=IVF_FLAT partitions=2"])
def test_eight_threads_get_the_answers_of_one(store, index):
    if index != "exact":
        store.index(index)
    asked = list(questions(120))
    single = [[(hit.id, round(hit.score, 5)) for hit in store.search(query)] for query in asked]
    with ThreadPoolExecutor(8) as pool:
        fresh = quiver.open(store.uri, catch_up=False)
        found = list(pool.map(fresh.search, asked * 3))
    assert [[(hit.id, round(hit.score, 5)) for hit in each] for each in found] == single * 3


def test_every_answer_comes_from_one_version_whatever_is_written_meanwhile(store):
    stop = threading.Event()
    base = np.zeros(16, np.float32)
    base[0] = 1

    def ask():
        seen = []
        while not stop.is_set():
            found = store.search(vector=base, k=500, where="n >= 1000")
            marks = {hit.meta["mark"] for hit in found}
            seen.append((found.plan.version, len(found), marks))
        return seen

    with ThreadPoolExecutor(4) as pool:
        threads = [pool.submit(ask) for _ in range(4)]
        for mark in range(6):  # each change replaces all ten rows at once
            rows = [
                {"id": f"w{n}", "vector": (base + n / 100).tolist(), "n": 1000 + n, "mark": mark} for n in range(10)
            ]
            store.add(rows, space="mine")
            assert {hit.meta["mark"] for hit in store.search(vector=base, k=500, where="n >= 1000")} == {mark}
        stop.set()
        every = [each for thread in threads for each in thread.result(30)]
    assert all(len(marks) <= 1 for _, _, marks in every) and {count for _, count, _ in every} <= {0, 10}


def test_a_slow_encoder_holds_up_only_its_own_requests(store, lab):
    (lab / "slow.py").write_text(ENCODER)
    from lab import slow

    slow.let.set()
    store.add([{"id": "t", "text": "x"}], encoder="lab.slow", workers=0)
    slow.let.clear()
    slow.begun.clear()
    with ThreadPoolExecutor(4) as pool:
        texts = [pool.submit(store.search, text=f"text {n}", target="text", k=1) for n in range(4)]
        assert slow.begun.wait(20)
        assert len(store.search(vectors={"mine": np.ones(16, np.float32)}, k=3)) == 3
        assert store.count() == 401 and store.get("v3")[0].meta["n"] == 3
        store.add_vectors(np.ones((1, 16)), ids=["late"], space="mine")
        assert store.search(vectors={"mine": np.ones(16, np.float32)}, k=1).ids == ("late",)
        assert not any(each.done() for each in texts)
        slow.let.set()
        assert [each.result(20).ids for each in texts] == [("t",)] * 4
    assert slow.most == 1  # models are not made for several threads


def test_a_session_stays_at_its_version_and_shares_its_vectors_with_the_next(store):
    before = store._session()
    store.search(vector=np.ones(16, np.float32), spaces="mine")
    store.delete("v3")
    after = store._session()
    assert isinstance(before, Session) and after is not before and store._session() is after
    assert (before.count(None), after.count(None)) == (400, 399)
    column = before.graph.columns[0]
    shared = before.resident(column).load("exact").index
    assert after.resident(column).load("exact").index is shared
    assert len(before.resident(column).load("exact").dead) == 0
    assert len(after.resident(column).load("exact").dead) == 1
