"""A progress bar for a person; nothing at all for a pipe."""

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


def track(steps: Iterator[T], *, total: int | None, show: bool | None) -> Iterator[T]:
    """Pass steps on, showing items per second and the time left; a step that is a number counts as so many items.

    Args:
        steps: what to pass on.
        total: how many items there will be, where known.
        show: True always, False never, None where standard error is a terminal.
    """
    from tqdm import tqdm

    with tqdm(total=total, unit=" items", disable=None if show is None else not show, smoothing=0.1) as bar:
        for step in steps:
            bar.update(step if isinstance(step, int) else 1)
            yield step
