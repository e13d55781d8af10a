"""Speed of exact composed scoring over a gallery: ``python -m quiver.benchmarks.speed.composed_scoring``.

``products`` is the engine's method: the four matrix products of ``encoders/artemis/score.py``, by tiles that fit into a
core's cache, in one pass over the table. ``broadcast`` is the formula as written, ``<p, N(a * t)> + <N(b * r), N(b *
t)>``, which computes every (query, item, feature), for 65,536 pairs of query and item at a time, since all would not
fit into memory; ``tiled`` is the same for 1,024 pairs at a time, which fit into the cache. All methods score the same
synthetic vectors in one process, interleaved, with the same number of threads; each figure is the shortest of several
runs. ``apart`` is the largest difference between their scores; scores are at most 2.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from quiver.benchmarks.machine import commit, machine, versions
from quiver.benchmarks.speed._turns import turns
from quiver.encoders.artemis.score import arrays, explicit, implicit, scan
from quiver.types import Floats

#: Pairs of query and item per step of the broadcast form: 128 MB and 2 MB of float32 at 512 features.
_LARGE, _SMALL = 65_536, 1024


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Inputs of q queries: p, a, r and b of the formula, all (q, D)."""

    wanted: Tensor
    explicit: Tensor
    reference: Tensor
    implicit: Tensor


@dataclass(frozen=True, slots=True)
class Line:
    """Milliseconds of a batch over all rows, and the largest difference between the scores."""

    queries: int
    products_ms: float
    broadcast_ms: float
    tiled_ms: float
    apart: float


def made(rows: int, dim: int, queries: int, *, seed: int) -> tuple[Floats, Asked]:
    """Generate a gallery (rows, dim) of unit vectors, and queries whose attention is a softmax of normal logits."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn(queries, dim, generator=generator)

    base = np.random.default_rng(seed).standard_normal((rows, dim), np.float32)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    return base, Asked(normalize(draw(), dim=1), draw().softmax(1), normalize(draw(), dim=1), draw().softmax(1))


def products(base: Floats, asked: Asked) -> Floats:
    """Score by four matrix products: (q, rows)."""
    terms = {
        "change": explicit(asked.wanted, asked.explicit / asked.explicit.amax(dim=1, keepdim=True)),
        "keep": implicit(asked.reference, asked.implicit / asked.implicit.amax(dim=1, keepdim=True)),
    }
    change, keep = scan(arrays(terms), base).values()
    change += keep
    return change


def broadcast(base: Floats, asked: Asked, pairs: int = _LARGE) -> Floats:
    """Score by the formula as written, ``pairs`` pairs of query and item at a time: (q, rows)."""
    out = np.empty((len(asked.wanted), len(base)), np.float32)
    held = normalize(asked.implicit * asked.reference, dim=1)
    tile = max(1, pairs // len(asked.wanted))
    for at in range(0, len(base), tile):
        items = torch.from_numpy(base[at : at + tile])[None]
        change = (asked.wanted[:, None] * normalize(asked.explicit[:, None] * items, dim=2)).sum(dim=2)
        keep = (held[:, None] * normalize(asked.implicit[:, None] * items, dim=2)).sum(dim=2)
        out[:, at : at + tile] = (change + keep).numpy()
    return out


def measure(base: Floats, asked: Asked, repeats: int) -> Line:
    """Time all forms, interleaved."""
    apart = float(np.abs(products(base, asked) - broadcast(base, asked, _SMALL)).max())
    calls = [
        lambda: products(base, asked),
        lambda: broadcast(base, asked),
        lambda: broadcast(base, asked, _SMALL),
    ]
    four, large, small = turns(calls, repeats)
    return Line(len(asked.wanted), four, large, small, apart)


def main() -> None:
    """Read the arguments, time all forms, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="number of vectors in the gallery")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 8], help="asked together")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None, help="threads of torch; NumPy uses OMP_NUM_THREADS")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    base, asked = made(given.rows, given.dim, max(given.queries), seed=given.seed)
    lines = []
    for count in given.queries:
        part = Asked(*(each[:count] for each in (asked.wanted, asked.explicit, asked.reference, asked.implicit)))
        lines.append(measure(base, part, given.repeats))
    report: dict[str, Any] = {"command": sys.argv[1:], "machine": machine(), "versions": versions()}
    report |= {"commit": commit(), "threads": torch.get_num_threads(), "lines": [asdict(line) for line in lines]}
    if given.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{given.rows:,} x {given.dim}\nqueries  products ms  broadcast ms  tiled ms    apart")
    for line in lines:
        times = f"{line.products_ms:12,.0f} {line.broadcast_ms:13,.0f} {line.tiled_ms:9,.0f}"
        print(f"{line.queries:7} {times} {line.apart:8.1e}")
    print(f"{report['machine']['processor']}, {report['threads']} threads, seed {given.seed}")


if __name__ == "__main__":
    main()
