"""Latency of searches and memory of a process.

Shapes: q queries, k places.
"""

import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from quiver.types import Floats, Rows

#: Batch size.
BATCH = 256
Search = Callable[[Floats], Rows]


@dataclass(frozen=True, slots=True)
class Pace:
    """Duration limits of a measurement.

    Attributes:
        seconds: seconds of batches, and of single queries, that suffice.
        alone: maximum number of single queries.
        limit: seconds after which no further batch starts, even if queries are left.
        cpu: whether these limits and all reported times are CPU times of all threads of the process, for a shared
            machine. CPU time excludes waiting, for example for the disk.
    """

    seconds: float = 0.4
    alone: int = 500
    limit: float = 10.0
    cpu: bool = False

    def now(self) -> float:
        """Return the seconds on the clock."""
        return process_time() if self.cpu else perf_counter()


@dataclass(frozen=True, slots=True, eq=False)
class Timed:
    """Results and speed of a search.

    Attributes:
        rows: (q, k) row numbers found for the first q queries.
        figures: queries per second in batches (``qps``) and one at a time (``qps_alone``); p50, p95, p99 of single
            queries in ms; numbers of queries and batches measured.
    """

    rows: Rows
    figures: dict[str, Any] = field(default_factory=dict)


def time_search(search: Search, queries: Floats, pace: Pace) -> Timed:
    """Time batches, and then single queries; the first searches warm up memory and are not timed."""
    search(queries[:8])
    rows, batches = _batches(search, queries, pace)
    alone = _alone(search, queries, pace)
    p50, p95, p99 = (float(each) for each in np.percentile(alone, (50, 95, 99)))
    figures = {
        "queries": len(rows),
        "qps": 1 / float(np.median(batches)),
        "batches": len(batches),
        "qps_alone": 1e3 / float(np.mean(alone)),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "alone": len(alone),
    }
    return Timed(rows, figures)


def _batches(search: Search, queries: Floats, pace: Pace) -> tuple[Rows, list[float]]:
    """Return the results, and seconds per query of each batch; repeat the queries until the limits are reached."""
    starts = range(0, max(1, len(queries) - BATCH + 1), BATCH)  # whole batches only, if there is one
    answers: list[Rows] = []
    spent: list[float] = []
    begun = pace.now()
    for turn in range(100):
        for at in starts:
            part = queries[at : at + BATCH]
            started = pace.now()
            found = search(part)
            spent.append((pace.now() - started) / len(part))
            if turn == 0:
                answers.append(found)
            if pace.now() - begun > pace.limit:
                return np.vstack(answers), spent
        if pace.now() - begun > pace.seconds:
            break
    return np.vstack(answers), spent


def _alone(search: Search, queries: Floats, pace: Pace) -> list[float]:
    """Return the milliseconds of single queries."""
    spent: list[float] = []
    begun = pace.now()
    for query in queries[: pace.alone]:
        started = pace.now()
        search(query[None])
        spent.append((pace.now() - started) * 1e3)
        if pace.now() - begun > pace.seconds and len(spent) >= 5:
            break
    return spent


def peak_mib() -> float:
    """Return the peak resident memory of this process since ``reset_peak``, including mapped files."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def reset_peak() -> None:
    """Reset the peak to the current resident memory, if the system supports it (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return


def disk_mib(folder: Path) -> float:
    """Return the total size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
