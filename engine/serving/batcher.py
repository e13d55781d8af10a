"""Dynamic batching without added delay: an idle batcher runs a request at once; later requests form the next batch.

Queries that arrive while a batch runs wait together, and the first of them runs them all, as in the group commit of
databases. The engine embeds and searches queries of one shape together. At most one search runs at a time
on the in-memory data of a collection, which is not safe for concurrent use.

Every request ends with its own answer or its own error. A failed batch is run again request
by request. An interrupt ends only its own thread; the requests that this thread was answering go back to the queue.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from threading import Event, Lock
from time import perf_counter
from typing import Protocol

from quiver.engine.execution.query_batch import join
from quiver.engine.execution.results import Results
from quiver.errors import QuiverError, explained
from quiver.types import Query


class Answering(Protocol):
    """The search function of a batcher."""

    def answer(self, queries: Sequence[Query], started: float) -> Results:
        """Answer queries, in their order; ``started`` is the arrival of the first, in seconds of ``perf_counter``."""
        ...


class _Ticket:
    """A request that waits for its answer; without queries it waits for exclusive use."""

    __slots__ = ("answer", "error", "leads", "queries", "started", "turn")

    def __init__(self, queries: Sequence[Query] | None) -> None:
        self.queries = queries
        self.started = perf_counter()
        self.turn = Event()
        self.leads = False
        self.answer: Results | None = None
        self.error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.answer is not None or self.error is not None


class Batcher:
    """Joins the requests of any number of threads into batches."""

    def __init__(self, on: Answering) -> None:
        self._on = on
        self._mutex = Lock()
        self._busy = False
        self._waiting: list[_Ticket] = []

    def ask(self, queries: Sequence[Query]) -> Results:
        """Answer queries, in one batch with the waiting requests of other threads.

        Raises:
            QuiverError: the error of these queries alone; queries of other threads never cause one.
        """
        ticket = _Ticket(queries)
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

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold exclusive use: other requests wait."""
        ticket = _Ticket(None)
        try:
            self._enter(ticket)
            yield
        finally:
            self._leave(ticket)

    def _enter(self, ticket: _Ticket) -> None:
        """Wait until it is this request's turn, or until another thread has answered it."""
        with self._mutex:
            ticket.leads = not self._busy
            self._busy = True
            if not ticket.leads:
                self._waiting.append(ticket)
        if not ticket.leads:
            ticket.turn.wait()

    def _leave(self, ticket: _Ticket) -> None:
        """Give the turn to the next request, or leave the queue; a second call does nothing."""
        with self._mutex:
            if ticket in self._waiting:  # an interrupt: nobody may wait for this thread
                self._waiting.remove(ticket)
            if not ticket.leads:
                return
            ticket.leads = False
            self._busy = bool(self._waiting)
            if self._busy:
                self._waiting[0].leads = True
                self._waiting.pop(0).turn.set()

    def _lead(self, ticket: _Ticket) -> None:
        """Answer this request and the waiting ones; if that ends early, unanswered requests wait again."""
        with self._mutex:
            company = [each for each in self._waiting if each.queries is not None]
            self._waiting = [each for each in self._waiting if each.queries is None]
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
            found = self._on.answer(join(each.queries or () for each in together), started)
            ends = list(accumulate(len(each.queries or ()) for each in together))
            for each, end in zip(together, ends, strict=True):
                each.answer = found if len(together) == 1 else found[end - len(each.queries or ()) : end]
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
