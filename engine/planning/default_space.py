"""The spaces that answer a query which names none: those of one encoder, so that scores keep their scale.

A second encoder never changes what a search returns. Lists of several encoders are fused only if the query asks for it,
with ``fuse`` or several ``spaces``.
"""

from collections.abc import Sequence

from quiver.engine.core.graph import Graph, Route
from quiver.engine.planning.builder import PlanBuilder
from quiver.types import LIKE
from quiver.wording import option


def of_one_encoder(found: Sequence[Route], origin: str, target: str | None, builder: PlanBuilder) -> list[Route]:
    """Keep the routes of the encoder whose space is the default, and record the others as refused.

    If the query has no target, the default space of its own key comes first. If no default space can be reached, the
    encoder that was added first answers.

    Args:
        found: all routes of one input of the query.
        origin: key of the input, or ``like``.
        target: the key to find; None for any.
        builder: builder of the plan.
    """
    graph = builder.facts.graph
    if len(found) < 2:
        return list(found)
    best = min(found, key=lambda route: _rank(route, origin, graph))
    kept = [route for route in found if _encoder(route) == _encoder(best)]
    if best.column.key in graph.defaults:  # also before finer spaces of its encoder
        kept.sort(key=lambda route: route is not best)
    name = best.column.space.name
    for route in found:
        if route not in kept:
            chosen = f"{option('spaces', route.column.space.name)} or {option('fuse')} asks for it"
            builder.refuse(str(route), f"{name} is the default for this query; {chosen}")
    lost = {route.column.key for route in found} - {route.column.key for route in kept}
    if lost and target is None:
        also = " or ".join(option("target", key) for key in sorted(lost))
        what = "the example" if origin == LIKE else f"the {origin}"
        builder.note(f"{what} was searched in {name} only; {also} searches with another encoder")
    return kept


def _encoder(route: Route) -> str:
    """Return the encoder behind a route; for ready-made vectors, the name of their space."""
    column = route.column.stored
    return route.encoder or column.encoder or column.space.name


def _rank(route: Route, origin: str, graph: Graph) -> tuple[bool, bool, bool, int]:
    """Order routes: own key in its default space, chosen default, any default, then the age of the column."""
    key, column = route.column.key, route.column.stored
    default = graph.default(key) == column
    chosen = default and key in graph.defaults
    return not (default and key == origin), not chosen, not default, graph.columns.index(column)
