"""Query planner: rank with a scorer that composes the inputs if there is one, otherwise search each input and fuse."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from quiver.engine.core.graph import Route
from quiver.engine.execution.plan import Plan
from quiver.engine.execution.stages.cut import Cut
from quiver.engine.execution.stages.fuse import RRF_C, Fuse
from quiver.engine.execution.stages.merge import Merge
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.planning import finish, negatives, rerank_plan, routes, scorer_choice, scorer_plan
from quiver.engine.planning.builder import PlanBuilder
from quiver.engine.statistics.facts import Facts
from quiver.errors import BadSpec
from quiver.types import ROUTES, UNLIKE, WORDS, Query, keys_of
from quiver.wording import option

#: Least number of candidates per fused list, so that an item found by only one list can still rank high.
FUSE_DEPTH = 100


def plan(query: Query, facts: Facts) -> Plan:
    """Choose a plan for a query from the statistics of the collection.

    Raises:
        NoRoute: an input has no route to the target; the message names the missing arrow.
        BadSpec: a named space, index or scorer does not exist, or cannot answer this query.
    """
    builder = PlanBuilder(facts)
    if not _scored(query, builder):
        _add_joined(replace(query, k=finish.depth(query)), builder)
    return builder.build(finish.finished(query, builder))


def _scored(query: Query, builder: PlanBuilder) -> bool:
    """Add the stages of a scorer, if one fits this query and pays off; return whether it did.

    Raises:
        BadSpec: the query names a recall recipe, and no scorer takes its inputs.
    """
    by_routes = query.recall == ROUTES
    scorer = scorer_choice.choose(replace(query, spaces=()) if by_routes else query, builder)
    if scorer is None and query.recall is not None:
        raise BadSpec(
            f"{option('recall', query.recall)} needs a scorer, but no scorer here takes these inputs: leave it out"
        )
    if scorer is None:
        return False
    deep = replace(query, k=(query.offset + query.k) * query.group_size)
    if by_routes or not scorer.composition.recalls:
        return rerank_plan.add_stages(deep, scorer, builder)
    scorer_plan.add_stages(deep, scorer, builder)
    return True


def _add_joined(query: Query, builder: PlanBuilder) -> None:
    """Add the stages that search along every route and fuse the lists."""
    facts = builder.facts
    taken, words = routes.routes(query, builder)
    repelled, moved = negatives.moved(query, taken, builder, words=words)
    depth = (query.depth or max(query.k, FUSE_DEPTH)) if len(taken) + words > 1 else query.k
    lists = negatives.away(routes.recalls(taken, depth, query, builder, words=words), moved)
    weights = {name: weight for name, weight in query.weights.items() if name != UNLIKE}
    if len(keys_of(query.media)) + bool(query.like) + len(query.vectors) > 1:
        builder.note(
            "no trained composer takes these inputs together: each is searched separately, and the lists are fused by"
            " rank"
        )
    joins = _merges(taken)
    spaces = {merge.space for merge in joins}
    single = [stage for stage in lists if not (isinstance(stage, Recall) and stage.route.column.space in spaces)]
    labels = [stage.label for stage in (*single, *joins)]
    fuse = [_fuse(labels, weights, facts, words=words)] if len(labels) > 1 else []
    builder.add(*routes.encodes(taken), *repelled, *routes.narrow(query, facts), *lists, *joins, *fuse)
    builder.add(Cut(query.k, f"the best {query.k}"))


def _merges(routes: Sequence[Route]) -> list[Merge]:
    """Return the stages that merge lists of one input in one space by score."""
    homes = Counter(route.column.space for route in routes)
    alone = len({route.origin for route in routes}) == 1
    shared = sorted((space for space, n in homes.items() if n > 1 and alone), key=str)
    why = "its columns share one space, so scores are comparable; an item keeps its better score"
    return [Merge(space, why) for space in shared]


def _fuse(labels: Sequence[str], weights: Mapping[str, float], facts: Facts, *, words: bool) -> Fuse:
    """Return the stage that fuses all lists by rank, with the weights of the query or else with learned weights."""
    why = f"{len(labels)} lists whose scores cannot be compared: reciprocal rank fusion, c = {RRF_C}"
    if weights:
        counting = {WORDS: weights["text"], **weights} if words and "text" in weights else dict(weights)
        told = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
        return Fuse(RRF_C, counting, f"{why}; weights {told}")
    balance = facts.balances.get(frozenset(labels))
    return Fuse(RRF_C, {}, why) if balance is None else Fuse(RRF_C, dict(balance.weights), f"{why}; {balance}")
