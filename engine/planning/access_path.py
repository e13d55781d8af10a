"""Access-path selection: choose the index and settings for a column, and give a reason for each path not taken.

Every access path has an expected time and, if its recall curve was measured, an expected recall. The cheapest path
that reaches the recall target is taken. An exact scan always reaches it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from quiver.engine.core.column import Derived
from quiver.engine.core.graph import Route
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.planning.builder import PlanBuilder
from quiver.engine.statistics.facts import Facts
from quiver.engine.statistics.recall_curves import Offer, Promise, Spend
from quiver.errors import BadSpec

#: Milliseconds up to which an exact scan is preferred to an index of unknown recall: it loses no recall.
_CHEAP = 1.0
#: An exact scan may take this many times as long as an index and is still preferred, since its recall is 1.
_LOSSLESS = 1.25


@dataclass(frozen=True, slots=True)
class AccessPath:
    """One way to search a column.

    Attributes:
        index: the kind of index.
        what: its description for people.
        ms: expected milliseconds per query.
        recall: expected recall; None if unknown.
        spend: settings of the index.
        depth: least number of hits to request from the index.
        fault: why the path may not be taken; empty if it may.
    """

    index: str
    what: str
    ms: float
    recall: float | None
    spend: Spend = field(default_factory=dict)
    depth: int = 0
    fault: str = ""


def recall(route: Route, k: int, builder: PlanBuilder, index: str | None, *, why: str = "as requested") -> Recall:
    """Return the stage that searches the column at the end of a route; the builder records the refused alternatives.

    Args:
        route: path from the query input to the column.
        k: number of hits.
        builder: builder of the plan.
        index: kind of index to use; None chooses the best.
        why: reason to show if a kind of index is given.

    Raises:
        BadSpec: the given kind of index is not built.
    """
    facts = builder.facts
    made = _named(route, k, facts, index, why) if index is not None else _choose(route, k, builder)
    if not isinstance(route.column, Derived):
        return made
    return replace(made, reason=f"{computed(route.column, facts)}; {made.reason}")


def computed(column: Derived, facts: Facts) -> str:
    """Describe a computed column: source space, target space and bridges."""
    by = ", ".join(dict.fromkeys(crossing.encoder for crossing in column.bridges))
    return (
        f"computed: at most {facts.items:,} vectors of {column.stored.space.name} mapped to {column.space.name} by {by}"
    )


def _named(route: Route, k: int, facts: Facts, index: str, why: str) -> Recall:
    if index == "exact":
        return _taken(route, k, _exact(route, facts), f"best {k} by exact, {why}")
    if index not in facts.built.get(route.column.name, ()):
        raise BadSpec(f"there is no {index} index for {route.column}: build one with `quiver index`")
    promise = facts.promises.get(route.column.name, {}).get(index)
    if promise is None:
        return Recall(route, index, k, f"best {k} by {index}, {why}")
    offers = promise.offers(k, _share(facts), facts.queries)
    best = next((offer for offer in offers if offer.kept), max(offers, key=lambda offer: offer.recall, default=None))
    if best is None:
        return Recall(
            route, index, k, f"best {k} by {index}, {why}; recall was not measured for this k and selectivity"
        )
    return _taken(route, k, _offered(promise, best, k), f"best {k} by {index} with {_settings(best.spend)}, {why}")


def _choose(route: Route, k: int, builder: PlanBuilder) -> Recall:
    facts = builder.facts
    built = facts.built.get(route.column.name, ())
    exact = _exact(route, facts)
    scan = f"best {k}: exact scan of at most {facts.rows:,} vectors, {route.column.space.metric}"
    if not built:
        return _taken(route, k, exact, f"{scan}; no other index is built")
    paths = [exact, *_indexed(route, k, facts)]
    blind = exact.ms > _CHEAP and not facts.promises.get(
        route.column.name
    )  # whether an index of unknown recall is acceptable
    quick = min(
        (path for path in paths if not path.fault and (blind or path.recall is not None)), key=lambda path: path.ms
    )
    taken = exact if exact.ms <= _LOSSLESS * quick.ms else quick
    for path in paths:
        if path is not taken:
            why = path.fault or f"{path.ms:.2g} ms, {_found(path)} expected; {_instead(taken)}"
            builder.refuse(f"{path.what} for {route.column}", why)
    if taken is exact:
        return _taken(route, k, taken, f"{scan}, about {taken.ms:.2g} ms")
    found = f"about {taken.ms:.2g} ms; {_found(taken)}"
    promise = facts.promises.get(route.column.name, {}).get(taken.index)
    basis = f", recall target {promise.recall}: {promise.state()}; measured on {promise.source}" if promise else ""
    return _taken(route, k, taken, f"best {k} by {taken.what} of at most {facts.rows:,} vectors, {found}{basis}")


def _found(path: AccessPath) -> str:
    return (
        "recall unknown (`quiver index --recall` measures it)" if path.recall is None else f"recall {path.recall:.3f}"
    )


def _instead(taken: AccessPath) -> str:
    return f"{taken.what} takes {taken.ms:.2g} ms" + (" and finds everything" if taken.recall == 1 else "")


def _taken(route: Route, k: int, path: AccessPath, reason: str) -> Recall:
    return Recall(route, path.index, k, reason, path.spend, path.depth, round(path.ms, 4), path.recall)


def _share(facts: Facts) -> float:
    return facts.rows / facts.items if facts.items else 1.0


def _exact(route: Route, facts: Facts) -> AccessPath:
    """Return the exact scan: in memory, or on disk if an earlier measurement found too little memory."""
    promises = facts.promises.get(route.column.name, {})
    known = next(
        (ms for each in promises.values() if (ms := each.exact(_share(facts), facts.queries)) is not None), None
    )
    scanning = facts.machine.scanning(facts.items, route.column.space.dim, matching=facts.matching)
    ms = known if known is not None else scanning.ms(facts.queries)
    if any(not each.resident for each in promises.values()):
        return AccessPath("lance", "exact scan on disk", ms, 1.0, {"scan": facts.items})
    return AccessPath("exact", "exact scan", ms, 1.0)


def _indexed(route: Route, k: int, facts: Facts) -> Iterator[AccessPath]:
    """Yield for each index a setting that reaches its recall target, and a cheaper setting that does not."""
    for kind in facts.built.get(route.column.name, ()):
        promise = facts.promises.get(route.column.name, {}).get(kind)
        if promise is None:
            yield AccessPath(kind, f"{kind} index", _least(kind, facts), None)
            continue
        offers = promise.offers(k, _share(facts), facts.queries)
        kept = next((offer for offer in offers if offer.kept), None)
        if kept is not None:
            yield _offered(promise, kept, k)
        elif not offers:
            yield AccessPath(kind, f"{kind} index", 0.0, None, fault=_beyond(promise, k, facts))
        weak = [offer for offer in offers if not offer.kept and (kept is None or offer.ms < kept.ms)]
        if weak:
            yield _offered(promise, max(weak, key=lambda offer: offer.recall), k)


def _least(kind: str, facts: Facts) -> float:
    """Return a lower bound in milliseconds for an index without measurements.

    An index in memory visits more rows if fewer of them match: filtered batches over inverted lists take 4 to 5 times
    as long as unfiltered ones when a tenth of the rows match.
    """
    least = facts.machine.floor(kind).ms(facts.queries)
    return least if kind == "lance" else least / max(_share(facts), 1e-6)


def _offered(promise: Promise, offer: Offer, k: int) -> AccessPath:
    settings = f"{promise.kind} index with {_settings(offer.spend)}"
    fault = f"{offer.ms:.2g} ms, recall {offer.recall:.3f} expected; the recall target is {promise.recall}"
    depth = promise.depth(k) or 0
    return AccessPath(promise.kind, settings, offer.ms, offer.recall, offer.spend, depth, "" if offer.kept else fault)


def _settings(spend: Spend) -> str:
    return " ".join(f"{name}={value}" for name, value in spend.items()) or "its build settings"


def _beyond(promise: Promise, k: int, facts: Facts) -> str:
    if promise.depth(k) is None:
        return f"recall was measured only up to k = {promise.depths[-1]}"
    return f"recall was not measured for {facts.rows:,} of {facts.items:,} rows: so few rows are scanned exactly"
