"""A progress bar on a terminal; no output in a pipe."""

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


def track(steps: Iterator[T], *, total: int | None, show: bool | None) -> Iterator[T]:
    """Pass steps on, and show items per second and the time left; an integer step stands for that number of items.

    Args:
        steps: the steps to pass on.
        total: expected number of items, if known.
        show: True always, False never, None if standard error is a terminal.
    """
    from tqdm import tqdm

    with tqdm(total=total, unit=" items", disable=None if show is None else not show, smoothing=0.1) as bar:
        for step in steps:
            bar.update(step if isinstance(step, int) else 1)
            yield step
