"""Searches of many threads: answered together, each with its own answer or its own fault."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

import quiver
from quiver.engine.execution.query_batch import batch_of
from quiver.engine.serving.batcher import Batcher, _Ticket, lane_of
from quiver.engine.storage.column_index import Resident
from quiver.errors import BadSpec, QuiverError, SpaceMismatch
from quiver.types import Query


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
    assert all("takes vectors of dimension 16, not 3" in found[n] for n in range(0, 100, 5))
    assert [found[n] for n in range(100) if n % 5] == [(f"v#{n % 16}",) for n in range(100) if n % 5]


@dataclass
class Answers:
    """Answers queries by a function of them and of the time they were asked."""

    answer: Callable


class Slow:
    """Answers queries by their number, the first time only when it is let; it keeps what was asked together."""

    def __init__(self):
        self.batches = []
        self.begun, self.let = threading.Event(), threading.Event()

    def answer(self, queries, started):
        self.batches.append(list(queries))
        self.begun.set()
        assert self.let.wait(10)
        if "bad" in queries:
            raise BadSpec("bad")
        return [f"answer {query}" for query in queries]


def late(batcher, slow, asked):
    """Ask one batch, and others while that is being answered."""
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batcher.ask, ["first"])
        assert slow.begun.wait(10)
        others = [pool.submit(batcher.ask, queries) for queries in asked]
        while len(batcher._waiting) < len(asked):
            pass
        slow.let.set()
    return [first, *others]


def test_who_comes_meanwhile_is_answered_together():
    slow = Slow()
    batcher = Batcher(slow, width=1)
    done = late(batcher, slow, [["a"], ["b", "c"], ["d"]])
    assert [each.result() for each in done] == [
        ["answer first"],
        ["answer a"],
        ["answer b", "answer c"],
        ["answer d"],
    ]
    assert slow.batches[0] == ["first"] and sorted(slow.batches[1]) == ["a", "b", "c", "d"] and len(slow.batches) == 2


def test_queries_of_others_are_asked_again_without_the_one_that_is_bad():
    slow = Slow()
    done = late(Batcher(slow, width=1), slow, [["a"], ["bad"], ["c"]])
    assert [each.result() for each in (done[1], done[3])] == [["answer a"], ["answer c"]]
    with pytest.raises(BadSpec, match="bad"):
        done[2].result()


class Gates:
    """Answers a query when its own gate is opened; it keeps how many were answered at once."""

    def __init__(self, *names):
        self.gates = {name: threading.Event() for name in names}
        self.begun = {name: threading.Event() for name in names}
        self.batches = []

    def answer(self, queries, started):
        self.batches.append(list(queries))
        for query in queries:
            self.begun[query.where].set()
        for query in queries:
            assert self.gates[query.where].wait(10)
        return [f"answer {query.where}" for query in queries]


def test_a_slow_request_does_not_hold_up_requests_of_another_shape():
    gates = Gates("slow", "quick")
    gates.gates["quick"].set()
    batcher = Batcher(gates)
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(batcher.ask, [Query({"text": "x"}, where="slow")]) for _ in range(3)]
        assert gates.begun["slow"].wait(10)
        assert batcher.ask([Query({"text": "x"}, where="quick")]) == ["answer quick"]
        assert not any(each.done() for each in slow)
        gates.gates["slow"].set()
        assert [each.result(10) for each in slow] == [["answer slow"]] * 3
    assert not batcher._busy and not batcher._waiting


def test_two_batches_of_one_shape_run_at_the_same_time_and_the_rest_joins_the_next():
    gates = Gates("same")
    batcher = Batcher(gates, width=2)
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(batcher.ask, [Query({"text": "x"}, where="same")]) for _ in range(6)]
        while len(batcher._waiting) < 4:
            pass
        assert [len(batch) for batch in gates.batches] == [1, 1]
        gates.gates["same"].set()
        assert [each.result(10) for each in asked] == [["answer same"]] * 6
    assert sum(len(batch) for batch in gates.batches) == 6 and not batcher._busy


def test_queries_share_a_lane_if_they_differ_only_in_contents():
    def lane(**settings):
        return lane_of([Query(**{"media": {"text": "a"}, **settings})])

    assert lane() == lane(media={"text": "b"}) == lane(weights={"text": 2}) == lane(exclude=("x",))
    assert len({lane(), lane(k=3), lane(where="n > 3"), lane(scorer="none"), lane(media={"image": "a.jpg"})}) == 5
    vectors = {"made": np.zeros((40, 16), np.float32)}
    assert lane_of(batch_of({"vectors": vectors})) != lane_of([Query(vectors={"made": vectors["made"][0]})])
    mixed = [Query({"text": "a"}), Query({"text": "a"}, k=3)]
    assert lane_of(mixed) != lane_of(mixed)


class Panic(BaseException):
    """Named as Rust's panics are, which are no Exceptions."""


Panic.__name__ = "PanicException"


class Raising(Slow):
    """Answers as Slow does, but raises what a query is, and anything a batch is asked to raise."""

    def __init__(self, joint=None):
        super().__init__()
        self.joint = joint

    def answer(self, queries, started):
        found = super().answer(queries, started)
        for query in queries:
            if isinstance(query, BaseException):
                raise query
        if self.joint is not None and len(queries) > 1:
            raise self.joint
        return found


