"""Are changes visible at once? Rows are added, rewritten and deleted under constant search load, on every index.

``python -m quiver.benchmarks.speed.freshness`` fills a collection with clustered vectors, indexes it, and lets threads
search without a pause, each with its own collection object, like other processes. Meanwhile batches of rows are added,
and some of them are rewritten and deleted. After each change, the benchmark records the time until the slowest searcher
sees it, from the end of the call that made the change. Indexes catch up in the background when they fall behind.
"""

import argparse
import json
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np

import quiver
from quiver.benchmarks.machine import machine
from quiver.types import Floats, Query

KINDS = {"exact": None, "faiss": "faiss factory=HNSW32 ef=64", "lance": "lance kind=IVF_RQ"}
#: Timeout in seconds for a change to become visible.
_PATIENCE = 60.0


class Storm:
    """Threads that search for one vector after the other without a pause.

    Attributes:
        count: number of completed searches.
        problems: errors; must stay empty.
    """

    def __init__(self, uri: str, kind: str, queries: Floats, *, threads: int) -> None:
        self.count, self.problems = 0, list[Exception]()
        self._target: tuple[float, Floats] = (0.0, queries[0])
        self._seen: dict[int, tuple[float, float, tuple[str, ...]]] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n, uri, kind, queries)) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, name: int, uri: str, kind: str, queries: Floats) -> None:
        mine = quiver.open(uri, catch_up=False)
        turn = 0
        while not self._stop.is_set():
            turn += 1
            started, target = monotonic(), self._target[1]
            vector = target if turn % 2 else queries[turn % len(queries)]
            try:
                ids = tuple(hit.id for hit in mine.search(Query(vectors={"made": vector}, index=kind)))
            except Exception as error:  # any error is reported
                self.problems.append(error)
                return
            self.count += 1
            if turn % 2:
                self._seen[name] = started, monotonic(), ids

    def seconds(self, vector: Floats, true: Any) -> float:
        """Search for a vector; return the seconds until the slowest searcher returns the expected result."""
        asked = monotonic()
        self._target = asked, vector
        late: dict[int, float] = {}
        while len(late) < len(self._threads) and monotonic() - asked < _PATIENCE and not self.problems:
            for name, (started, ended, ids) in list(self._seen.items()):
                if name not in late and started >= asked and true(ids):
                    late[name] = ended - asked
            sleep(0.001)
        return max(late.values(), default=_PATIENCE) if len(late) == len(self._threads) else _PATIENCE

    def end(self) -> None:
        """Stop searching."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def measure(folder: Path, kind: str, *, rows: int, dim: int, rounds: int, batch: int, threads: int) -> dict[str, Any]:
    """Return the seconds until changes are visible with one kind of index, and further figures."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((256, dim)).astype(np.float32)
    collection = quiver.open(folder / kind)

    def put(name: str, count: int) -> Floats:
        made = centres[rng.integers(0, 256, count)] + 0.5 * rng.standard_normal((count, dim)).astype(np.float32)
        np.save(folder / f"{name}.npy", made)
        collection.add_vectors(folder / f"{name}.npy", space="made", progress=False)
        return made

    base = put("base", rows)
    if (spec := KINDS[kind]) is not None:
        collection.index(spec)
    storm = Storm(collection.uri, kind, base[:256], threads=threads)
    seen: dict[str, list[float]] = {"added": [], "rewritten": [], "deleted": []}
    calls: dict[str, list[float]] = {name: [] for name in seen}
    storm.seconds(base[0], lambda ids: "base#0" in ids)
    began, count = monotonic(), storm.count
    try:
        for n in range(rounds):
            name, first = f"late{n}", f"late{n}#0"
            for what, late in seen.items():
                started = monotonic()
                if what == "deleted":
                    collection.delete([first])
                else:
                    made = put(name, batch)
                calls[what].append(monotonic() - started)
                gone = what == "deleted"
                late.append(storm.seconds(made[0], lambda ids, f=first, g=gone: (f in ids) != g))
        rate = (storm.count - count) / (monotonic() - began)
        collection.wait()
    finally:
        storm.end()
    if storm.problems:
        raise storm.problems[0]
    (column,) = collection.info()["columns"]
    worst = {name: {"median": float(np.median(each)), "worst": max(each)} for name, each in seen.items()}
    spent = {name: float(np.median(each)) for name, each in calls.items()}
    return {"kind": kind, "seen_s": worst, "call_s": spent, "searches_a_second": rate, "behind": column["behind"]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print or write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--batch", type=int, default=1_000, help="number of rows to add and then rewrite in every round"
    )
    parser.add_argument("--threads", type=int, default=2, help="that search")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--json", type=Path, help="file for the figures as JSON")
    asked = parser.parse_args(arguments)
    found = []
    for kind in asked.kinds:
        with tempfile.TemporaryDirectory(prefix="quiver-bench-") as folder:
            sizes = {"rows": asked.rows, "dim": asked.dim, "rounds": asked.rounds, "batch": asked.batch}
            found.append(measure(Path(folder), kind, threads=asked.threads, **sizes))
        each = found[-1]
        seen = "; ".join(f"{name} {s['median']:.3f} s (worst {s['worst']:.3f})" for name, s in each["seen_s"].items())
        print(f"{kind}: visible after the call: {seen}; {each['searches_a_second']:.0f} searches per second meanwhile")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"machine": machine(), "kinds": found}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
