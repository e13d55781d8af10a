"""Do indexes reach their recall target on fresh queries? ``python -m quiver.benchmarks.speed.recall_promise``.

Vectors become a collection, which is indexed with ``recall``: one half of the queries chooses and tunes the index. The
other half then searches with filters that pass all rows or a share of them, down to one in ten thousand; the passing
rows are random (``lot``) or similar to each other (``far``: the far end of a random direction). Each result is compared
with an exact scan. Times cover the recall stage and the whole search. For comparison, a graph and inverted lists built
directly with FAISS search without filters, at the first setting that reaches the target on the tuning half.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

import quiver
from quiver.benchmarks.datasets import sift100k
from quiver.benchmarks.machine import commit, machine, versions
from quiver.engine.collection import Collection
from quiver.indexers import _faiss, faiss
from quiver.types import Floats, Metric, Query, Space, Vectors

SHARES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.001, 0.0001)
_ALONE, _TOGETHER = 40, 256
_CLUSTERS, _DIM = 500, 256


@dataclass(frozen=True, slots=True, eq=False)
class Set:
    """Vectors, tuning queries, and fresh queries."""

    base: Floats
    tuning: Floats
    fresh: Floats
    metric: Metric


@dataclass(frozen=True, slots=True)
class Line:
    """Results under one filter: mean recall with its standard error, and milliseconds."""

    rows: float
    condition: str
    by: str
    recall: float
    error: float
    alone_ms: float
    search_ms: float
    batch_ms: float
    exact_ms: float


def read(name: str, rows: int) -> Set:
    """Read sift100k, or generate clusters of dimension 256."""
    if name == "sift100k":
        tuning, fresh = (sift100k.neighbours(split=split) for split in ("validation", "test"))
        base, queries = np.asarray(tuning.base, np.float32), np.asarray(tuning.queries, np.float32)
        return Set(base, queries, np.asarray(fresh.queries, np.float32), "l2")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((_CLUSTERS, _DIM), dtype=np.float32)

    def drawn(count: int) -> Floats:
        return centres[rng.integers(0, _CLUSTERS, count)] + rng.standard_normal((count, _DIM), dtype=np.float32)

    return Set(drawn(rows), drawn(500), drawn(500), "cosine")


def collect(data: Set, work: Path) -> Collection:
    """Create the collection unless it exists."""
    collection = quiver.open(work / "collection")
    if not (work / "collection").exists():
        work.mkdir(parents=True, exist_ok=True)
        rng, count = np.random.default_rng(1), len(data.base)
        along = data.base @ rng.standard_normal(data.base.shape[1], dtype=np.float32)
        table = pa.table({"lot": rng.permutation(count), "far": np.argsort(np.argsort(-along))})
        np.save(work / "base.npy", data.base)
        pyarrow.csv.write_csv(table, work / "meta.csv")
        collection.add_vectors(work / "base.npy", space="made", metric=data.metric, meta=work / "meta.csv")
    return collection


def lines(collection: Collection, data: Set, k: int) -> Iterator[Line]:
    """Measure under every filter."""
    for share in SHARES:
        for sort in ("none",) if share == 1.0 else ("lot", "far"):
            where = None if share == 1.0 else f"{sort} < {round(share * len(data.base))}"
            yield _line(collection, data.fresh, share, sort, {"k": k, "where": where})


def _line(collection: Collection, fresh: Floats, share: float, sort: str, ask: dict[str, Any]) -> Line:
    def query(vector: Floats, **more: Any) -> Query:
        return Query(vectors={"made": vector}, **ask, **more)

    truth = [ids(each) for each in collection.search_batch([query(vector, index="exact") for vector in fresh])]
    singles = [collection.search(query(vector)) for vector in fresh]
    shares = np.array([len(ids(ours) & right) / max(1, len(right)) for ours, right in zip(singles, truth, strict=True)])
    (stage,) = (stage for stage in singles[0].plan.stages if hasattr(stage, "spend"))
    spend = " ".join(f"{name}={value}" for name, value in getattr(stage, "spend", {}).items())
    batch = collection.search_batch([query(vector) for vector in fresh[:_TOGETHER]])
    exact = [collection.search(query(vector, index="exact")) for vector in fresh[:_ALONE]]
    return Line(
        rows=share,
        condition=sort,
        by=f"{getattr(stage, 'index', '')} {spend}".strip(),
        recall=float(shares.mean()),
        error=float(shares.std(ddof=1) / len(shares) ** 0.5),
        alone_ms=median(_stage(each) for each in singles),
        search_ms=median(sum(part.ms for part in each.actual) for each in singles),
        batch_ms=_stage(batch[0]) / len(batch),
        exact_ms=median(_stage(each) for each in exact),
    )


def ids(result: Any) -> set[str]:
    """Measure under one filter."""
    return {hit.id for hit in result}


def _stage(result: Any) -> float:
    return sum(part.ms for part in result.actual if part.label.startswith("recall"))


def by_hand(data: Set, work: Path, *, recall: float, k: int) -> Iterator[dict[str, Any]]:
    """Measure FAISS itself, at the first setting that reaches the recall target on the tuning half."""
    import faiss as library

    space = Space("made", data.base.shape[1], data.metric, "given")
    vectors = Vectors(space, np.arange(len(data.base)), data.base)
    lists = int(4 * len(data.base) ** 0.5)
    library.omp_set_num_threads(1)
    for factory, knob in (("HNSW32", "ef"), (f"IVF{lists},Flat", "nprobe")):
        path = work / factory
        index = faiss.open(path, space) if path.exists() else faiss.build(vectors, factory=factory)
        index.save(path)
        flat = faiss.build(vectors, factory="Flat")
        right, held = (flat.search(half, k)[1] for half in (data.tuning, data.fresh))
        for value in sorted({round(2 ** (n / 2)) for n in range(4, 22)}):
            tuned = index.tuned(faiss.Params(**{knob: value}))
            if _share(tuned.search(data.tuning, k)[1], right) >= recall:
                break
        asked = (
            data.fresh / np.linalg.norm(data.fresh, axis=1, keepdims=True) if data.metric == "cosine" else data.fresh
        )
        params = _faiss.knobs(index.index, tuned.params, None)
        alone = median(_ms(index.index, asked[[n]], k, params) for n in range(_ALONE))
        together = min(_ms(index.index, asked[:_TOGETHER], k, params) for _ in range(3)) / _TOGETHER
        found = _share(tuned.search(data.fresh, k)[1], held)
        yield {"factory": factory, knob: value, "recall": found, "alone_ms": alone, "batch_ms": together}


def _share(found: Any, right: Any) -> float:
    return float(np.mean([np.isin(b, a).mean() for a, b in zip(found, right, strict=True)]))


def _ms(index: Any, queries: Floats, k: int, params: Any) -> float:
    started = perf_counter()
    index.search(queries, k, params=params)
    return (perf_counter() - started) * 1e3


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and optionally write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["sift100k", "clusters"])
    parser.add_argument("--rows", type=int, default=200_000, help="of clusters")
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--asked", type=int, default=500, help="fresh queries")
    parser.add_argument("--spec", help="the index to build; default: chosen automatically")
    parser.add_argument("--updates", choices=["rare", "often"], default="rare")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the collection and indexes; reused by the next run"
    )
    parser.add_argument("--hand", action="store_true", help="also measure FAISS directly")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    data = read(given.data, given.rows)
    data = replace(data, fresh=data.fresh[: given.asked])
    collection = collect(data, given.work)
    (built,) = collection.index(given.spec, recall=given.recall, queries=data.tuning, updates=given.updates)
    told = {name: value for name, value in built.to_dict().items() if name != "promise"}
    print(json.dumps(told), file=sys.stderr)
    found = []
    print("rows condition by recall error alone_ms search_ms batch_ms exact_ms".replace(" ", "\t"))
    for line in lines(collection, data, 10):
        found.append(asdict(line))
        print(
            "\t".join(f"{each:.4g}" if isinstance(each, float) else each for each in asdict(line).values()), flush=True
        )
    hand = list(by_hand(data, given.work, recall=given.recall, k=10)) if given.hand else []
    for each in hand:
        print(json.dumps(each))
    if given.json is not None:
        on = {"machine": machine(), "versions": versions(), "commit": commit()}
        whole = {"data": given.data, "built": built, "lines": found, "by_hand": hand, **on}
        given.json.write_text(json.dumps(whole, indent=1))


if __name__ == "__main__":
    main()
