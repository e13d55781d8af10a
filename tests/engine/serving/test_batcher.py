"""Searches of many threads: answered together, each with its own answer or its own fault."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import quiver
from quiver.engine.serving.batcher import Gate
from quiver.errors import BadSpec, SpaceMismatch


@pytest.fixture
def corners(tmp_path):
    """Sixteen vectors along as many axes."""
    np.save(tmp_path / "v.npy", np.eye(16, dtype=np.float32))
    collection = quiver.open(tmp_path / "c")
    collection.add_vectors(tmp_path / "v.npy", space="made")
    return collection


def axis(n):
    return {"made": np.eye(16, dtype=np.float32)[n]}


def test_every_thread_gets_its_own_answer(corners):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: corners.search(vectors=axis(n % 16), k=1 + n % 2).ids, range(200)))
    assert [ids[0] for ids in found] == [f"v#{n % 16}" for n in range(200)]
    assert [len(ids) for ids in found] == [1 + n % 2 for n in range(200)]


def test_a_fault_reaches_only_the_thread_whose_query_has_it(corners):
    def ask(n):
        wide = {"made": np.ones(3, np.float32)} if n % 5 == 0 else axis(n % 16)
        try:
            return corners.search(vectors=wide, k=1).ids
        except SpaceMismatch as fault:
            return str(fault)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(100)))
    assert all("takes vectors 16 wide, not 3" in found[n] for n in range(0, 100, 5))
    assert [found[n] for n in range(100) if n % 5] == [(f"v#{n % 16}",) for n in range(100) if n % 5]


class Slow:
    """Answers queries by their number, the first time only when it is let; it keeps what was asked together."""

    def __init__(self):
        self.batches = []
        self.begun, self.let = threading.Event(), threading.Event()

    def __call__(self, queries, started):
        self.batches.append(list(queries))
        self.begun.set()
        assert self.let.wait(10)
        if "bad" in queries:
            raise BadSpec("bad")
        return [f"answer {query}" for query in queries]


def late(gate, slow, asked):
    """Ask one batch, and others while that is being answered."""
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(gate.ask, ["first"])
        assert slow.begun.wait(10)
        others = [pool.submit(gate.ask, queries) for queries in asked]
        while len(gate._waiting) < len(asked):
            pass
        slow.let.set()
    return [first, *others]


def test_who_comes_meanwhile_is_answered_together():
    slow = Slow()
    gate = Gate(slow)
    done = late(gate, slow, [["a"], ["b", "c"], ["d"]])
    assert [each.result() for each in done] == [
        ["answer first"],
        ["answer a"],
        ["answer b", "answer c"],
        ["answer d"],
    ]
    assert slow.batches[0] == ["first"] and sorted(slow.batches[1]) == ["a", "b", "c", "d"] and len(slow.batches) == 2


def test_queries_of_others_are_asked_again_without_the_one_that_is_bad():
    slow = Slow()
    done = late(Gate(slow), slow, [["a"], ["bad"], ["c"]])
    assert [each.result() for each in (done[1], done[3])] == [["answer a"], ["answer c"]]
    with pytest.raises(BadSpec, match="bad"):
        done[2].result()


def test_whoever_is_alone_keeps_searches_waiting_and_lets_them_in_afterwards():
    slow = Slow()
    slow.let.set()
    gate = Gate(slow)
    with ThreadPoolExecutor(2) as pool:
        with gate.alone():
            asked = pool.submit(gate.ask, ["a"])
            while not gate._waiting:
                pass
            assert not slow.batches
        assert asked.result() == ["answer a"]


def test_an_interrupt_while_waiting_leaves_nobody_stuck():
    gate = Gate(lambda queries, started: list(queries))
    with ThreadPoolExecutor(1) as pool:
        with gate.alone():
            asked = pool.submit(gate.ask, ["a"])
            while not gate._waiting:
                pass
            ticket = gate._waiting[0]
            gate._leave(ticket)
        assert gate.ask(["b"]) == ["b"]
        ticket.turn.set()
        assert asked.result() == []


def test_searches_and_changes_of_one_collection_do_not_disturb_each_other(corners, tmp_path):
    stop = threading.Event()

    def storm():
        seen = set()
        while not stop.is_set():
            seen.update(corners.search(vectors=axis(3), k=40).ids)
        return seen

    with ThreadPoolExecutor(3) as pool:
        storms = [pool.submit(storm) for _ in range(3)]
        for n in range(3):
            np.save(tmp_path / f"late{n}.npy", np.eye(16, dtype=np.float32)[[3]])
            corners.add_vectors(tmp_path / f"late{n}.npy", space="made")
            assert f"late{n}#0" in corners.search(vectors=axis(3), k=40).ids
            corners.delete([f"v#{n}"])
        stop.set()
        assert all("v#15" in each.result() for each in storms)
    assert len(corners) == 16
