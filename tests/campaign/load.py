"""Mixed load for a while: searches, adds, updates, deletes and index upkeep at once; figures stay flat.

The number of items stays the same, since as many are deleted as added. The second half of the time is held against the
first, from when the process is warm.
"""

import contextlib
import os
import threading
import time
from pathlib import Path

import numpy as np
import psutil

import quiver

ITEMS, DIM = 4000, 48


def run(folder: Path, seconds: float) -> dict[str, list[float]]:
    """Load a collection; returns the median of each figure in the first and in the second half."""
    rng, place = np.random.default_rng(0), folder / "c"
    shop = quiver.open(place)
    meta = {"price": list(range(ITEMS))}
    ids = [f"i{n}" for n in range(ITEMS)]
    shop.add_vectors(rng.normal(size=(ITEMS, DIM)), ids=ids, space="s", meta=meta, progress=False)
    shop.index("faiss factory=IVF32,Flat nprobe=8")
    stop, problems, spent = threading.Event(), [], []
    threads = [
        threading.Thread(target=_guard, args=(each, shop, stop, problems, spent)) for each in (_ask, _ask, _change)
    ]
    for thread in threads:
        thread.start()
    samples, until = [], time.monotonic() + seconds
    while time.monotonic() < until and not problems:
        time.sleep(min(1.0, seconds / 20))
        latest, spent[:] = list(spent), []
        samples.append(_sample(place, latest))
    stop.set()
    for thread in threads:
        thread.join()
    assert not problems, problems
    shop.wait()
    warm = samples[len(samples) // 5 :]
    halves = warm[: len(warm) // 2], warm[len(warm) // 2 :]
    return {name: [float(np.median([each[name] for each in half])) for half in halves] for name in warm[0]}


def _guard(work, shop, stop, problems, spent):
    try:
        rng = np.random.default_rng(threading.get_ident() % 2**32)
        while not stop.is_set():
            work(shop, rng, spent)
    except BaseException as error:
        problems.append(repr(error))


def _ask(shop, rng, spent):
    started = time.perf_counter()
    where = f"price < {rng.integers(ITEMS)}" if rng.integers(2) else None
    ids = shop.search(vectors={"s": rng.normal(size=DIM)}, k=10, where=where).ids
    spent.append(1e3 * (time.perf_counter() - started))
    assert len(set(ids)) == len(ids)


def _change(shop, rng, spent):
    """Add twenty items, change twenty, delete the twenty that were added."""
    ids = [f"new{n}" for n in range(20)]
    shop.add_vectors(rng.normal(size=(20, DIM)), ids=ids, space="s", meta={"price": [1] * 20}, progress=False)
    shop.update_meta({f"i{n}": {"price": int(n)} for n in rng.integers(0, ITEMS, 20).tolist()})
    assert shop.delete(ids) == 20
    if not rng.integers(20):
        shop.prune(days=60 / 86_400)
    time.sleep(0.05)


def _sample(place, spent):
    process = psutil.Process()
    size = 0
    for at, _, names in os.walk(place):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # it was renamed or removed meanwhile
                size += os.path.getsize(os.path.join(at, name))
    return {
        "memory MB": process.memory_info().rss / 1e6,
        "open files": process.num_fds(),
        "disk MB": size / 1e6,
        "p50 ms": float(np.percentile(spent, 50)) if spent else 0.0,
        "p99 ms": float(np.percentile(spent, 99)) if spent else 0.0,
        "searches": len(spent),
    }
