"""Threads that work for an event loop: results and errors come back, and what waits at the end is told so."""

import asyncio
import threading

from quiver.engine.server.threads import Threads


def told(loop):
    """A future, and the function that sets it to what a thread hands over."""
    future = loop.create_future()
    return future, lambda result, error: future.set_result((result, error))


def test_results_and_errors_come_back_to_the_loop():
    async def run():
        loop, threads = asyncio.get_running_loop(), Threads(2, "t")
        one, done = told(loop)
        threads.submit(loop, lambda: threading.current_thread().name, done)
        other, failed = told(loop)
        threads.submit(loop, lambda: 1 / 0, failed)
        found = await asyncio.gather(one, other)
        threads.close()
        return found

    (name, none), (nothing, error) = asyncio.run(run())
    assert name in ("t-1", "t-2") and none is None
    assert nothing is None and isinstance(error, ZeroDivisionError)


def test_what_waits_at_the_end_is_cancelled_and_what_runs_ends():
    async def run():
        loop, threads, begun, go = asyncio.get_running_loop(), Threads(1, "t"), threading.Event(), threading.Event()
        running, done = told(loop)
        threads.submit(loop, lambda: (begun.set(), go.wait(60), 7)[-1], done)
        waiting, late = told(loop)
        threads.submit(loop, lambda: 8, late)
        await loop.run_in_executor(None, begun.wait, 60)
        threads.close()
        cancelled = await waiting
        go.set()
        return cancelled, await running

    (nothing, error), first = asyncio.run(run())
    assert nothing is None and isinstance(error, asyncio.CancelledError)
    assert first == (7, None)


def test_a_thread_whose_loop_has_ended_goes_on():
    threads, begun, go = Threads(1, "t"), threading.Event(), threading.Event()

    async def leave():
        loop = asyncio.get_running_loop()
        threads.submit(loop, lambda: (begun.set(), go.wait(60)), lambda result, error: None)
        await loop.run_in_executor(None, begun.wait, 60)

    async def ask():
        loop = asyncio.get_running_loop()
        future, done = told(loop)
        threads.submit(loop, lambda: 9, done)
        go.set()
        return await future

    asyncio.run(leave())
    assert asyncio.run(ask()) == (9, None)
    threads.close()
