"""Batches of the service: company, deadlines, classes of cost, and what happens when too many wait."""

import asyncio
import threading
from time import monotonic

import numpy as np
import pytest

from quiver.engine.server.gate import Gate
from quiver.engine.server.problems import Problem
from quiver.errors import BadSpec
from quiver.types import Query


class Watcher:
    def __init__(self):
        self.sizes, self.why = [], []

    def batch(self, size, waited):
        self.sizes.append(size)

    def refused(self, why):
        self.why.append(why)


def ask(gate, engine, n, seconds=60.0):
    """Ask one of many queries of the same lane; the lane is told by the shape, so the number is in the vector."""
    made = Query(vector=np.full(2, n, "float32"))
    return gate.ask(engine, made, lambda result: result, deadline=monotonic() + seconds)


class Numbered:
    """Answers when it is told to, and notes what it was asked together."""

    def __init__(self):
        self.go, self.began, self.batches = threading.Event(), threading.Event(), []

    def search_each(self, queries):
        self.began.set()
        self.go.wait(60)
        numbers = [int(query.vectors[""][0]) for query in queries]
        self.batches.append(numbers)
        return [BadSpec("bad") if n == 13 else n for n in numbers]


@pytest.fixture
def engine():
    return Numbered()


@pytest.fixture
def gate():
    made = Gate(together=8, waiting=20, watcher=Watcher())
    yield made
    made.close()


async def started(engine):
    while not engine.began.is_set():
        await asyncio.sleep(0.001)


def test_searches_that_arrive_meanwhile_make_the_next_batches_in_order(gate, engine, monkeypatch):
    monkeypatch.setattr("quiver.engine.server.gate.WIDTH", 1)

    async def run():
        first = asyncio.ensure_future(ask(gate, engine, 0))
        await started(engine)
        others = [asyncio.ensure_future(ask(gate, engine, n)) for n in range(1, 12)]
        await asyncio.sleep(0)
        engine.go.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(run()) == list(range(12))
    assert engine.batches == [[0], list(range(1, 9)), [9, 10, 11]]
    assert gate._watcher.sizes == [1, 8, 3] and gate.idle


def test_an_error_is_of_its_own_query_alone(gate, engine):
    async def run():
        engine.go.set()
        return await asyncio.gather(*(ask(gate, engine, n) for n in (12, 13, 14)), return_exceptions=True)

    one, error, other = asyncio.run(run())
    assert (one, other) == (12, 14) and isinstance(error, BadSpec)


def test_a_search_whose_deadline_has_passed_is_answered_so_and_never_starts(gate, engine, monkeypatch):
    monkeypatch.setattr("quiver.engine.server.gate.WIDTH", 1)

    async def run():
        first = asyncio.ensure_future(ask(gate, engine, 0))
        await started(engine)
        with pytest.raises(Problem) as late:
            await ask(gate, engine, 1, seconds=0.0)
        engine.go.set()
        await first
        return late.value.status

    assert asyncio.run(run()) == 504
    assert engine.batches == [[0]] and gate._watcher.why == ["deadline"] and gate.idle


def test_if_too_many_wait_a_search_is_refused_with_the_time_to_try_again(gate, engine, monkeypatch):
    monkeypatch.setattr("quiver.engine.server.gate.WIDTH", 1)

    async def run():
        waiting = [asyncio.ensure_future(ask(gate, engine, 0))]
        await started(engine)
        waiting += [asyncio.ensure_future(ask(gate, engine, n)) for n in range(21, 41)]
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await ask(gate, engine, 99)
        engine.go.set()
        await asyncio.gather(*waiting)
        return refused.value

    problem = asyncio.run(run())
    assert problem.status == 503 and int(problem.headers["Retry-After"]) >= 1
    assert gate._watcher.why == ["queue"] and sum(map(len, engine.batches)) == 21


def test_an_expensive_lane_does_not_hold_up_a_cheap_one(gate, engine):
    cheap = Numbered()
    cheap.go.set()

    async def run():
        slow = Query({"image": b"x"})
        engine.search_each = lambda queries: (engine.began.set(), engine.go.wait(60), [7 for _ in queries])[-1]
        heavy = [
            asyncio.ensure_future(gate.ask(engine, slow, lambda result: result, deadline=monotonic() + 60))
            for _ in range(9)
        ]
        await started(engine)
        found = await ask(gate, cheap, 5)
        assert not any(each.done() for each in heavy)
        engine.go.set()
        return found, await asyncio.gather(*heavy)

    assert asyncio.run(run()) == (5, [7] * 9)


def test_a_lane_that_was_slow_is_of_a_dearer_class(gate):
    made = Query(vector=np.ones(2, "float32"))
    classes = []
    for ms in (1.0, 50.0, 900.0):
        gate._costs.clear()
        gate._learn(("on", "lane", 0), ms)
        classes.append(gate._class(made, "lane"))
    assert classes == [0, 1, 2]


def test_whoever_no_longer_waits_is_not_answered(gate, engine, monkeypatch):
    monkeypatch.setattr("quiver.engine.server.gate.WIDTH", 1)

    async def run():
        first = asyncio.ensure_future(ask(gate, engine, 0))
        await started(engine)
        gone, stays = (asyncio.ensure_future(ask(gate, engine, n)) for n in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        engine.go.set()
        return await asyncio.gather(first, stays)

    assert asyncio.run(run()) == [0, 2]
    assert engine.batches == [[0], [2]]
