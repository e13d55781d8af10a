"""Pagination: one search serves many pages; deeper searches use the version of the first one."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

from quiver.engine.execution.plan import Plan, Result, Stage
from quiver.engine.execution.stages.order import Order
from quiver.types import Hit, Query

#: Pages fetched by the first search, and growth factor of the following ones.
PAGES, DEEPER = 10, 4


class Searched(Protocol):
    """A searchable collection, at its newest version or at a chosen one."""

    def search(self, query: Query, /) -> Result:
        """Answer a query."""
        ...

    def explain(self, query: Query, /) -> Plan:
        """Plan a query."""
        ...

    def checkout(self, version: int) -> "Searched":
        """Return the collection at a version."""
        ...


def pages(collection: Searched, query: Query) -> Iterator[Result]:
    """Yield pages of k hits, or groups, until there are no more. No hit comes twice, and none is skipped.

    A deeper search of an approximate index may find hits it missed before; these come first on the next page. With
    ``order_by``, the hits of each page are sorted; the score decides which page a hit is on.
    """
    order = collection.explain(query).stages[-1] if query.order_by is not None else None
    query = replace(query, order_by=None)
    shown: set[Any] = set()
    depth, version = query.k * PAGES, 0
    while True:
        result = collection.search(replace(query, k=depth))
        if version and result.plan.version != version:  # the collection was changed meanwhile
            collection = collection.checkout(version)
            continue
        version = result.plan.version
        parts = _parts(result, query.group_by)
        fresh = [(name, hits) for name, hits in parts.items() if name not in shown]
        last = len(parts) < depth
        for at in range(0, len(fresh) if last else len(fresh) // query.k * query.k, query.k):
            page = fresh[at : at + query.k]
            shown.update(name for name, _ in page)
            yield _page(result, [hit for _, hits in page for hit in hits], order)
        if last:
            return
        depth *= DEEPER


def _page(result: Result, hits: list[Hit], order: Stage | None) -> Result:
    """Return an answer with the hits of one page, sorted by a column if there is an order."""
    if not isinstance(order, Order):
        return replace(result, hits=tuple(hits))
    values: list[Any] = [hit.meta.get(order.column) for hit in hits]
    known = [
        n for n, value in enumerate(values) if not (value is None or (isinstance(value, float) and math.isnan(value)))
    ]
    known.sort(key=values.__getitem__, reverse=order.descending)
    rest = sorted(set(range(len(hits))).difference(known))
    places = [*known, *rest]
    plan = replace(result.plan, stages=(*result.plan.stages, replace(order, offset=0)))
    return replace(result, hits=tuple(hits[n] for n in places), plan=plan)


def _parts(result: Result, group: str | None) -> dict[Any, tuple[Hit, ...]]:
    """Return the entries of an answer that make up pages: hits, or groups of hits."""
    if group is None:
        return {hit.id: (hit,) for hit in result}
    return {(hits[0].meta.get(group), group not in hits[0].meta and hits[0].id): hits for hits in result.groups(group)}
