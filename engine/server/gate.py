"""Batches of searches, bounded in company, in time and in number.

Searches of one lane (the shape that the engine can answer together, see ``serving.batcher``) that arrive while a batch
of it runs make the next batch. Lanes of different cost have threads of their own, so that a cheap search never waits
for an expensive reranker. A search whose deadline has passed is dropped before it starts. If too many wait, a new one
is refused with the time after which to try again.
"""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, perf_counter
from typing import Any, Protocol

from quiver.engine.execution.plan import Result
from quiver.engine.server.problems import Problem
from quiver.engine.server.threads import Threads
from quiver.engine.serving.batcher import WIDTH, lane_of
from quiver.errors import QuiverError
from quiver.types import Query

#: Milliseconds per query below which a lane is cheap, or of middle cost.
_CLASSES = (20.0, 200.0)
#: Largest batch of a lane of each class, as a share of the largest batch of all.
_SHARES = (1.0, 0.25, 0.0625)
#: Share of a new measurement in the mean cost of a lane, and lanes whose cost is remembered.
_NEW, _LANES = 0.2, 1_024


class Searched(Protocol):
    """What answers: a collection, or one at a version."""

    def search_each(self, queries: Sequence[Query]) -> list[Result | QuiverError]:
        """Answer queries, each with its own answer or error."""
        ...


@dataclass(slots=True)
class Ticket:
    """A search that waits."""

    query: Query
    finish: Callable[[Result], Any]
    future: "asyncio.Future[Any]"
    deadline: float
    arrived: float = field(default_factory=perf_counter)


@dataclass(slots=True)
class _Lane:
    on: Searched
    cost: int
    waiting: deque[Ticket] = field(default_factory=deque)
    running: int = 0


class Watcher(Protocol):
    """Told about batches."""

    def batch(self, size: int, waited: Sequence[float]) -> None:
        """A batch begins: its size, and the seconds that each query waited."""
        ...

    def refused(self, why: str) -> None:
        """A query was not answered."""
        ...


