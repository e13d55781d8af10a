"""Searches that arrive together are answered together, one batch after another.

Whoever comes first answers at once, alone: nobody waits for company. Who comes meanwhile waits, and the next one whose
turn it is takes all who wait along, as databases commit transactions in groups. Within a batch the engine embeds and
searches together what has one shape. So there is never more than one search at work on what a collection keeps in
memory, which its parts rely on.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from threading import Event, Lock
from time import perf_counter

from quiver.engine.execution.query_batch import join
from quiver.engine.execution.results import Results
from quiver.types import Query

#: Takes queries, and when the first of them was asked, as ``perf_counter`` counts.
Answer = Callable[[Sequence[Query], float], Results]


class _Ticket:
    """Somebody who waits for an answer, or, without queries, to be alone."""

    __slots__ = ("answer", "error", "leads", "queries", "started", "turn")

    def __init__(self, queries: Sequence[Query] | None) -> None:
        self.queries = queries
        self.started = perf_counter()
        self.turn = Event()
        self.leads = False
        self.answer = Results.none()
        self.error: Exception | None = None


class Gate:
    """The way into a collection, for any number of threads."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._mutex = Lock()
        self._busy = False
        self._waiting: list[_Ticket] = []

    def ask(self, queries: Sequence[Query]) -> Results:
        """Answer queries, together with those of others that wait.

        Raises:
            QuiverError: what these queries raise alone; the queries of others do no harm.
        """
        ticket = self._enter(queries)
        if ticket.leads:
            together = [ticket, *self._company()]
            try:
                self._serve(together)
            finally:
                self._pass_on()
                for each in together[1:]:
                    each.turn.set()
        if ticket.error is not None:
            raise ticket.error
        return ticket.answer

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep searches waiting meanwhile."""
        self._enter(None)
        try:
            yield
        finally:
            self._pass_on()

    def _enter(self, queries: Sequence[Query] | None) -> _Ticket:
        """Wait until it is one's turn, or until somebody has answered."""
        ticket = _Ticket(queries)
        with self._mutex:
            ticket.leads = not self._busy
            self._busy = True
            if not ticket.leads:
                self._waiting.append(ticket)
        if not ticket.leads:
            try:
                ticket.turn.wait()
            except BaseException:  # an interrupt: nobody may wait for this thread now
                self._leave(ticket)
                raise
        return ticket

    def _company(self) -> list[_Ticket]:
        """Return who waits for an answer."""
        with self._mutex:
            company = [each for each in self._waiting if each.queries is not None]
            self._waiting = [each for each in self._waiting if each.queries is None]
        return company

    def _pass_on(self) -> None:
        with self._mutex:
            self._busy = bool(self._waiting)
            if self._busy:
                self._waiting[0].leads = True
                self._waiting.pop(0).turn.set()

    def _leave(self, ticket: _Ticket) -> None:
        with self._mutex:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                return
        if ticket.leads:
            self._pass_on()

    def _serve(self, together: Sequence[_Ticket]) -> None:
        try:
            found = self._answer(join(each.queries or () for each in together), min(each.started for each in together))
            ends = list(accumulate(len(each.queries or ()) for each in together))
            for each, end in zip(together, ends, strict=True):
                each.answer = found if len(together) == 1 else found[end - len(each.queries or ()) : end]
        except Exception as error:
            if len(together) == 1:
                together[0].error = error
                return
            for each in together:
                self._serve([each])
