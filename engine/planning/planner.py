"""From a query to a plan: by a scorer where one composes what is held, else list by list, joined."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from quiver.engine.core.graph import Route
from quiver.engine.execution.plan import Plan, Refused, Stage
from quiver.engine.execution.stages.above import Above
from quiver.engine.execution.stages.cut import Cut
from quiver.engine.execution.stages.fuse import RRF_C, Fuse
from quiver.engine.execution.stages.group import Group
from quiver.engine.execution.stages.merge import Merge
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.rerank import Rerank
from quiver.engine.execution.stages.rescore import Rescore
from quiver.engine.execution.stages.score import Score
from quiver.engine.planning import rerank_plan, routes, scorer_plan
from quiver.engine.statistics.facts import Facts
from quiver.errors import BadSpec
from quiver.types import NONE, UNLIKE, WORDS, Query, keys_of

#: Each list that is to be fused goes this deep, at least: an item that only one list knows still gets its chance.
FUSE_DEPTH = 100
#: Lists that are to be grouped go so deep at first: this far at least, and so many times as deep as hits are wanted.
GROUP_DEPTH, PER_GROUP = 100, 4


def plan(query: Query, facts: Facts) -> Plan:
    """Choose a plan for a query, from what is known of the collection.

    Raises:
        NoRoute: nothing that is held leads to what is wanted; the message names the missing arrow.
        BadSpec: a space, an index or a scorer was named that does not exist, or cannot answer this.
    """
    refused: list[Refused] = []
    notes: list[str] = []
    fit = _fit(query, facts, refused)
    stages = None
    if fit is not None:
        by = scorer_plan if fit.composition.recalls else rerank_plan
        wanted = replace(query, k=(query.offset + query.k) * query.per_group)
        stages = by.stages(wanted, facts, fit, refused, notes)
    if stages is None:
        stages = _joined(replace(query, k=_depth(query)), facts, refused, notes)
    return Plan(tuple(_choice(query, facts, stages)), tuple(refused), tuple(notes), facts.version, facts.items)


def _depth(query: Query) -> int:
    """Return how many of the best have to be found."""
    wanted = query.offset + query.k
    return wanted if query.group is None else max(GROUP_DEPTH, PER_GROUP * query.per_group * wanted)


def _fit(query: Query, facts: Facts, refused: list[Refused]) -> scorer_plan.Fit | None:
    """Return the scorer to rank by; None where there is none, or what was asked is beyond scorers."""
    beyond = [name for name in ("unlike", "hybrid") if getattr(query, name)] + ["reduce"] * (query.reduce == "max")
    if not beyond:
        return scorer_plan.fit(query, facts, refused)
    if query.scorer not in (None, NONE):
        raise BadSpec(f"the scorer {query.scorer} takes no {beyond[0]}: leave out one of them")
    fit = scorer_plan.fit(query, facts, refused)
    if fit is not None:
        refused.append(Refused(f"scorer {fit.composition}", f"a scorer takes no {beyond[0]}"))
    return None


def _choice(query: Query, facts: Facts, stages: Sequence[Stage]) -> list[Stage]:
    """Add what chooses among the hits that were found: a least score, groups, a page."""
    if query.group is not None:  # of what was scored, all that may be needed is kept
        stages = [
            replace(stage, k=max(stage.k, _depth(query))) if isinstance(stage, Score | Rescore | Cut) else stage
            for stage in stages
        ]
    made, cut = list(stages[:-1]), stages[-1]
    if query.min_score is not None:
        if isinstance(made[-1], Fuse):
            raise BadSpec(
                "min_score needs scores of one kind, and these lists are fused by rank: ask with one thing in one space"
            )
        if isinstance(made[-1], Rerank):
            raise BadSpec(
                f"min_score needs scores of one kind, and {made[-1].scorer} reranks some candidates only: scorer=none"
            )
        made.append(Above(query.min_score, f"what scores less than {query.min_score:g} is left out"))
    made.append(cut)
    if query.group is not None:
        groups = f"the best {query.k}" if not query.offset else f"the {query.k} after the best {query.offset}"
        why = f"{groups} groups, at most {query.per_group} of each; pulled deeper until so many are seen, or all"
        bounds = (query.offset, _depth(query), facts.rows, query.index)
        made.append(Group(query.group, query.k, query.per_group, *bounds, why))
    elif query.offset and isinstance(cut, Cut):
        made[-1] = replace(cut, reason=f"{cut.reason}; the first {query.offset} are left out")
    return made


def _joined(query: Query, facts: Facts, refused: list[Refused], notes: list[str]) -> list[Stage]:
    """Search along every route, and join the lists."""
    taken, words = routes.routes(query, facts, refused, notes)
    depth = max(query.k, FUSE_DEPTH) if len(taken) + words > 1 else query.k
    stages = [*routes.encodes(taken), *routes.narrow(query, facts)]
    lists = routes.recalls(taken, depth, query, facts, refused, words=words)
    weights = {name: weight for name, weight in query.weights.items() if name != UNLIKE}
    if len(keys_of(query.media)) + bool(query.like) + len(query.vectors) > 1:
        notes.append(
            "composed without a trained composer: several things are held, each is searched on its own and the lists"
            " are fused by rank"
        )
    joins = _merges(taken)
    spaces = {merge.space for merge in joins}
    single = [stage for stage in lists if not (isinstance(stage, Recall) and stage.route.column.space in spaces)]
    labels = [stage.label for stage in (*single, *joins)]
    fuse = [_fuse(labels, weights, facts, words=words)] if len(labels) > 1 else []
    return [*stages, *lists, *joins, *fuse, Cut(query.k, f"the best {query.k}")]


def _merges(routes: Sequence[Route]) -> list[Merge]:
    """Lists of one held thing in one space are merged by score."""
    homes = Counter(route.column.space for route in routes)
    alone = len({route.held for route in routes}) == 1
    shared = sorted((space for space, n in homes.items() if n > 1 and alone), key=str)
    why = "its columns share one space, so scores are comparable and the better one counts"
    return [Merge(space, why) for space in shared]


def _fuse(labels: Sequence[str], weights: Mapping[str, float], facts: Facts, *, words: bool) -> Fuse:
    """All that is left is fused by rank, by the weights that were asked for or else by those that were learnt."""
    why = f"{len(labels)} lists whose scores cannot be compared: reciprocal rank fusion, c = {RRF_C}"
    if weights:
        counting = {WORDS: weights["text"], **weights} if words and "text" in weights else dict(weights)
        told = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
        return Fuse(RRF_C, counting, f"{why}; weights {told}")
    balance = facts.balances.get(frozenset(labels))
    return Fuse(RRF_C, {}, why) if balance is None else Fuse(RRF_C, dict(balance.weights), f"{why}; {balance}")
