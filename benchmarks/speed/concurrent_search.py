"""Searches of several threads on one collection: ``python -m quiver.benchmarks.speed.concurrent_search``.

A collection of synthetic clusters is searched by vector, by 1, 2 and 8 threads, each with one query after the other.
``one at a time`` is dynamic batching with a single running batch, whatever its queries are; ``lanes`` is the batcher as
it is: requests of different shape run at the same time, and so do ``width`` batches of one shape. Figures are queries
per second, and the median and 99th percentile of the latency in milliseconds. Variants are interleaved in short rounds.

``beside a batch``: one thread searches with 1,000 vectors at once, over and over; the latency is that of two other
threads, which search with single vectors.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import quiver
from quiver.benchmarks.machine import commit, machine, versions
from quiver.benchmarks.speed.engine_overhead import fill
from quiver.benchmarks.speed.exact import clusters
from quiver.engine.serving.batcher import Batcher
from quiver.types import Floats, Query

THREADS = (1, 2, 8)
#: Variants: number of batches of one lane at a time; None for one batch at a time of any lane.
WIDTHS = (None, 1, 2, 4)
#: Vectors of the large batch that runs beside single searches.
LARGE = 1000


@dataclass(slots=True)
class Line:
    """One row of the table."""

    index: str
    threads: int
    variant: str
    queries: int = 0
    seconds: float = 0.0
    ms: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return the row as JSON-able values."""
        middle, late = np.percentile(self.ms, [50, 99]) if self.ms else (np.nan, np.nan)
        named = {name: value for name, value in asdict(self).items() if name in ("index", "threads", "variant")}
        return {**named, "per second": self.queries / self.seconds, "median ms": float(middle), "p99 ms": float(late)}


def _variant(width: int | None) -> str:
    return "one at a time" if width is None else f"lanes, width {width}"


def _batcher(collection: quiver.Collection, width: int | None) -> Batcher:
    if width is None:
        return Batcher(collection._searcher, width=1, lane=lambda _: None)
    return Batcher(collection._searcher, width=width)


def _ask(search: Callable[[Query], Any], asked: Sequence[Query], end: float, start: int) -> list[float]:
    """Search one query after the other until time is up; return the milliseconds of each."""
    took: list[float] = []
    while (began := perf_counter()) < end:
        _ = search(asked[(start + len(took)) % len(asked)]).ids
        took.append((perf_counter() - began) * 1e3)
    return took


def measure(collection: quiver.Collection, kind: str, vectors: Floats, *, rounds: int, seconds: float) -> list[Line]:
    """Time single searches of 1, 2 and 8 threads."""
    asked = [Query(vectors={"made": vector}, index=kind) for vector in vectors]
    lines = {(n, width): Line(kind, n, _variant(width)) for n in THREADS for width in WIDTHS}
    for _ in range(rounds):
        for (threads, width), line in lines.items():
            collection._batcher = _batcher(collection, width)
            collection.search(asked[0])
            began = perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                work = partial(_ask, collection.search, asked, began + seconds)
                took = [ms for each in pool.map(work, range(0, 97 * threads, 97)) for ms in each]
            line.seconds += perf_counter() - began
            line.queries, line.ms = line.queries + len(took), line.ms + took
    return list(lines.values())


def beside(collection: quiver.Collection, kind: str, vectors: Floats, *, rounds: int, seconds: float) -> list[Line]:
    """Time single searches of two threads beside a thread that searches with many vectors at once."""
    asked = [Query(vectors={"made": vector}, index=kind) for vector in vectors]
    many = np.resize(vectors, (LARGE, vectors.shape[1]))
    lines = {width: Line(f"{kind}, beside a batch", 2, _variant(width)) for width in (None, 2)}
    for _ in range(rounds):
        for width, line in lines.items():
            collection._batcher = _batcher(collection, width)
            collection.search(asked[0])
            began = perf_counter()
            with ThreadPoolExecutor(3) as pool:
                large = pool.submit(_repeat, collection, kind, many, began + seconds)
                work = partial(_ask, collection.search, asked, began + seconds)
                took = [ms for each in pool.map(work, range(2)) for ms in each]
                large.result()
            line.seconds += perf_counter() - began
            line.queries, line.ms = line.queries + len(took), line.ms + took
    return list(lines.values())


def _repeat(collection: quiver.Collection, kind: str, many: Floats, end: float) -> None:
    while perf_counter() < end:
        _ = collection.search_batch(vectors={"made": many}, index=kind).ids


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--index", nargs="+", default=["exact", "faiss factory=IVF256,Flat nprobe=16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each round and variant")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    made = clusters(given.rows, dim=given.dim)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        collection = fill(Path(folder), made.base)
        for spec in given.index:
            kind = spec.split()[0]
            if kind != "exact":
                collection.index(spec)
            lines += measure(collection, kind, made.queries, rounds=given.rounds, seconds=given.seconds)
            lines += beside(collection, kind, made.queries, rounds=given.rounds, seconds=given.seconds)
    found = [line.figures() for line in lines]
    for each in found:
        print(
            f"{each['index']:24} {each['threads']} threads  {each['variant']:16} {each['per second']:9,.0f} per second"
            f"  median {each['median ms']:8.2f} ms  p99 {each['p99 ms']:8.2f} ms"
        )
    if given.json is not None:
        report = {"commit": commit(), "machine": machine(), "versions": versions(), "rows": given.rows, "lines": found}
        given.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
