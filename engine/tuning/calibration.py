"""Measure the machine once: what an exact scan takes per number, and what a call of each index takes at least."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter

import numpy as np

from quiver import registry
from quiver.engine.statistics import machine
from quiver.engine.statistics.cost_model import TOGETHER, Cost, Machine
from quiver.types import Floats, Space, Vectors

#: Vectors that are scanned: 64 MB, more than caches hold; a sixteenth of them is picked by number.
_ROWS, _DIM, _SHARE = 131_072, 128, 16
#: Vectors that next to nothing has to be done for.
_SMALL = 1_024


def calibrated() -> Machine:
    """Return what was measured of this machine, measuring it now if that was never done."""
    known = machine.machine()
    return known if known.at is not None else calibrate()


def calibrate() -> Machine:
    """Measure the machine anew, in about a second, and keep the figures."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((_ROWS, _DIM), dtype=np.float32)
    space = Space("calibration", _DIM, "dot", "0")
    many = registry.module("indexers", "exact").build(Vectors(space, np.arange(_ROWS), data))
    few = Vectors(space, np.arange(_SMALL), data[:_SMALL])
    small = registry.module("indexers", "exact").build(few)
    picked = np.arange(0, _ROWS, _SHARE)
    queries = data[rng.integers(0, _ROWS, TOGETHER)]
    exact = _cost(lambda q: small.search(q, 10), queries)
    many.search(queries, 10)  # from now on it searches as after its first queries
    scan = _per_number(_cost(lambda q: many.search(q, 10), queries), exact, _ROWS)
    pick = _per_number(_cost(lambda q: many.search(q, 10, allow=picked), queries), exact, len(picked))
    quick = registry.module("indexers", "faiss").build(few, factory="IVF16,Flat", nprobe=1)
    disk = registry.module("indexers", "lance").build(few, kind="IVF_FLAT", partitions=2, nprobe=1)
    disk = disk.tuned(replace(disk.params, scan=1))
    found = Machine(
        scan=scan,
        pick=pick,
        exact=exact,
        faiss=_cost(lambda q: quick.search(q, 10), queries),
        lance=_cost(lambda q: disk.search(q, 10), queries, times=3),
        bandwidth=_bandwidth(data),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        key=machine.key(),
    )
    machine.keep(found)
    return found


def _cost(search: Callable[..., object], queries: Floats, *, times: int = 5) -> Cost:
    search(queries[:1])
    alone = min(_ms(lambda: search(queries[:1])) for _ in range(times))
    together = min(_ms(lambda: search(queries)) for _ in range(2))
    return Cost(alone, together / len(queries))


def _ms(call: Callable[[], object]) -> float:
    started = perf_counter()
    call()
    return (perf_counter() - started) * 1e3


def _per_number(cost: Cost, floor: Cost, rows: int) -> Cost:
    """Return nanoseconds per number beyond the floor."""
    numbers = rows * _DIM * 1e-6
    return Cost(max(cost.alone - floor.alone, 1e-4) / numbers, max(cost.together - floor.together, 1e-4) / numbers)


def _bandwidth(data: Floats) -> float:
    """Return gigabytes that one thread adds up in a second."""
    return data.nbytes / 1e6 / min(_ms(data.sum) for _ in range(3))