@pytest.mark.parametrize("kind", [ValueError, MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit, Panic])
def test_whatever_a_query_raises_the_others_of_its_batch_get_their_answers(kind):
    slow = Raising()
    done = late(Batcher(slow, width=1), slow, [["a"], [kind("told")], ["c", "d"]])
    assert done[1].result() == ["answer a"] and done[3].result() == ["answer c", "answer d"]
    raised = done[2].exception()
    if kind is Panic:
        assert isinstance(raised, QuiverError) and "told" in str(raised) and "\n" not in str(raised)
    else:
        assert isinstance(raised, kind)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, Panic])
def test_a_batch_that_fails_only_as_a_whole_is_answered_one_by_one(kind):
    slow = Raising(joint=kind("too much at once"))
    done = late(Batcher(slow, width=1), slow, [["a"], ["b"], ["c"]])
    assert [each.result() for each in done[1:]] == [["answer a"], ["answer b"], ["answer c"]]


def test_ctrl_c_ends_the_thread_that_leads_and_nobody_else():
    begun, waits = threading.Event(), threading.Event()

    def answer(queries, started):
        if "mine" in queries:
            begun.set()
            assert waits.wait(10)
            raise KeyboardInterrupt  # as a signal does, in the main thread only
        return [f"answer {query}" for query in queries]

    batcher = Batcher(Answers(answer), width=1)

    def ask(name):
        assert begun.wait(10)
        return batcher.ask([name])

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(ask, name) for name in ("a", "b")]

        def release():
            while len(batcher._waiting) < 2:
                pass
            waits.set()

        releasing = threading.Thread(target=release)
        releasing.start()
        with pytest.raises(KeyboardInterrupt):
            batcher.ask(["mine"])
        assert [each.result(10) for each in others] == [["answer a"], ["answer b"]]
        releasing.join()
    assert batcher.ask(["later"]) == ["answer later"]


def test_ctrl_c_while_a_batch_of_several_is_answered_leaves_the_others_waiting_for_the_next_leader():
    batcher, first, seen = Batcher(Answers(lambda queries, started: answer(queries)), width=1), threading.Event(), []

    def answer(queries):
        seen.append(list(queries))
        if queries == ["first"]:
            assert first.wait(10)
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return [f"answer {query}" for query in queries]

    def push():
        while len(batcher._waiting) < 3:
            pass
        first.set()

    with ThreadPoolExecutor(4) as pool:
        lead = pool.submit(batcher.ask, ["first"])
        while not seen:
            pass
        pushing = pool.submit(push)
        mine = threading.Event()

        def behind(name):
            assert mine.wait(10)
            while not batcher._waiting:
                pass
            return batcher.ask([name])

        others = [pool.submit(behind, name) for name in ("a", "b")]
        mine.set()
        with pytest.raises(KeyboardInterrupt):  # the main thread waits first, so it leads the next batch
            batcher.ask(["main"])
        assert [each.result(10) for each in others] == [["answer a"], ["answer b"]]
        assert lead.result(10) == ["answer first"]
        pushing.result(10)
    assert not batcher._waiting and not batcher._busy


def test_an_interrupt_while_waiting_leaves_nobody_stuck():
    let = threading.Event()
    batcher = Batcher(Answers(lambda queries, started: list(queries) if let.wait(10) else []), width=1)
    waiting = threading.Event()

    class Interrupted(threading.Event):
        def wait(self, timeout=None):
            waiting.set()
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(batcher.ask, ["first"])
        while not batcher._busy:
            pass
        ticket = _Ticket(["a"], lane_of(["a"]))
        ticket.turn = Interrupted()
        with pytest.raises(KeyboardInterrupt):
            try:
                batcher._enter(ticket)
            finally:
                batcher._leave(ticket)
        assert waiting.is_set() and not batcher._waiting
        let.set()
        assert first.result(10) == ["first"]
    assert batcher.ask(["b"]) == ["b"]


def test_a_batch_with_a_bad_query_names_its_place_and_keeps_its_kind(corners):
    good = [Query(vectors=axis(n), k=1) for n in range(7)]
    assert [answer.ids for answer in corners.search_batch(good)] == [(f"v#{n}",) for n in range(7)]
    bad = [*good[:4], Query(vectors={"made": np.ones(3, np.float32)}, k=1), *good[4:]]
    with pytest.raises(SpaceMismatch, match=r"^queries\[4\]: .*takes vectors of dimension 16, not 3"):
        corners.search_batch(bad)
    with pytest.raises(BadSpec, match=r"^queries\[1\]: no item has the id 'gone'"):
        corners.search_batch([Query(like=("v#1",)), Query(like=("gone",)), Query(like=("away",))])


def test_an_interrupted_look_at_changes_is_made_again(corners, tmp_path, monkeypatch):
    assert corners.search(vectors=axis(3), k=1).ids == ("v#3",)
    np.save(tmp_path / "late.npy", 2 * np.eye(16, dtype=np.float32)[[3]])
    corners.add_vectors(tmp_path / "late.npy", space="made")
    corners.delete(["v#3"])
    whole = Resident._renew

    def interrupted(self, held):
        raise KeyboardInterrupt

    monkeypatch.setattr(Resident, "_renew", interrupted)
    with pytest.raises(KeyboardInterrupt):
        corners.search(vectors=axis(3), k=1)
    monkeypatch.setattr(Resident, "_renew", whole)
    assert corners.search(vectors=axis(3), k=1).ids == ("late#0",)


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
