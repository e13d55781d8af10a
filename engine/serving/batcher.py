"""Dynamic batching without added delay: an idle lane runs a request at once; later requests form its next batch.

Requests of one lane have queries of the same shape, which the engine embeds and searches together. Queries that arrive
while a lane is busy wait together, and the first of them runs them all, as in the group commit of databases. Requests
of different lanes run at the same time, on the same session; numpy, FAISS and torch release Python's lock. So do some
batches of one lane where the machine has cores to spare: on two busy cores, one larger batch answers more queries per
second than two smaller ones (``benchmarks/speed/concurrent_search``).

Every request ends with its own answer or its own error. A failed batch is run again request
by request. An interrupt ends only its own thread; the requests that this thread was answering go back to the queue.
"""

import os
import threading
from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate
from operator import attrgetter
from threading import Event, Lock
from time import perf_counter
from typing import Any, Protocol

from quiver.engine.execution.plan import Result
from quiver.engine.execution.query_batch import Batch, join, one_of
from quiver.engine.execution.results import Results
from quiver.errors import QuiverError, explained
from quiver.types import Query

#: Cores that this process may use.
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
#: Batches of one lane that run at the same time: 1 on two cores, 2 on four, at most 4.
WIDTH = max(1, min(4, _CORES // 2))
#: Requests of more queries than this have a lane of their own kind, so that single queries do not wait for them.
_MANY = 32
#: Fields of a query that tell its lane.
_SHAPE = attrgetter(
    "target", "k", "offset", "where", "params", "spaces", "index", "scorer", "budget_ms", "group_by", "hybrid", "recall"
)


class Answering(Protocol):
    """The search function of a batcher."""

    def answer(self, queries: Sequence[Query], started: float) -> Results:
        """Answer queries, in their order; ``started`` is the arrival of the first, in seconds of ``perf_counter``."""
        ...


class _Ticket:
    """A request that waits for its answer."""

    __slots__ = ("answer", "error", "lane", "leads", "queries", "started", "turn")

    def __init__(self, queries: Sequence[Query], lane: Hashable = None) -> None:
        self.queries = queries
        self.lane = lane
        self.started = perf_counter()
        self.turn = Event()
        self.leads = False
        self.answer: Results | None = None
        self.error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.answer is not None or self.error is not None


class Batcher:
    """Joins the requests of any number of threads into batches.

    Args:
        on: answers the batches; several threads call it at once.
        width: number of batches of one lane that run at the same time.
        lane: returns the lane of a request.
    """

    def __init__(
        self, on: Answering, *, width: int = WIDTH, lane: "Callable[[Sequence[Query]], Hashable] | None" = None
    ) -> None:
        self._on = on
        self._lane = lane or lane_of
        self._width = width
        self._mutex = Lock()
        self._busy: dict[Hashable, int] = {}
        self._waiting: list[_Ticket] = []

    def ask(self, queries: Sequence[Query]) -> Results:
        """Answer queries, in one batch with the waiting requests of other threads.

        Raises:
            QuiverError: the error of these queries alone; queries of other threads never cause one.
        """
        ticket = _Ticket(queries, self._lane(queries))
        try:
            self._enter(ticket)
            if ticket.leads:
                self._lead(ticket)
        finally:
            self._leave(ticket)
        if ticket.error is not None:
            raise ticket.error
        assert ticket.answer is not None, "a request ends with an answer or an error"
        return ticket.answer

    def each(self, queries: Sequence[Query]) -> "list[Result | QuiverError]":
        """Answer queries as one batch, at once; each ends with its own answer or its own error.

        For callers that make batches themselves, such as a server: it waits for no other request.
        """
        tickets = [_Ticket([query]) for query in queries]
        if tickets:
            self._serve(tickets)
        return [_ended(ticket) for ticket in tickets]

    def _enter(self, ticket: _Ticket) -> None:
        """Wait until it is this request's turn, or until another thread has answered it."""
        with self._mutex:
            running = self._busy.get(ticket.lane, 0)
            ticket.leads = running < self._width
            if ticket.leads:
                self._busy[ticket.lane] = running + 1
            else:
                self._waiting.append(ticket)
        if not ticket.leads:
            ticket.turn.wait()

    def _leave(self, ticket: _Ticket) -> None:
        """Give the turn to the next request of the lane, or leave the queue; a second call does nothing."""
        with self._mutex:
            if ticket in self._waiting:  # an interrupt: nobody may wait for this thread
                self._waiting.remove(ticket)
            if not ticket.leads:
                return
            ticket.leads = False
            following = next((each for each in self._waiting if each.lane == ticket.lane), None)
            if following is not None:
                self._waiting.remove(following)
                following.leads = True
                following.turn.set()
            elif self._busy[ticket.lane] > 1:
                self._busy[ticket.lane] -= 1
            else:
                del self._busy[ticket.lane]

    def _lead(self, ticket: _Ticket) -> None:
        """Answer this request and the waiting ones; if that ends early, unanswered requests wait again."""
        with self._mutex:
            company = [each for each in self._waiting if each.lane == ticket.lane]
            self._waiting = [each for each in self._waiting if each.lane != ticket.lane]
        try:
            self._serve([ticket, *company])
        finally:
            with self._mutex:
                self._waiting[:0] = [each for each in company if not each.done]
            for each in company:
                if each.done:
                    each.turn.set()

    def _serve(self, together: Sequence[_Ticket]) -> None:
        try:
            started = min(each.started for each in together)
            found = self._on.answer(join(each.queries for each in together), started)
            ends = list(accumulate(len(each.queries) for each in together))
            for each, end in zip(together, ends, strict=True):
                each.answer = found if len(together) == 1 else found[end - len(each.queries) : end]
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # Ctrl-C is meant for this thread, whichever request it answers just now
            for each in together:
                each.answer = None
            if len(together) == 1:
                together[0].error = explained(error)
                return
            for each in together:
                self._serve([each])


def _ended(ticket: _Ticket) -> "Result | QuiverError":
    """Return the answer of a request of one query, or its error; a fault of Quiver itself is raised."""
    if ticket.error is not None:
        if isinstance(ticket.error, QuiverError):
            return ticket.error
        raise ticket.error
    assert ticket.answer is not None, "a request ends with an answer or an error"
    return ticket.answer[0]


def lane_of(queries: Sequence[Query]) -> Hashable:
    """Return the lane of a request: the shape that its queries share; requests of mixed queries have no company."""
    if not len(queries):
        return None
    many = len(queries) > _MANY
    if many and not isinstance(queries, Batch):
        return object()
    first = _lane(one_of(queries))
    alike = isinstance(queries, Batch) or len(queries) == 1 or all(_lane(query) == first for query in queries[1:])
    try:
        hash(first)
    except TypeError:  # a setting of a wrong type, which the planner refuses
        return object()
    return (many, first) if alike else object()


def _lane(query: Any) -> Hashable:
    if not isinstance(query, Query):
        return None
    return (*query.media, bool(query.like), *query.vectors), tuple(query.unlike_media), _SHAPE(query)


def each_alone(answer: Callable[[Sequence[Query]], Results], queries: Sequence[Query]) -> Results:
    """Answer queries in one batch; an error names the place of the first query that raises it.

    Raises:
        QuiverError: the error of that query alone, with the prefix ``queries[n]: ``.
    """
    try:
        return answer(queries)
    except QuiverError as error:
        if len(queries) < 2:
            raise
        place, found = _first_bad(answer, queries, error)
        if place is None:
            raise
        found.args = (f"queries[{place}]: {found}",)
        raise found from error


def _first_bad(
    answer: Callable[[Sequence[Query]], Results], queries: Sequence[Query], error: QuiverError
) -> tuple[int | None, QuiverError]:
    """Halve a failing batch until one query is left; None if every half succeeds alone."""
    start, end = 0, len(queries)
    while end - start > 1:
        middle = (start + end) // 2
        try:
            answer(queries[start:middle])
        except QuiverError as found:
            end, error = middle, found
        else:
            start = middle
    try:
        answer(queries[start:end])
    except QuiverError as found:
        return start, found
    return None, error
