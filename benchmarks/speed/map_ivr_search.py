"""Speed and exactness of MAP-IVR's search: ``python -m quiver.benchmarks.speed.map_ivr_search``.

Clips are made: features of many activities, each a centre with noise, on which a model is trained for a few steps. Its
joint vectors go into a collection. A query is the h vectors of the scorer's probe, of which the best counts, as in
``map_ivr``. ``engine`` is the exact search of the collection, one query at a time and by batches; ``naive`` computes
S_A, S_V and S_all of every clip in float64 by definition, and ``same`` is the share of queries with the same first
hundred clips in the same order. ``apart`` is the largest difference of their scores.

Times are of processors, all threads together, so that other load on the machine does not lengthen them; queries/s are
for one core.

``kept`` is the share of the exact first ten that a route has among its candidates: ``joint`` by h searches of an
approximate index, ``mean`` by one search with the mean of the h vectors, ``appearance`` by one with the appearance
alone; the latter two search exactly.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from quiver.benchmarks.machine import commit, machine, versions
from quiver.benchmarks.metric.measure import Doubles
from quiver.encoders import _pool
from quiver.encoders.map_ivr.config import Config, Features
from quiver.encoders.map_ivr.loss import losses
from quiver.encoders.map_ivr.model import MapIvr, scaled
from quiver.engine.collection import Collection
from quiver.engine.collection import open as collection_at
from quiver.types import Floats, Query, Rows

SPACE, TOP, KEPT, BLEND = "clips", 100, 10, 0.5
#: Steps and rows of the short training; activities and their spread in the made features.
_STEPS, _BATCH, _CLASSES, _NOISE = 300, 128, 200, 0.7


@dataclass(frozen=True, slots=True)
class Line:
    """Figures of one h.

    Attributes:
        h: vectors per query. engine_ms: per query, one by one. batch_ms: per query, in a batch. naive_ms: per query.
        same: share of queries with the same first hundred as the naive score. apart: largest difference of scores.
        kept: share of the exact first ten among the candidates of a route, by route and depth.
    """

    h: int
    engine_ms: float
    batch_ms: float
    naive_ms: float
    same: float
    apart: float
    kept: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Bed:
    """Everything that is searched.

    Attributes:
        collection: holds the joint vectors. appearance, features: (n, D) and (n, F) float64, of length 1.
        asked: (q, D) appearance vectors of queries. rebuilt: (q, H, F) rebuilt clips.
    """

    collection: Collection
    appearance: Doubles
    features: Doubles
    asked: Floats
    rebuilt: Floats

    def probe(self, h: int) -> Floats:
        """Return the vectors of all queries, (q, h, D + F)."""
        seen = np.repeat(self.asked[:, None], h, axis=1)
        return np.concatenate([(1 - BLEND) * seen, BLEND * self.rebuilt[:, :h]], axis=2)

    def naive(self, query: int, h: int) -> Doubles:
        """Return 1 - S_all of every clip by definition, in float64."""
        s_a = 1 - self.appearance @ self.asked[query]
        s_v = (1 - self.features @ self.rebuilt[query, :h].T).min(axis=1)
        return 1 - ((1 - BLEND) * s_a + BLEND * s_v)


def bed(rows: int, queries: int, widths: tuple[int, int], folder: Path, *, seed: int) -> Bed:
    """Make clips and queries, train a model on them, and store its joint vectors."""
    rng = np.random.default_rng(seed)
    dim, width = widths
    centres = rng.standard_normal((2, _CLASSES, width)).astype(np.float32)

    def made(side: int, label: Rows) -> Floats:
        noise = rng.standard_normal((len(label), width)).astype(np.float32)
        return _pool.unit(np.maximum(centres[side, label] + _NOISE * noise, 0))

    model = _trained(dim, width, made, rng)
    clips = made(1, rng.integers(0, _CLASSES, rows))
    stills = made(0, rng.integers(0, _CLASSES, queries))
    with torch.inference_mode():
        parts = [model.embed_video(part) for part in torch.from_numpy(clips).split(8192)]
        appearance = _pool.unit(torch.cat(parts).numpy())
        asked = model.embed_image(torch.from_numpy(stills))
        rebuilt = model.imagine(asked, model.config.samples).numpy()
    collection = collection_at(folder / "clips")
    joint = np.concatenate([appearance, clips], axis=1)
    collection.add_vectors(joint, ids=[str(n) for n in range(rows)], space=SPACE, metric="dot", progress=False)
    wide = (appearance.astype(np.float64), clips.astype(np.float64))
    return Bed(collection, *wide, _pool.unit(asked.numpy()), rebuilt)


def _trained(dim: int, width: int, made: Any, rng: np.random.Generator) -> MapIvr:
    side = Features(width=width)
    names = tuple(str(n) for n in range(_CLASSES))
    config = Config(image=side, video=side, classes=names, positive=True, hidden=2 * dim, dim=dim, code=dim // 2)
    torch.manual_seed(0)
    model = MapIvr(config).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(_STEPS):
        label = rng.integers(0, _CLASSES, _BATCH)
        image, video = (torch.from_numpy(made(side, label)) for side in (0, 1))
        loss = losses(model(image, video), scaled(video), torch.from_numpy(label), config)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def measure(at: Bed, h: int, spec: str | None, depths: tuple[int, ...]) -> Line:
    """Time and check one h."""
    probe = at.probe(h)
    queries = [Query(vectors={SPACE: each}, k=TOP, index="exact") for each in probe]
    at.collection.search(queries[0])
    at.collection.search_batch(queries)  # which loads and casts what batches need
    started = process_time()
    found = [at.collection.search(query) for query in queries]
    engine = process_time() - started
    started = process_time()
    at.collection.search_batch(queries)
    batch = process_time() - started
    started, same, apart, best = process_time(), 0, 0.0, []
    naive = [at.naive(number, h) for number in range(len(queries))]
    spent = process_time() - started
    for scores, answer in zip(naive, found, strict=True):
        order = np.argsort(-scores, kind="stable")[:TOP]
        same += [int(hit.id) for hit in answer] == order.tolist()
        apart = max(apart, float(np.abs(scores[order] - [hit.score for hit in answer]).max()))
        best.append(order[:KEPT])
    count = len(queries)
    kept = _kept(at, probe, np.stack(best), spec, depths)
    engine, batch, spent = (1e3 * each / count for each in (engine, batch, spent))
    return Line(h, engine, batch, spent, same / count, apart, kept)


def _kept(at: Bed, probe: Floats, best: Rows, spec: str | None, depths: tuple[int, ...]) -> dict[str, float]:
    width = at.asked.shape[1]
    mean = probe.mean(axis=1, keepdims=True)
    seen = mean.copy()
    seen[:, :, width:] = 0
    routes = {"mean": (mean, "exact"), "appearance": (seen, "exact")}
    if spec is not None:
        name = spec.split(maxsplit=1)[0]
        routes = {"joint": (probe, name), "mean by index": (mean, name), **routes}
    kept = {}
    for route, (vectors, index) in routes.items():
        queries = [Query(vectors={SPACE: each}, k=max(depths), index=index) for each in vectors]
        lists = [[int(id) for id in ids] for ids in at.collection.search_batch(queries).ids]
        for depth in (KEPT, *depths) if route == "joint" else depths:
            shares = [np.isin(right, ids[:depth]).mean() for right, ids in zip(best, lists, strict=True)]
            kept[f"{route}@{depth}"] = float(np.mean(shares))
    return kept


def main() -> None:
    """Read the arguments, measure every h, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="number of clips")
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--dim", type=int, default=128, help="width of the appearance space")
    parser.add_argument("--features", type=int, default=384, help="width of the features of clips")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 5, 20], help="vectors per query (h)")
    parser.add_argument("--index", default="faiss factory=IVF512,Flat", help="approximate index; empty for none")
    parser.add_argument("--depths", type=int, nargs="+", default=[100, 500, 2000], help="candidates of a route")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        at = bed(given.rows, given.queries, (given.dim, given.features), Path(folder), seed=given.seed)
        spec = given.index or None
        if spec is not None:
            at.collection.index(spec)
        lines = [measure(at, h, spec, tuple(given.depths)) for h in given.samples]
    report: dict[str, Any] = {"command": sys.argv[1:], "machine": machine(), "versions": versions(), "commit": commit()}
    report["lines"] = [asdict(line) for line in lines]
    if given.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{given.rows:,} clips x {given.dim + given.features}, {given.queries} queries, first {TOP}")
    print("  h  engine ms  batch ms  queries/s  naive ms   same    apart")
    for line in lines:
        times = f"{line.engine_ms:9.1f} {line.batch_ms:9.1f} {1e3 / line.batch_ms:10.0f} {line.naive_ms:9.1f}"
        print(f"{line.h:3} {times} {line.same:6.3f} {line.apart:8.1e}")
    print(f"\nkept of the exact first {KEPT}; index: {given.index}")
    for line in lines:
        print(f"h={line.h}: " + ", ".join(f"{name} {share:.3f}" for name, share in line.kept.items()))
    print(f"{report['machine']['processor']}, seed {given.seed}")


if __name__ == "__main__":
    main()
