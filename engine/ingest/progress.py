"""A progress bar on a terminal; no output in a pipe. Who runs an add for others can listen instead."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
#: Told the number of items done, and the expected number.
Listener = Callable[[int, int | None], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener about the progress of what runs in this block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def track(steps: Iterator[T], *, total: int | None, show: bool | None) -> Iterator[T]:
    """Pass steps on, and show items per second and the time left; an integer step stands for that number of items.

    Args:
        steps: the steps to pass on.
        total: expected number of items, if known.
        show: True always, False never, None if standard error is a terminal.
    """
    from tqdm import tqdm

    listener, done = _listener.get(), 0
    with tqdm(total=total, unit=" items", disable=None if show is None else not show, smoothing=0.1) as bar:
        for step in steps:
            count = step if isinstance(step, int) else 1
            bar.update(count)
            if listener is not None:
                done += count
                listener(done, total)
            yield step
