"""Progress of long work: a bar on a terminal; elsewhere a line each minute, so that a log shows that work goes on."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

#: Seconds between two lines where standard error is no terminal.
PAUSE = 60.0


class Progress:
    """Count of rows that are done; a context manager.

    Args:
        what: the work, such as "timm model=resnet50 image".
        total: rows in all.
        unit: the rows, as in "pictures".
        done: rows that were done before.
        silent: show nothing.
    """

    def __init__(self, what: str, total: int, *, unit: str = "rows", done: int = 0, silent: bool = False) -> None:
        self._what, self._total, self._unit, self._done = what, total, unit, done
        self._bar = tqdm(total=total, initial=done, unit=f" {unit}", desc=what or None, disable=silent or None)
        self._lines = not silent and self._bar.disable
        self._fresh = 0
        self._began = self._told = time.monotonic()

    def update(self, count: int = 1) -> None:
        """Count rows."""
        self._done += count
        self._fresh += count
        self._bar.update(count)
        if self._lines and time.monotonic() - self._told >= PAUSE:
            self._told = time.monotonic()
            print(self.line(), file=sys.stderr, flush=True)

    def skip(self, count: int) -> None:
        """Count rows that were done by an earlier process, which say nothing about the speed."""
        self._done += count
        self._bar.update(count)

    def line(self) -> str:
        """Return how far the work is: rows done, of all, and per second, and the time that is left."""
        rate = self._fresh / max(1e-9, time.monotonic() - self._began)
        left = f", {_spell((self._total - self._done) / rate)} left" if rate else ""
        head = f"{self._what}: " if self._what else ""
        return f"{head}{self._done:,} of {self._total:,} {self._unit}, {rate:,.3g}/s{left}"

    def close(self) -> None:
        """End the bar."""
        self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _spell(seconds: float) -> str:
    """Spell a duration.

    >>> [_spell(each) for each in (42, 600, 7500)]
    ['42 s', '10 min', '2 h 5 min']
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
