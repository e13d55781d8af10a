"""Batches fetched ahead of the model, in a thread or in worker processes.

A batch is a function of its step alone, so that the number of workers changes nothing but the speed.
"""

import pickle
import signal
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

T = TypeVar("T")

#: Batches ready beyond the one that is taken: of the thread, and of each worker.
AHEAD = 2


def ahead(fetch: Callable[[int], T], steps: range, *, workers: int, pin: bool = False) -> Generator[T, None, None]:
    """Yield ``fetch(step)`` of every step in order, some of them ahead of the consumer.

    What fetch raises is raised here when its turn has come. Close the generator (``contextlib.closing``) when leaving
    early: the thread ends with the fetch it is at, and processes are ended.

    Args:
        fetch: makes a batch.
        steps: which.
        workers: processes, which are forked and share the memory of this one; 0 for a thread.
        pin: put tensors into page-locked memory, from which a GPU copies while it computes.
    """
    if workers:
        return _by_workers(fetch, steps, workers, pin=pin)
    return _by_thread((lambda step: _pinned(fetch(step))) if pin else fetch, steps)


def _by_thread(fetch: Callable[[int], T], steps: range) -> Generator[T, None, None]:
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="fetch")
    try:
        for step in steps:
            waiting.append(pool.submit(fetch, step))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _by_workers(fetch: Callable[[int], T], steps: range, workers: int, *, pin: bool) -> Generator[T, None, None]:
    with _many_workers():
        loader = DataLoader(
            _Steps(fetch, steps),
            batch_size=None,
            num_workers=min(workers, max(1, len(steps))),
            prefetch_factor=AHEAD,
            collate_fn=_as_it_is,
            pin_memory=pin,
            worker_init_fn=_begin,
            multiprocessing_context="fork",
        )
        found: Iterator[Any] = iter(loader)
    try:
        for each in found:
            if isinstance(each, _Failure):
                raise each.error
            yield each
    finally:
        del found  # which ends the processes


@dataclass(frozen=True, slots=True)
class _Failure:
    """An error of a worker: as a batch, so that it arrives in its turn, as it was raised."""

    error: Exception


class _Steps(Dataset[Any]):
    """Batches by place."""

    def __init__(self, fetch: Callable[[int], Any], steps: range) -> None:
        self._fetch, self._steps = fetch, steps

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, place: int) -> Any:
        try:
            return self._fetch(self._steps[place])
        except Exception as error:
            return _Failure(_portable(error))


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent to another process, with its traceback as a note."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        sent = pickle.loads(pickle.dumps(error))
        whole = type(sent) is type(error) and str(sent) == str(error)
    except Exception:
        whole = False
    return error if whole else RuntimeError(f"{type(error).__name__}: {error}")


def _as_it_is(batch: T) -> T:
    return batch


def _begin(number: int) -> None:
    """Leave signals to the training's own process, which ends the workers.

    Ctrl-C and some schedulers signal all processes. The first SIGTERM is theirs, a second one is the training's.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def later(signum: int, _: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, later)


@contextmanager
def _many_workers() -> Iterator[None]:
    """Allow more workers than cores: the user has chosen their number. Lance warns of forks; workers never use it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
        warnings.filterwarnings("ignore", message="lance is not fork-safe", category=UserWarning)
        yield


def _pinned(batch: T) -> T:
    pinned: T = torch.utils.data._utils.pin_memory.pin_memory(batch)
    return pinned
