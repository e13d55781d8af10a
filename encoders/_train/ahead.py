"""Batches fetched in a thread while the model computes."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(fetch: Callable[[int], T], steps: range, *, depth: int = 2) -> Generator[T, None, None]:
    """Yield ``fetch(step)`` of every step in order, up to ``depth`` of them ahead of the consumer.

    What fetch raises is raised here, with its own traceback, when its turn has come. Close the generator
    (``contextlib.closing``) when leaving early: the thread ends with the fetch it is at.
    """
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="fetch")
    try:
        for step in steps:
            waiting.append(pool.submit(fetch, step))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
