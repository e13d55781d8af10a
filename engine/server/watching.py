"""Watching the service: Prometheus metrics, one log line per slow search, spans of OpenTelemetry, recall in idle time.

No text, picture or value of a query is logged or exported: a plan, times, numbers of rows, and the id of the key.
"""

import asyncio
import json
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from quiver.engine.execution.plan import Result, Stage
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.server.served import Served
from quiver.errors import QuiverError
from quiver.types import Query

SLOW = logging.getLogger("quiver.server.slow")
AUDIT = logging.getLogger("quiver.server.audit")
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
#: Answers that wait to be compared with an exact search, and seconds between two looks whether the service is idle.
_KEPT, _LOOK = 100, 0.5
#: Upper bounds of the classes of selectivity in the metrics.
_SELECTIVE = (0.01, 0.1, 0.5, 1.0)


@dataclass(slots=True)
class _Sample:
    served: Served
    query: Query
    ids: tuple[str, ...]
    space: str
    selectivity: str
    promised: float
    version: int


class Watching:
    """The measurements of one service.

    Args:
        slow_ms: milliseconds from which a search is logged.
        shadow: one answer in so many is compared with an exact search; 0 none.
    """

    def __init__(self, *, slow_ms: float, shadow: int) -> None:
        self.registry = registry = CollectorRegistry()
        self._slow_ms, self._shadow = slow_ms, shadow
        self._searches = Histogram(
            "quiver_search_seconds", "Time to answer a search", ("collection", "route"), buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._stages = Histogram(
            "quiver_stage_seconds", "Time of a stage, of a whole batch", ("stage",), buckets=_SECONDS, registry=registry
        )
        self._sizes = Histogram("quiver_batch_size", "Searches of a batch", buckets=_SIZES, registry=registry)
        self._queue = Histogram(
            "quiver_queue_seconds", "Time that a search waited for its batch", buckets=_SECONDS, registry=registry
        )
        self._rejected = Counter("quiver_rejected", "Searches that were not answered", ("why",), registry=registry)
        self._version = Gauge("quiver_version", "Newest version", ("collection",), registry=registry)
        self._items = Gauge("quiver_items", "Items", ("collection",), registry=registry)
        self._behind = Gauge(
            "quiver_index_behind_share", "Share of a column that its index misses or that is gone",
            ("collection", "space", "index"), registry=registry,
        )  # fmt: skip
        self._quarantined = Gauge("quiver_quarantined", "Items in quarantine", ("collection",), registry=registry)
        labels = ("collection", "space", "selectivity")
        self._found = Gauge("quiver_recall_found", "Recall of answers, by exact search", labels, registry=registry)
        self._promised = Gauge("quiver_recall_promised", "Recall that was promised", labels, registry=registry)
        self._compared = Counter("quiver_recall_compared", "Answers compared", labels, registry=registry)
        self._sums: dict[tuple[str, ...], tuple[int, float]] = {}
        self._samples: deque[_Sample] = deque(maxlen=_KEPT)
        self._draw = random.Random(0)
        self._tracer = _tracer()

    def batch(self, size: int, waited: Sequence[float]) -> None:
        """Note a batch: its size, and the seconds that each search waited."""
        self._sizes.observe(size)
        for seconds in waited:
            self._queue.observe(seconds)

    def refused(self, why: str) -> None:
        """Note a search that was not answered."""
        self._rejected.labels(why).inc()

    def answered(self, served: Served, query: Query, result: Result, *, seconds: float, key: str) -> None:
        """Note an answer: metrics, the log of slow searches, spans, and perhaps a comparison with an exact search."""
        recall = next((stage for stage in result.plan.stages if isinstance(stage, Recall)), None)
        route = recall.index if recall is not None else _last(result.plan.stages)
        self._searches.labels(served.name, route).observe(seconds)
        for stage in result.stages:
            self._stages.labels(stage.label.split(" ", 1)[0]).observe(stage.ms / 1e3)
        if seconds * 1e3 >= self._slow_ms:
            self._log(served, result, seconds, key)
        if self._tracer is not None:
            _trace(self._tracer, served.name, result, seconds)
        if self._shadow and recall is not None and recall.recall is not None and recall.index != "exact":
            self._sample(served, query, result, recall)

    def _log(self, served: Served, result: Result, seconds: float, key: str) -> None:
        line = {
            "slow": served.name,
            "ms": round(seconds * 1e3, 3),
            "key": key,
            "version": result.plan.version,
            "hits": len(result.hits),
            "partial": result.partial,
            "plan": [type(stage).__name__.lower() for stage in result.plan.stages],
            "stages": [
                {"stage": each.label.split(" ", 1)[0], "rows": each.rows, "ms": round(each.ms, 3)}
                for each in result.stages
            ],
        }
        SLOW.warning("%s", json.dumps(line))

    def _sample(self, served: Served, query: Query, result: Result, recall: Recall) -> None:
        if result.partial or query.index is not None or self._draw.randrange(self._shadow):
            return
        items = max(1, result.plan.items)
        rows = next((getattr(stage, "matching", items) for stage in result.plan.stages), items)
        share = next(bound for bound in _SELECTIVE if rows / items <= bound or bound == 1.0)
        promised, space = float(recall.recall or 0), recall.route.column.space.name
        kept = _Sample(served, query, tuple(result.ids), space, f"{share:g}", promised, result.plan.version)
        self._samples.append(kept)

    async def compare(self, idle: Callable[[], bool], work: Callable[[Callable[[], None]], Any]) -> None:
        """Compare sampled answers with exact searches while the service is idle, until it is cancelled.

        Args:
            idle: whether no search runs or waits.
            work: runs a function in a thread, and can be awaited.
        """
        while True:
            await asyncio.sleep(_LOOK)
            while self._samples and idle():
                sample = self._samples.popleft()
                try:
                    await work(lambda sample=sample: self.shadow(sample))  # type: ignore[misc]
                except QuiverError:  # its version is gone, or an example of it
                    continue

    def shadow(self, sample: _Sample) -> None:
        """Search exactly, and add the share of the true hits that an answer had to the mean."""
        true = sample.served.at(sample.version).search(replace(sample.query, index="exact")).ids
        if not true:
            return
        labels = (sample.served.name, sample.space, sample.selectivity)
        count, total = self._sums.get(labels, (0, 0.0))
        count, total = count + 1, total + len(set(true) & set(sample.ids)) / len(true)
        self._sums[labels] = count, total
        self._found.labels(*labels).set(total / count)
        self._promised.labels(*labels).set(sample.promised)
        self._compared.labels(*labels).inc()

    @property
    def waiting(self) -> int:
        """Number of answers that wait to be compared."""
        return len(self._samples)

    def describe(self, collections: Sequence[Served]) -> bytes:
        """Return the metrics in the text format of Prometheus; versions, lags and quarantine are read now."""
        for served in collections:
            try:
                self._describe(served)
            except QuiverError:  # the collection cannot be read now; the other metrics can
                self._rejected.labels("unreadable").inc()
        return generate_latest(self.registry)

    def _describe(self, served: Served) -> None:
        info = served.collection.info()
        self._version.labels(served.name).set(info.version)
        self._items.labels(served.name).set(info.items)
        self._quarantined.labels(served.name).set(len(info.quarantine))
        for column in info.columns:
            for kind, lag in column.behind.items():
                self._behind.labels(served.name, column.space, kind).set(lag.share)


def _last(stages: Sequence[Stage]) -> str:
    """Return what an answer without vectors came from, such as full-text search."""
    return type(stages[0]).__name__.lower() if stages else "none"


def _tracer() -> Any:
    """Return a tracer if a program has set up OpenTelemetry, else None; Quiver exports nothing by itself."""
    try:
        from opentelemetry import trace
    except ModuleNotFoundError:
        return None
    provider = trace.get_tracer_provider()
    return None if type(provider).__name__ in ("ProxyTracerProvider", "NoOpTracerProvider") else _of(provider)


def _of(provider: Any) -> Any:
    return provider.get_tracer("quiver.server")


def _trace(tracer: Any, collection: str, result: Result, seconds: float) -> None:
    """Report a search as a span, and each of its stages as a span within; they are told after the fact."""
    from opentelemetry import trace

    end = time.time_ns()
    at = end - int(seconds * 1e9)
    whole = tracer.start_span("quiver.search", start_time=at)
    whole.set_attribute("quiver.collection", collection)
    whole.set_attribute("quiver.version", result.plan.version)
    whole.set_attribute("quiver.partial", result.partial)
    inside = trace.set_span_in_context(whole)
    for stage in result.stages:
        span = tracer.start_span(f"quiver.{stage.label.split(' ', 1)[0]}", context=inside, start_time=at)
        span.set_attribute("quiver.rows", stage.rows)
        at += int(stage.ms * 1e6)
        span.end(end_time=min(at, end))
    whole.end(end_time=end)


def audit(key: str, action: str, collection: str, **facts: Any) -> None:
    """Log a write as one JSON line: who did what to which collection, and how much; no content."""
    AUDIT.info("%s", json.dumps({"audit": action, "collection": collection, "key": key or "local", **facts}))
