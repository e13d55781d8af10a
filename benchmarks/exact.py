"""How fast is exact search? ``python -m quiver.benchmarks.exact`` compares it with the flat index of FAISS.

Three sets of vectors: SIFT descriptors and the grey images of Fashion-MNIST, whole numbers under l2 both, and made
clusters of 512 numbers under cosine. Both indexes are asked the same by turns, in one process and with as many threads;
each figure is the shortest of several runs, since others may be using the machine. ``bandwidth`` is how fast the search
of one query goes through the vectors it keeps for that, as a share of how fast torch adds up the same bytes. Recall is
measured against float64 for the first queries.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
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

BATCHES, DEPTHS = (1, 8, 32, 256), (10, 100)
_CHECKED = 16  # queries whose recall is measured
_ROWS = 1 << 15  # scored together for that


@dataclass(frozen=True, slots=True, eq=False)
class Set:
    """Vectors to search.

    Attributes:
        name: what to call them.
        base: (n, dim) float32; of unit length under cosine.
        queries: (q, dim) float32, at least as many as the largest batch.
        metric: how they are compared.
    """

    name: str
    base: Floats
    queries: Floats
    metric: Metric


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: milliseconds of a batch, and what the search of it took."""

    data: str
    queries: int
    k: int
    quiver_ms: float
    faiss_ms: float
    candidates: float | None
    widened: int
    recall: float

    @property
    def times(self) -> float:
        """How many times as fast as FAISS."""
        return self.faiss_ms / self.quiver_ms


