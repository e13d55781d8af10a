"""From a query to a plan: by a scorer where one composes what is held, else list by list, joined."""

from collections import Counter
from collections.abc import Mapping, Sequence

from quiver.engine import composed, rerank, routing
from quiver.engine.fact import Facts
from quiver.engine.graph import Route
from quiver.engine.plan import Plan, Refused, Stage
from quiver.engine.stages.cut import Cut
from quiver.engine.stages.fuse import RRF_C, Fuse
from quiver.engine.stages.merge import Merge
from quiver.types import Query, keys_of

#: Each list that is to be fused goes this deep, at least: an item that only one list knows still gets its chance.
FUSE_DEPTH = 100


def plan(query: Query, facts: Facts) -> Plan:
    """Choose a plan for a query, from what is known of the collection.

    Raises:
        NoRoute: nothing that is held leads to what is wanted; the message names the missing arrow.
        BadSpec: a space, an index or a scorer was named that does not exist, or cannot answer this.
    """
    refused: list[Refused] = []
    notes: list[str] = []
    fit = composed.fit(query, facts, refused)
    stages = None
    if fit is not None:
        by = composed if fit.composition.recalls else rerank
        stages = by.stages(query, facts, fit, refused, notes)
    if stages is None:
        stages = _joined(query, facts, refused, notes)
    return Plan(tuple(stages), tuple(refused), tuple(notes), facts.version, facts.items)


def _joined(query: Query, facts: Facts, refused: list[Refused], notes: list[str]) -> list[Stage]:
    """Search along every route, and join the lists."""
    taken, words = routing.routes(query, facts, refused, notes)
    depth = max(query.k, FUSE_DEPTH) if len(taken) + words > 1 else query.k
    stages = [*routing.encodes(taken), *routing.narrow(query, facts)]
    stages += routing.recalls(taken, depth, query, facts, refused, words=words)
    if len(keys_of(query.media)) + bool(query.like) + len(query.vectors) > 1:
        notes.append(
            "composed without a trained composer: several things are held, each is searched on its own and the lists"
            " are fused by rank"
        )
    return [*stages, *_joins(taken, query.weights, words=words), Cut(query.k, f"the best {query.k}")]


def _joins(routes: Sequence[Route], weights: Mapping[str, float], *, words: bool) -> list[Stage]:
    """Lists of one held thing in one space are merged by score; all that is left is fused by rank."""
    homes = Counter(route.column.space for route in routes)
    alone = len({route.held for route in routes}) == 1
    shared = sorted((space for space, n in homes.items() if n > 1 and alone), key=str)
    why = "its columns share one space, so scores are comparable and the better one counts"
    joins: list[Stage] = [Merge(space, why) for space in shared]
    left = len(routes) - sum(homes[space] - 1 for space in shared) + words
    if left > 1:
        counts = f"; weights {', '.join(f'{name} {weight:g}' for name, weight in weights.items())}" if weights else ""
        why = f"{left} lists whose scores cannot be compared: reciprocal rank fusion, c = {RRF_C}{counts}"
        joins.append(Fuse(RRF_C, dict(weights), why))
    return joins
