"""How fast is exact search? ``python -m quiver.benchmarks.speed.exact`` compares it with other exact searches.

Three sets of vectors: SIFT descriptors (100,000 x 128) and the grey images of Fashion-MNIST (50,000 x 784, queries held
out), both integers under l2, and synthetic clusters of dimension 512 under cosine. The others are: the flat index of
FAISS with its best number of threads; numpy, a matrix product and argpartition; torch, a matrix product and topk, both
tile by tile. Each runs alone after a pause, because spinning threads of one library slow down the next; a figure is the
shortest of its runs.

``memory`` is the read bandwidth of a single-query search as a share of torch's bandwidth when it sums the same bytes;
``peak`` is products per second of a batch as a share of oneDNN's int8 peak in cache. Recall is measured against float64
for the first queries. Filters let random rows pass. ``callers`` is the number of concurrent searches.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quiver.benchmarks.datasets import fashion_mnist, sift100k
from quiver.benchmarks.machine import commit, machine, versions
from quiver.errors import BadSpec
from quiver.indexers import exact
from quiver.types import Floats, Metric, Rows, Space, Vectors

Numbers = NDArray[np.floating[Any]]
Search = Callable[[Floats, int], Any]

BATCHES = (1, 8, 32, 256)
SHARES = (1.0, 0.1, 0.01, 0.001, 0.0001)
CALLERS = (1, 2, 4)
_CHECKED = 16  # queries whose recall is measured
_ROWS = 1 << 15  # rows per tile
_PAUSE = 0.1  # seconds, until idle threads sleep
_LONGEST = 2.0  # time limit in seconds for the runs of one figure


@dataclass(frozen=True, slots=True, eq=False)
class Set:
    """Vectors to search.

    Attributes:
        name: display name.
        base: (n, dim) float32; of unit length under cosine.
        queries: (q, dim) float32, at least as many as the largest batch.
        metric: distance metric.
    """

    name: str
    base: Floats
    queries: Floats
    metric: Metric


def _floats(array: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(array, np.float32)


def sift() -> Set:
    """Read SIFT descriptors: 100,000 x 128."""
    task = sift100k.neighbours()
    return Set("sift100k", _floats(task.base), _floats(task.queries), task.metric)


def mnist() -> Set:
    """Read grey images: 50,000 x 784; the remaining images are the queries."""
    task = fashion_mnist.neighbours(queries=max(BATCHES), depth=1)
    return Set("fashion_mnist", _floats(task.base), _floats(task.queries), task.metric)


def clusters(rows: int, *, dim: int = 512, size: int = 100, spread: float = 0.7, seed: int = 0) -> Set:
    """Generate unit vectors around random centres.

    Args:
        rows: number of vectors.
        dim: dimension.
        size: mean number of vectors per centre.
        spread: standard deviation of a vector's components around its centre; that of centres is 1.
        seed: random seed.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, rows // size), dim), np.float32)
    made = np.empty((rows + max(BATCHES), dim), np.float32)
    for at in range(0, len(made), _ROWS):
        part = made[at : at + _ROWS]
        rng.standard_normal(out=part, dtype=np.float32)
        part *= spread
        part += centres[rng.integers(0, len(centres), len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return Set(f"clusters {rows} x {dim}", made[:rows], made[rows:], "cosine")


def shortest(call: Callable[[], Any], repeats: int) -> float:
    """Return the milliseconds of the shortest of several runs, after a warm-up run that counts only if it was slow."""
    sleep(_PAUSE)
    spent: list[float] = []
    begun = perf_counter()
    call()
    if perf_counter() - begun > _LONGEST:
        return (perf_counter() - begun) * 1e3
    begun = perf_counter()
    while not spent or (len(spent) < repeats and perf_counter() - begun < _LONGEST):
        started = perf_counter()
        call()
        spent.append((perf_counter() - started) * 1e3)
    return min(spent)


def by_faiss(held: Set) -> Any:
    """Build a flat index of FAISS."""
    import faiss

    flat = (faiss.IndexFlatL2 if held.metric == "l2" else faiss.IndexFlatIP)(held.base.shape[1])
    flat.add(held.base)
    return flat


def _tiles(held: Set) -> Iterator[tuple[int, Floats, Floats]]:
    squares = np.einsum("nd,nd->n", held.base, held.base) if held.metric == "l2" else np.zeros(len(held.base), "f4")
    for at in range(0, len(held.base), _ROWS):
        yield at, held.base[at : at + _ROWS], squares[at : at + _ROWS]


def by_numpy(held: Set) -> Search:
    """Search with a matrix product and argpartition a tile, in float32."""
    tiles = list(_tiles(held))

    def search(queries: Floats, k: int) -> tuple[Floats, Rows]:
        scores, rows = [], []
        for at, base, square in tiles:
            product = queries @ base.T
            if held.metric == "l2":
                product *= 2
                product -= square
            best = np.argpartition(product, -k, axis=1)[:, -k:]
            scores.append(np.take_along_axis(product, best, 1))
            rows.append(best + at)
        every, names = np.hstack(scores), np.hstack(rows)
        order = np.argsort(-every, axis=1)[:, :k]
        return np.take_along_axis(every, order, 1), np.take_along_axis(names, order, 1)

    return search


def by_torch(held: Set) -> Search:
    """Search with a matrix product and topk a tile, in float32."""
    tiles = [(at, torch.from_numpy(base), torch.from_numpy(square)) for at, base, square in _tiles(held)]

    def search(queries: Floats, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        asked, found = torch.from_numpy(queries), []
        for at, base, square in tiles:
            product = torch.addmm(-square, asked, base.T, alpha=2) if held.metric == "l2" else asked @ base.T
            best = product.topk(k, dim=1)
            found.append((best.values, best.indices + at))
        scores, rows = (torch.cat(each, 1) for each in zip(*found, strict=True))
        best = scores.topk(k, dim=1)
        return best.values, rows.gather(1, best.indices)

    return search


class Contest:
    """One data set and the searches over it.

    Args:
        held: the data set.
        repeats: runs per figure; the shortest is reported.
        threads: number of threads for all libraries.
    """

    def __init__(self, held: Set, repeats: int, threads: int) -> None:
        self.held, self.repeats, self.threads = held, repeats, threads
        space = Space(held.name, held.base.shape[1], held.metric, "made")
        started = perf_counter()
        rows = np.arange(len(held.base), dtype=np.int64)
        self.index = exact.build(Vectors(space, rows, held.base), device="cpu")
        built = perf_counter()
        self.index.search(held.queries[:16], 1)  # the int8 copy is created after this many searches
        self.facts = {
            "build_s": built - started,
            "compact_s": perf_counter() - built,
            "mib": self.index.nbytes / 2**20,
        }
        self.flat, self.numpy, self.torch = by_faiss(held), by_numpy(held), by_torch(held)
        codes = self.index.compact.codes if self.index.compact else torch.from_numpy(held.base)
        words = codes.view(torch.int64)
        self.bytes = codes.nbytes
        self.facts["sum_gb_s"] = self.bytes / shortest(words.sum, 20) / 1e6
        self.facts["peak_gop_s"] = _peak()

    def lines(self, depths: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Measure all figures in sequence."""
        for k in depths:
            yield from (self.line(m, k) for m in BATCHES)
        yield from (self.callers(count, depths[0]) for count in CALLERS)
        for m in (1, max(BATCHES)):
            yield from (self.filtered(m, depths[0], share) for share in SHARES)

    def line(self, m: int, k: int) -> dict[str, Any]:
        """Measure one batch size and depth."""
        queries = np.ascontiguousarray(self.held.queries[:m])
        found, last = self.index.search(queries, k)[1], self.index.last
        own = shortest(lambda: self.index.search(queries, k), self.repeats)
        faiss, threads = self._faiss(lambda: self.flat.search(queries, k), alone=m < 32)
        line = {"data": self.held.name, "queries": m, "k": k, "quiver_ms": own, "faiss_ms": faiss}
        line |= {"faiss_threads": threads, "times": faiss / own}
        line["numpy_ms"] = shortest(lambda: self.numpy(queries, k), self.repeats)
        line["torch_ms"] = shortest(lambda: self.torch(queries, k), self.repeats)
        line["memory"] = self.bytes / own / 1e6 / self.facts["sum_gb_s"] if m == 1 else None
        line["peak"] = 2 * m * self.held.base.size / own / 1e6 / self.facts["peak_gop_s"]
        line["candidates"] = last.candidates / m if last else None
        line["widened"] = last.widened if last else None
        line["recall"] = recall(self.held, found[:_CHECKED], k)
        return line

    def filtered(self, m: int, k: int, share: float) -> dict[str, Any]:
        """Measure a search among a random share of the rows."""
        import faiss

        library: Any = faiss  # its Python classes are missing from the published types
        n = len(self.held.base)
        passing = np.random.default_rng(1).permutation(n)[: max(k, round(n * share))]
        allow, queries = np.sort(passing), np.ascontiguousarray(self.held.queries[:m])
        bits = np.packbits(np.isin(np.arange(n), allow), bitorder="little")
        options = library.SearchParameters(sel=library.IDSelectorBitmap(bits))
        own = shortest(lambda: self.index.search(queries, k, allow=allow), self.repeats)
        found = self.index.search(queries[:_CHECKED], k, allow=allow)[1]
        other, threads = self._faiss(lambda: self.flat.search(queries, k, params=options), alone=m == 1)
        line = {"data": self.held.name, "queries": m, "k": k, "share": share, "quiver_ms": own, "faiss_ms": other}
        return line | {"faiss_threads": threads, "times": other / own, "recall": recall(self.held, found, k, allow)}

    def callers(self, count: int, k: int, seconds: float = 1.0) -> dict[str, Any]:
        """Measure queries per second with several threads, each searching one query at a time."""
        sleep(_PAUSE)
        until = perf_counter() + seconds

        def ask(own: int) -> int:
            done = 0
            while perf_counter() < until:
                self.index.search(self.held.queries[own + done % 8 : own + done % 8 + 1], k)
                done += 1
            return done

        with ThreadPoolExecutor(count) as pool:
            done = sum(pool.map(ask, range(count)))
        return {"data": self.held.name, "callers": count, "k": k, "per_second": done / seconds}

    def _faiss(self, search: Callable[[], Any], *, alone: bool = True) -> tuple[float, int]:
        """Return the milliseconds of FAISS with all threads, or with one thread if that is faster."""
        import faiss

        spent = {}
        for threads in sorted({1, self.threads} if alone else {self.threads}):
            faiss.omp_set_num_threads(threads)
            spent[threads] = shortest(search, self.repeats)
        faiss.omp_set_num_threads(self.threads)
        best = min(spent, key=lambda threads: spent[threads])
        return spent[best], best


def _peak() -> float:
    """Return oneDNN's int8 peak in cache, in billions of additions and multiplications per second."""
    rows, asked = torch.ones((2048, 512), dtype=torch.int8), torch.ones((256, 512), dtype=torch.int8)
    out = torch.empty((2048, 256), dtype=torch.int32)
    return 2 * 2048 * 512 * 256 / shortest(lambda: torch._int_mm(rows, asked.T, out=out), 50) / 1e6


def recall(held: Set, rows: Rows, k: int, allow: Rows | None = None) -> float:
    """Return recall@k: the share of places with rows that score at least the k-th best, up to rounding."""
    asked = held.queries[: len(rows)].astype(np.float64)
    best: Numbers = np.full((len(asked), k), -np.inf)
    passing = np.arange(len(held.base)) if allow is None else allow
    for at in range(0, len(passing), _ROWS):
        scores = _scores(held, asked, held.base[passing[at : at + _ROWS]])
        best = -np.partition(-np.hstack([best, scores]), k - 1, axis=1)[:, :k]
    worst = best.min(1, keepdims=True)
    own = np.vstack([_scores(held, asked[n : n + 1], held.base[line]) for n, line in enumerate(rows)])
    return float((own >= worst - 1e-6 * np.abs(worst)).mean())


def _scores(held: Set, asked: Numbers, base: Floats) -> Numbers:
    rows = base.astype(np.float64)
    if held.metric != "l2":
        return asked @ rows.T
    return 2 * asked @ rows.T - (rows**2).sum(1) - (asked**2).sum(1, keepdims=True)


def _show(line: dict[str, Any]) -> str:
    if "callers" in line:
        return (
            f"{line['data']:24} {line['k']:3}  {line['callers']} callers: {line['per_second']:.0f} queries per second"
        )
    if "share" in line:
        return f"{_start(line)}  share {line['share']:g}, recall {line['recall']:.4f}"
    memory = "" if line["memory"] is None else f"{line['memory']:.0%}"
    return (
        f"{_start(line)} {line['numpy_ms']:9.2f} {line['torch_ms']:9.2f} {memory:>7} {line['peak']:5.0%}"
        f"  recall {line['recall']:.4f}, candidates {line['candidates']}, widened {line['widened']}"
    )


def _start(line: dict[str, Any]) -> str:
    return (
        f"{line['data']:24} {line['k']:3} {line['queries']:8} {line['quiver_ms']:10.2f} {line['faiss_ms']:9.2f}"
        f" {line['faiss_threads']:9} {line['times']:6.1f}"
    )


def main() -> None:
    """Read the arguments, measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["sift", "mnist", "clusters"], help="sift, mnist, clusters")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the synthetic clusters")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic clusters")
    parser.add_argument("--depth", type=int, nargs="+", default=[10], help="number of neighbours, one or more values")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=None, help="default: torch's own number")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    makers = {"sift": sift, "mnist": mnist, "clusters": lambda: clusters(given.rows, seed=given.seed)}
    if unknown := set(given.data) - set(makers):
        raise BadSpec(f"--data must be among {', '.join(makers)}, not {', '.join(sorted(unknown))}")
    if given.threads:
        torch.set_num_threads(given.threads)
    threads = torch.get_num_threads()
    report: dict[str, Any] = {"command": sys.argv[1:], "seed": given.seed, "threads": threads, "sets": []}
    report |= {"machine": machine(), "versions": versions(), "commit": commit()}
    if not given.json:
        own = report["versions"]
        print(f"{report['machine']['processor']}, {threads} threads, seed {given.seed}, commit {report['commit']}")
        print(", ".join(f"{name} {own[name]}" for name in ("torch", "numpy", "faiss-gpu", "faiss-cpu") if name in own))
        named = "quiver ms  faiss ms (threads)  times  numpy ms  torch ms  memory  peak"
        print(f"{'data':24}   k  queries  {named}")
    for name in given.data:
        contest = Contest(makers[name](), given.repeats, threads)
        lines = []
        for line in contest.lines(given.depth):
            lines.append(line)
            if not given.json:
                print(_show(line), flush=True)
        report["sets"].append({"facts": contest.facts, "lines": lines})
        if not given.json:
            print("  " + ", ".join(f"{name} {value:,.2f}" for name, value in contest.facts.items()) + "\n")
    if given.json:
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