def _floats(array: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(array, np.float32)


def sift() -> Set:
    """Read SIFT descriptors: 100,000 x 128."""
    task = sift100k.neighbours()
    return Set("sift100k", _floats(task.base), _floats(task.queries), task.metric)


def mnist() -> Set:
    """Read grey images: 50,000 x 784, the others being queries."""
    task = fashion_mnist.neighbours(queries=max(BATCHES), depth=1)
    return Set("fashion_mnist", _floats(task.base), _floats(task.queries), task.metric)


def clusters(rows: int, *, dim: int = 512, size: int = 100, spread: float = 0.7, seed: int = 0) -> Set:
    """Make unit vectors around random centres.

    Args:
        rows: how many.
        dim: their width.
        size: how many share a centre, on average.
        spread: standard deviation of a vector's numbers, where its centre's is 1.
        seed: of all numbers.
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


def measure(held: Set, *, repeats: int) -> tuple[list[Line], dict[str, Any]]:
    """Search one set with both.

    Args:
        held: what to search.
        repeats: runs of each, of which the shortest counts.

    Returns:
        the lines of the table, and seconds of building and bandwidths in GB/s.
    """
    space = Space(held.name, held.base.shape[1], held.metric, "made")
    started = perf_counter()
    index = exact.build(Vectors(space, np.arange(len(held.base), dtype=np.int64), held.base), device="cpu")
    built = perf_counter()
    copy = index.compact
    facts: dict[str, Any] = {
        "build_s": built - started,
        "compact_s": perf_counter() - built,
        "mib": index.nbytes / 2**20,
    }
    flat = _flat(held)
    lines = [_line(held, index, flat, m, k, repeats) for k in DEPTHS for m in BATCHES]
    read = held.base if index.last is None or copy is None else copy.codes.numpy()
    words = torch.from_numpy(read.view(np.int64))
    total, alone = shortest([words.sum, lambda: index.search(held.queries[:1], 10)], repeats)
    facts |= {"sum_gb_s": read.nbytes / total / 1e6, "search_gb_s": read.nbytes / alone / 1e6}
    return lines, facts


def shortest(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Return the milliseconds of the shortest run of each, run by turns after one that does not count."""
    spent = [[np.inf] for _ in calls]
    for turn in range(repeats + 1):
        for times, call in zip(spent, calls, strict=True):
            started = perf_counter()
            call()
            if turn:
                times.append((perf_counter() - started) * 1e3)
    return [float(min(times)) for times in spent]


def _truth(held: Set, k: int) -> Numbers:
    """Return the k-th best score of the first queries by float64: (_CHECKED, 1)."""
    asked = held.queries[:_CHECKED].astype(np.float64)
    best: Numbers = np.full((len(asked), k), -np.inf)
    for at in range(0, len(held.base), _ROWS):
        scores = _scores(held, asked, held.base[at : at + _ROWS])
        best = -np.sort(-np.hstack([best, scores]), axis=1)[:, :k]
    return best[:, -1:]


def _scores(held: Set, asked: Numbers, base: Floats) -> Numbers:
    rows = base.astype(np.float64)
    if held.metric != "l2":
        return asked @ rows.T
    return 2 * asked @ rows.T - (rows**2).sum(1) - (asked**2).sum(1, keepdims=True)


def _recall(held: Set, rows: Rows, k: int) -> float:
    """Return the share of places held by rows that score no less than the k-th best, but for rounding."""
    asked = held.queries[: len(rows)].astype(np.float64)
    own = np.vstack([_scores(held, asked[n : n + 1], held.base[line]) for n, line in enumerate(rows)])
    worst = _truth(held, k)[: len(rows)]
    return float((own >= worst - 1e-6 * np.abs(worst)).mean())


def _line(held: Set, index: exact.ExactIndex, flat: Any, m: int, k: int, repeats: int) -> Line:
    queries = np.ascontiguousarray(held.queries[:m])
    found = index.search(queries, k)[1]
    last = index.last
    quiver, faiss = shortest([lambda: index.search(queries, k), lambda: flat.search(queries, k)], repeats)
    each = last.candidates / m if last else None
    return Line(held.name, m, k, quiver, faiss, each, last.widened if last else 0, _recall(held, found[:_CHECKED], k))


def _flat(held: Set) -> Any:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    flat = (faiss.IndexFlatL2 if held.metric == "l2" else faiss.IndexFlatIP)(held.base.shape[1])
    flat.add(held.base)
    return flat


def _print(lines: Sequence[Line], facts: dict[str, Any]) -> None:
    print(f"{'data':24}    k  queries  quiver ms   faiss ms  times   cand.  recall")
    for line in lines:
        each = "-" if line.candidates is None else f"{line.candidates:.0f}"
        print(
            f"{line.data:24} {line.k:4} {line.queries:8} {line.quiver_ms:10.2f} {line.faiss_ms:10.2f}"
            f" {line.times:6.1f} {each:>7} {line.recall:7.4f}{f'  widened {line.widened}' if line.widened else ''}"
        )
    share = facts["search_gb_s"] / facts["sum_gb_s"]
    print(f"  one query: {facts['search_gb_s']:.1f} GB/s, a sum {facts['sum_gb_s']:.1f} GB/s: bandwidth {share:.0%}")
    print(f"  built in {facts['build_s']:.2f} s, compact copy {facts['compact_s']:.2f} s, {facts['mib']:,.0f} MiB\n")


def main() -> None:
    """Read the arguments, measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["sift", "mnist", "clusters"], help="sift, mnist, clusters")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the made clusters")
    parser.add_argument("--seed", type=int, default=0, help="of the made clusters")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=None, help="default: as many as torch takes")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    makers = {"sift": sift, "mnist": mnist, "clusters": lambda: clusters(given.rows, seed=given.seed)}
    if unknown := set(given.data) - set(makers):
        raise BadSpec(f"--data takes {', '.join(makers)}, not {', '.join(sorted(unknown))}")
    if given.threads:
        torch.set_num_threads(given.threads)
    report: dict[str, Any] = {"command": sys.argv[1:], "seed": given.seed, "threads": torch.get_num_threads()}
    report |= {"machine": machine(), "versions": versions(), "commit": commit(), "lines": [], "facts": {}}
    for name in given.data:
        lines, facts = measure(makers[name](), repeats=given.repeats)
        report["lines"] += [{**asdict(line), "times": line.times} for line in lines]
        report["facts"][name] = facts
        if not given.json:
            _print(lines, facts)
    if given.json:
        print(json.dumps(report, indent=2))
    else:
        print(f"{report['machine']['processor']}, {report['threads']} threads, seed {given.seed}")


if __name__ == "__main__":
    main()
