"""Measure indexes on ready-made vectors with known true neighbours, without encoder or collection.

R@k of a query is the share of its k places with a row no further away than the k-th true neighbour, so any of several
equally near rows is right.

Shapes: n rows of the base, q queries, k places.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from quiver import registry
from quiver.benchmarks.datasets._read import Lazy
from quiver.benchmarks.datasets.ann import Neighbours
from quiver.benchmarks.metric import Judgements, Ragged, Ranking, Scores, compare, parse
from quiver.benchmarks.metric.significance import intervals
from quiver.benchmarks.recall import baseline
from quiver.benchmarks.recall.attribution import CAUSES, Attribution, Example
from quiver.benchmarks.recall.curves import percentiles
from quiver.benchmarks.recall.indexes import split, tuned
from quiver.benchmarks.recall.outcome import Bench, Latency, Options, Outcome
from quiver.benchmarks.recall.setup import Setup
from quiver.engine.ingest.progress import track
from quiver.errors import BadSpec
from quiver.protocols import Index
from quiver.task import Question, Task
from quiver.types import Floats, Item, Query, Rows, Space, Vectors

MEASURES = ("R@10", "R@1", "R@100")
PROTOCOL = "R@k: share of k places filled by a row no further away than the k-th true neighbour"
#: Batch size, and number of queries that are also searched one at a time.
BATCH, ALONE = 256, 200


@dataclass(slots=True)
class Bed:
    """The vectors of a task, and the indexes built over them so far.

    Attributes:
        task: base, queries and neighbours.
        vectors: the base.
        queries: (q, dim) float32.
        cutoffs: k of each measure, the headline first.
        options: measurement options.
        built: indexes and their build seconds, by kind and build options.
    """

    task: Neighbours
    vectors: Vectors
    queries: Floats
    cutoffs: dict[str, int]
    options: Options
    built: dict[tuple[str, ...], tuple[Index, float]] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """Length of each result list."""
        return max(self.cutoffs.values())

    def index(self, setup: Setup) -> tuple[Any, float]:
        """Return the index of a setup and its build seconds; setups with the same build options share it."""
        kind, options = registry.split(setup.index)
        spend, how = split(kind, options)
        key = (kind, *(f"{name}={value}" for name, value in sorted(how.items())))
        if key not in self.built:
            module = registry.module("indexers", kind)
            values = registry.convert(module.build, how, name=kind)
            started = perf_counter()
            index = module.build(self.vectors, **values)
            self.built[key] = (index, perf_counter() - started)
        index, seconds = self.built[key]
        return tuned(index, kind, spend), seconds


def bench(task: Neighbours, *, setups: Sequence[Setup] = (Setup(),), options: Options | None = None) -> Bench:
    """Measure setups on vectors; exact search is added if missing, and is the reference for all.

    Raises:
        BadSpec: a measure is not R@k with k neighbours known, or an index cannot be built so.
    """
    bed = _bed(task, options or Options())
    chosen = [replace(each, index="exact") if each.kind == "auto" else each for each in setups]
    if not any(each.kind == "exact" and each.depth is None for each in chosen):
        chosen.insert(0, Setup())
    oracle, _ = _found(bed, Setup(), bed.depth)
    runs = [(setup, *_run(bed, setup)) for setup in dict.fromkeys(chosen)]
    started = perf_counter()
    truth = _hits(bed, oracle)
    outcomes = [_outcome(bed, setup, full, own, latency, truth) for setup, full, own, latency in runs]
    judgements, headline = _judgements(bed), next(iter(bed.cutoffs))
    tested = {each.name: each.scores for each in outcomes}
    resamples, seed = bed.options.resamples, bed.options.seed
    against = outcomes[0].name
    tests = compare(tested, [headline], against=against, resamples=resamples, seed=seed) if len(tested) > 1 else []
    if bed.options.baselines:
        outcomes.append(_random(bed))
    return Bench(
        task=_task(bed),
        judgements=judgements,
        headline=headline,
        outcomes=outcomes,
        refused=[],
        comparisons=tests,
        seed=seed,
        depth=bed.depth,
        seconds=perf_counter() - started,
        notes=("indexes are searched directly, without a collection",),
    )


def _bed(task: Neighbours, options: Options) -> Bed:
    known = task.rows.shape[1]
    fit = [name for name in MEASURES if (parse(name).cutoff or 0) <= known] or [f"R@{known}"]
    asked = [parse(name) for name in options.measures or fit]
    if wrong := [each.name for each in asked if each.kind != "R" or not 0 < (each.cutoff or 0) <= known]:
        raise BadSpec(f"{task.name}: vectors are measured by R@k, k up to {known}, not by {wrong[0]}")
    space = Space(task.name, task.base.shape[1], task.metric, task.revision)
    base = np.ascontiguousarray(task.base, np.float32)
    queries = np.ascontiguousarray(task.queries, np.float32)
    cutoffs = {each.name: each.cutoff or 0 for each in asked}
    return Bed(task, Vectors(space, np.arange(len(base)), base), queries, cutoffs, options)


def _found(bed: Bed, setup: Setup, k: int) -> tuple[Ranking, float]:
    """Search all queries in batches; return lists as wide as the task needs, and milliseconds per query."""
    index, _ = bed.index(setup)
    index.search(bed.queries[:1], k)  # warm up: loading on first use is not part of a search
    rows = np.full((len(bed.queries), max(k, bed.depth)), -1, np.int64)
    scores = np.full(rows.shape, -np.inf, np.float32)
    spent = 0.0

    def batches() -> Iterator[int]:
        nonlocal spent
        for at in range(0, len(rows), BATCH):
            started = perf_counter()
            best, found = index.search(bed.queries[at : at + BATCH], k)
            spent += perf_counter() - started
            scores[at : at + BATCH, : best.shape[1]], rows[at : at + BATCH, : best.shape[1]] = best, found
            yield len(best)

    for _ in track(batches(), total=len(rows), show=bed.options.progress):
        pass
    return Ranking(rows, scores), spent * 1e3 / len(rows)


def _run(bed: Bed, setup: Setup) -> tuple[Ranking, Ranking, Latency]:
    """Search as deep as the task and the setup need, and search some queries one at a time."""
    k = setup.depth or bed.depth
    full, ms = _found(bed, setup, bed.depth)
    own, ms = (full, ms) if k == bed.depth else _found(bed, setup, k)
    index, _ = bed.index(setup)
    chosen = np.random.default_rng(bed.options.seed).permutation(len(bed.queries))[:ALONE]
    singles = []
    for n in chosen.tolist():
        started = perf_counter()
        index.search(bed.queries[n : n + 1], k)
        singles.append((perf_counter() - started) * 1e3)
    return full, own, Latency(None, ms, *percentiles(singles), len(singles))


def _hits(bed: Bed, ranking: Ranking) -> Rows:
    """Return (q,) the number of true neighbours among the headline's k places."""
    k = next(iter(bed.cutoffs.values()))
    return np.rint(bed.task.recall(ranking.rows, k=k) * k).astype(np.int64)


