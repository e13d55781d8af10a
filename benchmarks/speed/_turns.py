"""Time several methods, interleaved, so that other load on the machine affects all of them."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np


def turns(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Return the milliseconds of the shortest run of each method; runs are interleaved and the first is not timed."""
    spent = [[np.inf] for _ in calls]
    for turn in range(repeats + 1):
        for times, call in zip(spent, calls, strict=True):
            started = perf_counter()
            call()
            if turn:
                times.append((perf_counter() - started) * 1e3)
    return [float(min(times)) for times in spent]
