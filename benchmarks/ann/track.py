"""Measurements of a system: search, filters, queries of another distribution, changes, concurrent additions.

Shapes: q queries, k places.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np

from quiver.benchmarks.ann.bed import FILTERS, SELECTIVITIES, Bed
from quiver.benchmarks.ann.clock import BATCH, Pace, peak_mib, time_search
from quiver.benchmarks.datasets._truth import nearest
from quiver.benchmarks.datasets.ann import Neighbours
from quiver.benchmarks.metric import Scores, intervals
from quiver.benchmarks.peers import Allowed, Given, Knobs, Shape, Variant
from quiver.types import Floats, Rows

TRACKS = ("plain", "filter", "beyond", "overhead", "churn")
#: Recall at which filters, changes and overhead are measured, and recalls of the tables.
TARGET, TARGETS = 0.95, (0.95, 0.99)
_ENOUGH = 0.9995  # recall at which the sweep of settings stops
_FILTERED, _CHURNED = 100, 200  # queries; their true neighbours are computed again
_STEPS = (0.05, 0.1, 0.2)  # shares of replaced rows
KEPT = 0.8  # share of the base before the first change
_FRESH, _PATIENCE = 10, 5.0  # vectors added under load, and timeout in seconds for each
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Inputs of a worker.

    Attributes:
        module: the peer.
        variant: its index.
        shape: shape of the vectors.
        bed: the data.
        folder: folder of the index.
        k: length of each result list.
        pace: duration limits.
    """

    module: ModuleType
    variant: Variant
    shape: Shape
    bed: Bed
    folder: Path
    k: int
    pace: Pace


def plain(work: Work, system: Any, *, before: float) -> Figures:
    """Measure every setting, in order, until one finds everything.

    Args:
        work: inputs of the worker.
        system: the opened system.
        before: resident MiB before it was opened.
    """
    truth = work.bed.truth("queries", len(work.bed.queries), work.k)
    found, memory = _settings(work, system, truth, work.pace)
    return {"points": found, "serve_mib": memory - before}


def beyond(work: Work, system: Any) -> Figures:
    """Measure every setting with queries of another distribution."""
    truth = work.bed.truth("beyond", min(500, len(work.bed.beyond)), work.k)
    return {"beyond": _settings(work, system, truth, replace(work.pace, seconds=work.pace.seconds / 2))[0]}


def _settings(work: Work, system: Any, truth: Neighbours, pace: Pace) -> tuple[list[Figures], float]:
    points: list[Figures] = []
    memory = 0.0
    queries = np.ascontiguousarray(truth.queries, np.float32)
    for knobs in work.variant.knobs:
        system.tune(knobs)
        timed = time_search(lambda asked: system.search(asked, work.k), queries, pace)
        memory = memory or peak_mib()  # of the search alone: the recall computation maps the base
        points.append({"knobs": dict(knobs), **_recalled(truth, timed.rows, work.k), **timed.figures})
        if points[-1]["recall"] >= _ENOUGH:
            break
    return points, memory


def _recalled(truth: Neighbours, rows: Rows, k: int) -> Figures:
    """Return recall@k with its interval over queries."""
    each = truth.first(len(rows)).recall(rows, k=min(k, truth.rows.shape[1]))
    scores = Scores({f"R@{k}": each}, [""] * len(each), "optimistic", 0, 0, 0, 0)
    spread = intervals(scores, resamples=1000)[f"R@{k}"]
    return {"recall": spread.value, "low": spread.low, "high": spread.high}


def cheapest(points: Sequence[Mapping[str, Any]], recall: float, *, by: str = "qps") -> Mapping[str, Any] | None:
    """Return the fastest of the points that reach a recall; None if none does.

    Args:
        points: of one system or of several.
        recall: mean recall over queries.
        by: ``qps`` or ``qps_alone``.
    """
    reach = [point for point in points if point["recall"] >= recall]
    return max(reach, key=lambda point: point[by]) if reach else None


def filtered(work: Work, system: Any, points: Sequence[Mapping[str, Any]]) -> Figures:
    """Measure filters at the setting that reaches the target without a filter, or at the best setting."""
    if not hasattr(system, "narrowed"):
        return {"filter": None}
    system.tune(_chosen(points))
    found = []
    pace = replace(work.pace, seconds=work.pace.seconds / 2, alone=_FILTERED, limit=4.0)
    for column in FILTERS:
        for selectivity in SELECTIVITIES:
            allowed = work.bed.allowed(column, selectivity)
            truth = work.bed.truth("queries", _FILTERED, work.k, allowed=allowed)
            timed = time_search(
                partial(_narrowed, system, work.k, allowed),
                np.ascontiguousarray(truth.queries),
                pace,
            )
            figures = {**_recalled(truth, timed.rows, work.k), **timed.figures}
            found.append({"column": column, "selectivity": selectivity, "rows": len(allowed.rows), **figures})
    return {"filter": found}


def _narrowed(system: Any, k: int, allowed: Allowed, queries: Floats) -> Rows:
    rows: Rows = system.narrowed(queries, k, allowed)
    return rows


def _chosen(points: Sequence[Mapping[str, Any]]) -> Knobs:
    best = cheapest(points, TARGET) or max(points, key=lambda point: point["recall"])
    knobs: Knobs = best["knobs"]
    return knobs