class Gate:
    """Lets searches through to the engine.

    Args:
        together: most queries of a batch.
        waiting: most queries that wait.
        watcher: told about batches.
    """

    def __init__(self, *, together: int, waiting: int, watcher: Watcher) -> None:
        self._together, self._most, self._watcher = together, waiting, watcher
        self._lanes: dict[Hashable, _Lane] = {}
        self._costs: OrderedDict[Hashable, float] = OrderedDict()
        self._count = self._busy = 0
        self._pools = [Threads(max(1, WIDTH), f"quiver-search-{n}") for n in range(3)]

    @property
    def idle(self) -> bool:
        """Whether no search runs or waits."""
        return not self._count and not self._busy

    def close(self) -> None:
        """End the threads, after what they are doing."""
        for pool in self._pools:
            pool.close()

    async def ask(self, on: Searched, query: Query, finish: Callable[[Result], Any], *, deadline: float) -> Any:
        """Answer a query, together with others that wait.

        Args:
            on: what answers.
            query: the query.
            finish: turns the answer into what is returned; it runs in the thread of the search, since it reads hits.
            deadline: time of ``monotonic`` after which nobody waits for the answer.

        Raises:
            QuiverError: the error of this query.
            Problem: too many wait, or the deadline has passed.
        """
        if self._count >= self._most:
            self._watcher.refused("queue")
            seconds = max(1, math.ceil(self._count * self._mean() / 1e3))
            raise Problem(
                503,
                f"{self._count} searches wait already: try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
                kind="overloaded",
            )
        loop = asyncio.get_running_loop()
        ticket = Ticket(query, finish, loop.create_future(), deadline)
        late = loop.call_at(loop.time() + max(0.0, deadline - monotonic()), self._expire, ticket)
        lane_name = lane_of([query])
        cost = self._class(query, lane_name)
        name = (id(on), lane_name, cost)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(on, cost)
        lane.waiting.append(ticket)
        self._count += 1
        if lane.running < WIDTH:
            self._start(name, lane, loop)
        try:
            return await ticket.future
        finally:
            late.cancel()

    def _expire(self, ticket: Ticket) -> None:
        if not ticket.future.done():
            self._watcher.refused("deadline")
            ticket.future.set_exception(Problem(504, "the search did not end before its deadline", kind="deadline"))

    def _class(self, query: Query, lane: Hashable) -> int:
        """Return the cost class of a query: by what its lane has cost so far, else by its inputs."""
        known = self._costs.get(lane)
        if known is None:
            return 1 if query.media else 0
        return sum(known >= bound for bound in _CLASSES)

    def _mean(self) -> float:
        return sum(self._costs.values()) / len(self._costs) if self._costs else 1.0

    def _start(self, name: Hashable, lane: _Lane, loop: asyncio.AbstractEventLoop) -> None:
        """Run the next batch of a lane; a lane without work is forgotten."""
        batch = self._next(name, lane)
        if not batch:
            if not lane.running:
                self._lanes.pop(name, None)
            return
        lane.running += 1
        self._busy += 1
        now = perf_counter()
        self._watcher.batch(len(batch), [now - each.arrived for each in batch])
        self._pools[lane.cost].submit(loop, partial(_work, lane.on, batch), partial(self._end, name, lane, batch, loop))

    def _next(self, name: Hashable, lane: _Lane) -> list[Ticket]:
        """Take the next batch: as many as the class of the lane allows and as can end before the first deadline."""
        most = max(1, int(self._together * _SHARES[lane.cost]))
        each = self._costs.get(name[1], 1.0) if isinstance(name, tuple) else 1.0
        batch: list[Ticket] = []
        while lane.waiting and len(batch) < most:
            ticket = lane.waiting[0]
            left = (ticket.deadline - monotonic()) * 1e3
            if batch and len(batch) * each > left / 2:
                break
            self._count -= 1
            lane.waiting.popleft()
            if not ticket.future.done():
                batch.append(ticket)
        return batch

    def _end(
        self, name: Hashable, lane: _Lane, batch: Sequence[Ticket], loop: asyncio.AbstractEventLoop,
        found: "tuple[list[Any], float] | None", error: BaseException | None,
    ) -> None:  # fmt: skip
        """Tell the waiting requests of a batch what it has found, and begin the next batch of the lane."""
        lane.running -= 1
        self._busy -= 1
        if isinstance(error, asyncio.CancelledError):
            for ticket in batch:
                ticket.future.cancel()
            return
        if found is None:
            ended: Sequence[Any] = [error] * len(batch)
        else:
            ended, ms = found
            self._learn(name, ms / len(batch))
        for ticket, answer in zip(batch, ended, strict=True):
            if ticket.future.done():
                continue
            if isinstance(answer, BaseException):
                ticket.future.set_exception(answer)
            else:
                ticket.future.set_result(answer)
        self._start(name, lane, loop)

    def _learn(self, name: Hashable, ms: float) -> None:
        lane = name[1] if isinstance(name, tuple) else name
        before = self._costs.pop(lane, ms)
        self._costs[lane] = before + _NEW * (ms - before)
        if len(self._costs) > _LANES:
            self._costs.popitem(last=False)


def _work(on: Searched, batch: Sequence[Ticket]) -> tuple[list[Any], float]:
    """Answer a batch, in a thread: what each request returns, or its error; and the milliseconds it took."""
    started = perf_counter()
    answers = on.search_each([ticket.query for ticket in batch])
    ended: list[Any] = []
    for ticket, answer in zip(batch, answers, strict=True):
        if isinstance(answer, QuiverError):
            ended.append(answer)
            continue
        try:
            ended.append(ticket.finish(answer))
        except Exception as error:  # reading the hits of one answer failed
            ended.append(error)
    return ended, (perf_counter() - started) * 1e3