def _outcome(bed: Bed, setup: Setup, full: Ranking, own: Ranking, latency: Latency, truth: Rows) -> Outcome:
    values = {name: bed.task.recall(own.rows, k=k) for name, k in bed.cutoffs.items()}
    scores = Scores(values, [""] * len(own), "optimistic", int((own.rows[:, 0] < 0).sum()), 0, 0, 0)
    index, seconds = bed.index(setup)
    held = getattr(index, "nbytes", None)
    options = bed.options
    return Outcome(
        name=setup.label,
        role="asked",
        scores=scores,
        intervals=intervals(scores, resamples=options.resamples, level=options.level, seed=options.seed),
        setup=setup,
        spaces=(f"{bed.vectors.space.name}@{bed.vectors.space.revision}",),
        ranking=own,
        attribution=split_loss(bed, truth, _hits(bed, full), _hits(bed, own)),
        latency=latency,
        notes=() if held is None else (f"{held / 2**20:,.1f} MiB, built in {seconds:.1f} s",),
        seconds={"index": seconds},
    )


def split_loss(bed: Bed, oracle: Rows, index: Rows, final: Rows) -> Attribution:
    """Attribute the lost places to causes, from the number of true neighbours after each stage, (q,) each.

    The encoder's share is the loss of exact search, which is zero unless the truth was computed with other arithmetic.
    """
    measure, k = next(iter(bed.cutoffs.items()))
    lost = k - final
    encoder = np.minimum(lost, k - oracle)
    missed = np.clip(np.minimum(lost - encoder, oracle - index), 0, None)
    parts = {"missing": 0 * lost, "encoder": encoder, "index": missed, "depth": lost - encoder - missed}
    parts["reranker"] = 0 * lost
    total = k * len(lost)

    def worst(cause: str) -> tuple[Example, ...]:
        order = np.argsort(-parts[cause], kind="stable")[:5].tolist()
        stands = {"oracle": oracle, "index": index, "recalled": final, "final": final}
        return tuple(
            Example(str(n), int(bed.task.rows[n, 0]), {stage: int(of[n]) for stage, of in stands.items()})
            for n in order
            if parts[cause][n]
        )

    return Attribution(
        measure=measure,
        total=total,
        found=int(final.sum()),
        counts={cause: int(parts[cause].sum()) for cause in CAUSES},
        points={cause: float(parts[cause].sum() / total) for cause in CAUSES},
        gained=int(np.clip(final - oracle, 0, None).sum()),
        moved_out=0,
        examples={cause: worst(cause) for cause in CAUSES},
    )


