"""Query planner: rank with a scorer that composes the inputs if there is one, otherwise search each input and fuse."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from quiver.engine.core.graph import Route
from quiver.engine.execution.plan import Plan, Stage
from quiver.engine.execution.stages.above import Above
from quiver.engine.execution.stages.cut import Cut
from quiver.engine.execution.stages.fuse import RRF_C, Fuse
from quiver.engine.execution.stages.group import Group
from quiver.engine.execution.stages.merge import Merge
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.rerank import Rerank
from quiver.engine.execution.stages.rescore import Rescore
from quiver.engine.execution.stages.score import Score
from quiver.engine.planning import rerank_plan, routes, scorer_choice, scorer_plan
from quiver.engine.planning.builder import PlanBuilder
from quiver.engine.statistics.facts import Facts
from quiver.errors import BadSpec
from quiver.types import ROUTES, UNLIKE, WORDS, Query, keys_of
from quiver.wording import option

#: Least number of candidates per fused list, so that an item found by only one list can still rank high.
FUSE_DEPTH = 100
#: Initial depth of a list to group: at least GROUP_DEPTH, and PER_GROUP times the number of requested hits.
GROUP_DEPTH, PER_GROUP = 100, 4


def plan(query: Query, facts: Facts) -> Plan:
    """Choose a plan for a query from the statistics of the collection.

    Raises:
        NoRoute: an input has no route to the target; the message names the missing arrow.
        BadSpec: a named space, index or scorer does not exist, or cannot answer this query.
    """
    builder = PlanBuilder(facts)
    if not _scored(query, builder):
        _add_joined(replace(query, k=_depth(query)), builder)
    return builder.build(_narrowed(query, builder))


def _depth(query: Query) -> int:
    """Return the number of candidates to find before offset and groups are applied."""
    wanted = query.offset + query.k
    return wanted if query.group_by is None else max(GROUP_DEPTH, PER_GROUP * query.group_size * wanted)


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


def _narrowed(query: Query, builder: PlanBuilder) -> list[Stage]:
    """Return the stages with those for the score threshold, groups and offset added."""
    stages = builder.stages
    if query.group_by is not None:  # every scored row may be needed for a group
        stages = [
            replace(stage, k=max(stage.k, _depth(query))) if isinstance(stage, Score | Rescore | Cut) else stage
            for stage in stages
        ]
    made, cut = list(stages[:-1]), stages[-1]
    if query.min_score is not None:
        _check_comparable(made[-1])
        made.append(Above(query.min_score, f"hits with a score below {query.min_score:g} are dropped"))
    made.append(cut)
    if query.group_by is not None:
        groups = f"the best {query.k}" if not query.offset else f"the {query.k} after the best {query.offset}"
        why = (
            f"{groups} groups, at most {query.group_size} of each; the search goes deeper until there are enough groups"
        )
        bounds = (query.offset, _depth(query), builder.facts.rows, query.index)
        made.append(Group(query.group_by, query.k, query.group_size, *bounds, why))
    elif query.offset and isinstance(cut, Cut):
        made[-1] = replace(cut, reason=f"{cut.reason}; the first {query.offset} are skipped")
    return made


def _check_comparable(last: Stage) -> None:
    """Refuse a score threshold if the scores are not comparable."""
    if isinstance(last, Fuse):
        raise BadSpec(
            f"{option('min_score')} needs comparable scores, and these lists are fused by rank: search with one input"
            " in one space"
        )
    if isinstance(last, Rerank):
        raise BadSpec(
            f"{option('min_score')} needs comparable scores, and {last.scorer} scores only some candidates: set"
            f" {option('scorer', 'none')}"
        )


def _add_joined(query: Query, builder: PlanBuilder) -> None:
    """Add the stages that search along every route and fuse the lists."""
    facts = builder.facts
    taken, words = routes.routes(query, builder)
    depth = (query.depth or max(query.k, FUSE_DEPTH)) if len(taken) + words > 1 else query.k
    lists = routes.recalls(taken, depth, query, builder, words=words)
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
    builder.add(*routes.encodes(taken), *routes.narrow(query, facts), *lists, *joins, *fuse)
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