def overhead(work: Work, system: Any, points: Sequence[Mapping[str, Any]]) -> Figures:
    """Compare a system with the library call inside it, interleaved, on the same index with the same setting."""
    if not hasattr(system, "raw") or (raw := system.raw(_chosen(points))) is None:
        return {"overhead": None}
    system.tune(_chosen(points))
    queries = np.ascontiguousarray(work.bed.queries[:BATCH])
    alone = _turns(work, system, raw, [query[None] for query in queries])
    many = _turns(work, system, raw, [queries] * 15)
    return {
        "overhead": {
            "knobs": dict(_chosen(points)),
            "alone_ms": alone[0],
            "alone_raw_ms": alone[1],
            "batch_ms": many[0],
            "batch_raw_ms": many[1],
        }
    }


def _turns(work: Work, system: Any, raw: Any, asked: Sequence[Floats]) -> tuple[float, float]:
    """Return the median milliseconds of each."""
    spent: tuple[list[float], list[float]] = ([], [])
    for queries in (asked[0], *asked):
        for times, each in zip(spent, (system, raw), strict=True):
            started = work.pace.now()
            each.search(queries, work.k)
            times.append((work.pace.now() - started) * 1e3)
    own, inner = (float(np.median(times[1:])) for times in spent)
    return own, inner


def churn(work: Work, system: Any) -> Figures:
    """Replace rows; measure recall against a fresh index, and the delay until an added row is found.

    The index starts with the first part of the base; random rows are deleted, and others are added from the rest.
    """
    if not (hasattr(system, "add") and hasattr(system, "delete")):
        return {"churn": None}
    bed, rng = work.bed, np.random.default_rng([work.bed.seed, 4])
    queries = np.ascontiguousarray(bed.queries[:_CHURNED])
    live, spare = np.arange(bed.rows), list(range(bed.rows, len(bed.base)))
    knobs = _first(work, system, _truth(bed, queries, live, work.k))
    steps = [{"replaced": 0.0, **_asked(work, system, _truth(bed, queries, live, work.k))}]
    done = 0.0
    for share in _STEPS:
        count = min(round((share - done) * bed.rows), len(spare))
        gone, come = rng.choice(live, count, replace=False), np.array([spare.pop() for _ in range(count)], np.int64)
        started = perf_counter()
        system.delete(gone)
        system.add(come, np.ascontiguousarray(bed.base[come]))
        spent = perf_counter() - started
        done += count / bed.rows
        live = np.sort(np.concatenate([np.setdiff1d(live, gone), come]))
        figures = _asked(work, system, _truth(bed, queries, live, work.k))
        steps.append({"replaced": done, "rows_a_second": 2 * count / spent, **figures})
    anew = _anew(work, knobs, _truth(bed, queries, live, work.k), live)
    fresh = _fresh(work, system, queries, np.array(spare[:_FRESH], np.int64))
    return {"churn": {"knobs": dict(knobs), "steps": steps, "rebuilt": anew, "found_after_s": fresh}}


def _truth(bed: Bed, queries: Floats, live: Rows, k: int) -> Neighbours:
    return bed.known(queries, nearest(bed.base, queries, bed.metric, k, rows=live))


def _first(work: Work, system: Any, truth: Neighbours) -> Knobs:
    """Apply the first setting that reaches the target."""
    for knobs in work.variant.knobs:
        system.tune(knobs)
        if truth.recall(system.search(truth.queries, work.k), k=work.k).mean() >= TARGET:
            break
    return knobs


def _asked(work: Work, system: Any, truth: Neighbours) -> Figures:
    pace = _brief(work)
    timed = time_search(lambda asked: system.search(asked, work.k), truth.queries, pace)
    return {**_recalled(truth, timed.rows, work.k), **timed.figures}


def _brief(work: Work) -> Pace:
    return replace(work.pace, seconds=work.pace.seconds / 2, alone=_CHURNED, limit=4.0)


def _anew(work: Work, knobs: Knobs, truth: Neighbours, live: Rows) -> Figures:
    """Build a fresh index of the remaining rows, and measure the same on it."""
    folder = work.folder.with_name(f"{work.folder.name}-anew")
    folder.mkdir(parents=True, exist_ok=True)
    vectors = np.ascontiguousarray(work.bed.base[live])
    numbers = np.arange(len(live))
    work.module.build(Given(folder, vectors, {name: numbers for name in FILTERS}, work.shape), work.variant)
    system = work.module.open(folder, work.variant, work.shape)
    system.tune(knobs)
    timed = time_search(lambda asked: system.search(asked, work.k), truth.queries, _brief(work))
    rows = np.where(timed.rows < 0, -1, live[np.maximum(timed.rows, 0)])
    return {**_recalled(truth, rows, work.k), **timed.figures}


def _fresh(work: Work, system: Any, queries: Floats, rows: Rows) -> list[float | None]:
    """Add vectors one by one under search load; return the seconds until each is found, None if it never is.

    An index on disk is searched by a second reader; one in memory by the same object, and calls take turns.
    """
    apart = getattr(work.module, "SHARED", False)
    other = work.module.open(work.folder, work.variant, work.shape) if apart else system
    lock, over = threading.Lock(), threading.Event()

    def storm() -> None:
        n = 0
        while not over.is_set():
            if apart:
                other.search(queries[n % len(queries)][None], work.k)
            else:
                with lock:
                    other.search(queries[n % len(queries)][None], work.k)
            n += 1

    thread = threading.Thread(target=storm, daemon=True)
    thread.start()
    found: list[float | None] = []
    for row in rows:
        vector = np.ascontiguousarray(work.bed.base[row][None])
        started = perf_counter()
        with lock:
            system.add(np.array([row]), vector)
        while (seen := perf_counter() - started) < _PATIENCE:
            with lock:
                if row in system.search(vector, work.k):
                    break
        found.append(seen if seen < _PATIENCE else None)
    over.set()
    thread.join(timeout=30)
    return found