def _judgements(bed: Bed) -> Judgements:
    """Return the first k true neighbours of the headline as relevance judgements."""
    k, n = next(iter(bed.cutoffs.values())), len(bed.queries)
    rows = np.ascontiguousarray(bed.task.rows[:, :k], np.int64)
    return Judgements(
        ids=[str(number) for number in range(n)],
        relevant=Ragged(np.arange(n + 1, dtype=np.int64) * k, rows.ravel()),
        grades=np.ones(rows.size, np.int64),
        competing=np.full(n, len(bed.vectors), np.int64),
        groups=[""] * n,
    )


def _random(bed: Bed) -> Outcome:
    """Return the figures of random rows: k / n of the places for each k."""
    found = {}
    values = {}
    for name, k in bed.cutoffs.items():
        judgements = _judgements(replace(bed, cutoffs={name: k}))
        options = bed.options
        scores, spread = baseline.random(judgements, [name], depth=k, seed=options.seed, level=options.level)
        found[name], values[name] = spread[name], scores.values[name]
    scores = Scores(values, [""] * len(bed.queries), "average", 0, 0, 0, 0)
    drawn = next(iter(found.values())).resamples
    note = f"exact expectation; the interval holds {bed.options.level:.0%} of {drawn} random orders"
    return Outcome("random", "random", scores, found, notes=(note,))


def _task(bed: Bed) -> Task:
    """Return the vectors as a task, for reports."""
    task, space = bed.task, bed.vectors.space

    def question(n: int) -> Question:
        return Question(str(n), Query(vectors={space.name: bed.queries[n]}), {})

    return Task(
        name=task.name,
        revision=task.revision,
        items=Lazy(len(task.base), lambda n: Item(str(n), {})),
        questions=Lazy(len(task.queries), question),
        measures=tuple(bed.cutoffs),
        target="image",
        protocol=f"{PROTOCOL}; {task.metric}, {space.dim} wide",
        source=task.source,
        notes=task.notes,
    )
