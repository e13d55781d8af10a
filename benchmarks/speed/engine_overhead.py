"""Time that the engine adds to its index: ``python -m quiver.benchmarks.speed.engine_overhead``.

A collection of synthetic clusters, with a price and a film for each item, is searched by vector. ``raw`` is the library
call alone (for ``exact``, of our own index): unit vectors in, row numbers out. ``search`` is ``Collection.search`` or
``search_batch`` over the same index: it checks for a newer version, plans, searches and returns the result. ``ids`` and
``hits`` are searches that also read all ids, or all hits. Every figure is a median in milliseconds; ``overhead`` is the
median of the differences between a search and the raw call before it, ``named`` that of a search with its ids. Calls
are interleaved.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import quiver
from quiver import registry
from quiver.benchmarks.machine import commit, machine, versions
from quiver.benchmarks.speed.exact import clusters
from quiver.engine.serving import answer
from quiver.indexers._faiss import MANY, knobs
from quiver.types import Floats, Query

INDEXES = (
    "exact",
    "faiss factory=IVF256,Flat nprobe=16",
    "faiss factory=HNSW32 ef=16",
    "faiss factory=IVF1024,PQ64x4fs,RFlat nprobe=32",
)
#: Batch sizes.
BATCHES = (1, 256)
#: Filters: none, and one that a tenth of the items pass.
CONDITIONS = (None, "price < 100")
K = 10


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table, in milliseconds for all queries of a batch."""

    index: str
    where: str | None
    queries: int
    raw: float | None
    search: float
    ids: float
    hits: float
    overhead: float | None
    named: float | None


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Queries per second with concurrent threads.

    ``own``: every thread runs the engine by itself; ``together``: through the collection with its dynamic batching. All
    ids are read.
    """

    index: str
    threads: int
    own: float
    together: float

    def __str__(self) -> str:
        return (
            f"{self.index}, {self.threads} threads: {self.own:,.0f} queries per second separately, {self.together:,.0f}"
            " with dynamic batching"
        )


def fill(folder: Path, vectors: Floats) -> quiver.Collection:
    """Create a collection of vectors with metadata."""
    np.save(folder / "made.npy", vectors)
    n = np.arange(len(vectors))
    meta = {"price": n % 1000, "film": [f"film {each}" for each in n // 20], "name": [f"thing {each}" for each in n]}
    pq.write_table(pa.table(meta), folder / "meta.parquet")
    collection = quiver.open(folder / "collection")
    collection.add_vectors(folder / "made.npy", space="made", meta=folder / "meta.parquet", progress=False)
    return collection


def raw(collection: quiver.Collection, spec: str, asked: Floats) -> Callable[[], Any]:
    """Return the library call alone for a batch of queries."""
    kind = registry.split(spec)[0]
    session = collection._session()
    index: Any = session.resident(session.graph.columns[0]).load(kind).index
    if kind == "exact":
        return lambda: index.search(asked, K)
    import faiss

    bare, params = index.index, index.params
    spent = knobs(bare, params, None)
    threads = params.threads or (faiss.omp_get_max_threads() if len(asked) >= MANY else 1)  # as our index does

    def call() -> Any:
        faiss.omp_set_num_threads(threads)
        return bare.search(asked, K, params=spent)

    return call


def measure(collection: quiver.Collection, spec: str, queries: Floats, *, where: str | None, rounds: int) -> list[Line]:
    """Time batches with one index."""
    lines = []
    for size in BATCHES:
        turns = [queries[at : at + size] for at in range(0, len(queries) - size + 1, size)]
        turns = [turns[n % len(turns)] for n in range(rounds if size == 1 else -(-rounds // 16))]
        times = [_turn(collection, spec, asked, where) for asked in (turns[0], *turns)][1:]
        bare, search, ids, hits = zip(*times, strict=True)
        known = where is None
        over = [median(np.subtract(ours, bare).tolist()) if known else None for ours in (search, ids)]
        figures = (median(search), median(ids), median(hits), *over)
        lines.append(Line(spec, where, size, median(bare) if known else None, *figures))
    return lines


def _turn(collection: quiver.Collection, spec: str, asked: Floats, where: str | None) -> tuple[float, ...]:
    """Time the raw call, a search, a search with all ids read, and a search with all hits read."""
    kind = registry.split(spec)[0]
    call, alone = raw(collection, spec, asked), Query(vectors={"made": asked[0]}, where=where, index=kind)

    def search() -> Any:
        if len(asked) == 1:
            return collection.search(alone)
        return collection.search_batch(vectors={"made": asked}, where=where, index=kind)

    def hits() -> list[Any]:
        return list(search()) if len(asked) == 1 else [list(found) for found in search()]

    calls = (call, search, lambda: search().ids, hits)
    return tuple(_timed(each) for each in calls)


def _timed(call: Callable[[], Any]) -> float:
    started = perf_counter()
    call()
    return (perf_counter() - started) * 1e3


def arrivals(collection: quiver.Collection, spec: str, queries: Floats, *, threads: int, seconds: float) -> Arrivals:
    """Run threads that search one query after the other, and count the results."""
    kind = registry.split(spec)[0]
    asked = [Query(vectors={"made": vector}, index=kind) for vector in queries]

    def own(query: Query) -> Any:
        return answer.answer(collection._session(), [query])[0]

    counts = {}
    for name, search in (("own", own), ("together", collection.search)):
        search(asked[0])
        ask = partial(_ask, search, asked, perf_counter() + seconds)
        with ThreadPoolExecutor(threads) as pool:
            counts[name] = sum(pool.map(ask, range(threads)))
    return Arrivals(spec, threads, counts["own"] / seconds, counts["together"] / seconds)


def _ask(search: Callable[[Query], Any], asked: Sequence[Query], end: float, start: int) -> int:
    """Search one query after the other until time is up, and return their number."""
    count = 0
    while perf_counter() < end:
        _ = search(asked[(start + count) % len(asked)]).ids
        count += 1
    return count


def table(lines: Sequence[Line]) -> str:
    """Print the lines as a table."""

    def cell(value: float | None) -> str:
        return f"{value:>9.3f}" if value is not None else f"{'':>9}"

    head = f"{'index':<46} {'where':<12} {'queries':>7} " + " ".join(
        f"{name:>9}" for name in ("raw", "search", "ids", "hits", "overhead", "named")
    )
    rows = [
        f"{line.index:<46} {line.where or '':<12} {line.queries:>7} "
        + " ".join(map(cell, (line.raw, line.search, line.ids, line.hits, line.overhead, line.named)))
        for line in lines
    ]
    return "\n".join([head, *rows])


def run(
    folder: Path, *, items: int, dim: int, indexes: Sequence[str], rounds: int, threads: int
) -> tuple[list[Line], list[Arrivals]]:
    """Fill a collection and measure every index: with and without a filter, and with many threads."""
    made = clusters(items, dim=dim)
    collection = fill(folder, made.base)
    lines: list[Line] = []
    crowds: list[Arrivals] = []
    for spec in indexes:
        if spec != "exact":
            collection.index(spec)
        for where in CONDITIONS:
            lines += measure(collection, spec, made.queries, where=where, rounds=rounds)
        if threads > 1:
            crowds.append(arrivals(collection, spec, made.queries, threads=threads, seconds=rounds / 50))
    return lines, crowds


def main() -> None:
    """Read the arguments, measure, and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--index", nargs="+", default=INDEXES, help="index specs with their options")
    parser.add_argument("--rounds", type=int, default=200, help="number of timed searches")
    parser.add_argument("--threads", type=int, default=8, help="number of concurrent threads; 1 skips this part")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quiver-overhead-") as place:
        how = {"items": given.items, "dim": given.dim, "rounds": given.rounds, "threads": given.threads}
        lines, crowds = run(Path(place), indexes=given.index, **how)
    if given.json:
        about = {"machine": machine(), "versions": versions(), "commit": commit()}
        figures = {"lines": [asdict(line) for line in lines], "threads": [asdict(crowd) for crowd in crowds]}
        json.dump({**figures, **about}, sys.stdout, indent=2)
        print()
    else:
        print(table(lines), *crowds, sep="\n")


if __name__ == "__main__":
    main()
