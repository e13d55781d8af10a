"""Threads that work for an event loop.

An executor of the standard library answers through two futures, which wake the loop twice and take three of its turns.
A search takes a millisecond, so that counts: here the thread hands its result to the loop directly.
"""

import asyncio
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

#: Called in the event loop with a result, or with the error instead.
Done = Callable[[Any, BaseException | None], None]
_Job = tuple[asyncio.AbstractEventLoop, Callable[[], Any], Done]


class Threads:
    """A number of threads with one queue; they start when they are first needed.

    Args:
        count: number of threads.
        name: what they are called.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._started = 0

    def submit(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Any], done: Done) -> None:
        """Run ``work`` in a thread, then ``done`` in the event loop, from which this is called."""
        if self._started < self._count:
            self._started += 1
            Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()
        self._queue.put((loop, work, done))

    def close(self) -> None:
        """End the threads after what they are doing; what waits is told that it is cancelled."""
        while True:
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
            if job is not None:
                _tell(job[0], job[2], None, asyncio.CancelledError())
        for _ in range(self._started):
            self._queue.put(None)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            loop, work, done = job
            result, error = None, None
            try:
                result = work()
            except BaseException as failure:  # whoever asked is told
                error = failure
            _tell(loop, done, result, error)
            del job, work, done, result, error  # nothing is held while the thread waits


def _tell(loop: asyncio.AbstractEventLoop, done: Done, result: Any, error: BaseException | None) -> None:
    try:
        loop.call_soon_threadsafe(done, result, error)
    except RuntimeError:  # the loop has ended, and with it whoever asked
        return
