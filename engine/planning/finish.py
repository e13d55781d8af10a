"""The last stages of every plan: score threshold, folding of near-duplicates, diversity, groups, offset and order."""

from collections.abc import Sequence
from dataclasses import replace

from quiver.engine.core.column import Column, Derived
from quiver.engine.execution.plan import Stage
from quiver.engine.execution.stages.above import Above
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.cut import Cut
from quiver.engine.execution.stages.deduplicate import Deduplicate
from quiver.engine.execution.stages.diversify import Diversify
from quiver.engine.execution.stages.fuse import Fuse
from quiver.engine.execution.stages.group import Group
from quiver.engine.execution.stages.order import Order
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.rerank import Rerank
from quiver.engine.execution.stages.rescore import Rescore
from quiver.engine.execution.stages.score import Score
from quiver.engine.planning.builder import PlanBuilder
from quiver.engine.planning.query_kind import kind_of
from quiver.errors import BadSpec
from quiver.types import AUTO, Query
from quiver.wording import either, option

#: Initial depth of a list to group, to fold or to diversify: at least DEPTH, and TIMES times the number of requested
#: hits.
DEPTH, TIMES = 100, 4


def depth(query: Query) -> int:
    """Return the number of candidates to find before offset, groups and comparisons are applied."""
    wanted = query.offset + query.k
    if _compares(query):
        return max(DEPTH, TIMES * wanted, query.depth or 0)
    return wanted if query.group_by is None else max(DEPTH, TIMES * query.group_size * wanted)


def finished(query: Query, builder: PlanBuilder) -> list[Stage]:
    """Return the collected stages with the last ones added.

    Raises:
        BadSpec: a setting does not fit the plan.
    """
    stages, deep = builder.stages, depth(query)
    if query.group_by is not None or _compares(query):  # every scored row may be needed
        kinds = Score | Rescore | Cut if query.group_by is not None else Score | Rescore | Cut | Recall
        stages = [replace(each, k=max(each.k, deep)) if isinstance(each, kinds) else each for each in stages]
    made, cut = list(stages[:-1]), stages[-1]
    if query.min_score is not None:
        _check_comparable(made[-1])
        made.append(_above(query, query.min_score, stages, builder))
    made.append(
        replace(cut, reason=f"the best {cut.k}, to compare") if _compares(query) and isinstance(cut, Cut) else cut
    )
    if query.group_by is not None:
        made.append(_group(query, query.group_by, builder))
    elif _compares(query):
        made += _compared(query, stages, builder)
    elif query.offset and isinstance(cut, Cut):
        made[-1] = replace(cut, reason=f"{cut.reason}; the first {query.offset} are skipped")
    if builder.facts.order is not None:
        made.append(_order(query, *builder.facts.order))
    return made


def _above(query: Query, least: float | str, stages: Sequence[Stage], builder: PlanBuilder) -> Above:
    """Return the stage of a score threshold, given or learned.

    Raises:
        BadSpec: none is learned for such queries, or it is stale.
    """
    if not isinstance(least, str):
        return Above(least, f"hits with a score below {least:g} are dropped")
    kind, known = kind_of(query, stages), builder.facts.thresholds
    found = known.get(kind.key)
    learn = either("`quiver threshold COLLECTION questions.csv`", "threshold(queries, answers)")
    auto = option("min_score", AUTO)
    if found is None:
        others = "; ".join(sorted(each.kind for each in known.values())) or "none"
        raise BadSpec(
            f"{auto}: no threshold is learned for {kind.told}: learn one with {learn}; learned so far: {others}"
        )
    if found.stale:
        raise BadSpec(
            f"{auto}: the threshold for {kind.told} is stale: {found.changed:.0%} of the vectors changed since"
            f" {found.at[:10]}; learn it again with {learn}"
        )
    since = f"; {found.changed:.1%} of the vectors changed since" if found.changed else ""
    why = f"learned on {found.questions:,} questions ({found.source}, {found.at[:10]}): {found.promise()}{since}"
    return Above(found.min_score, f"hits with a score below {found.min_score:.4g} are dropped; {why}", basis=why)


def _compares(query: Query) -> bool:
    """Whether candidates are compared with each other."""
    return query.deduplicate is not None or bool(query.diversity)


def _group(query: Query, column: str, builder: PlanBuilder) -> Group:
    groups = f"the best {query.k}" if not query.offset else f"the {query.k} after the best {query.offset}"
    why = f"{groups} groups, at most {query.group_size} of each; the search goes deeper until there are enough groups"
    return Group(column, query.k, query.group_size, query.offset, depth(query), builder.facts.rows, query.index, why)


def _compared(query: Query, stages: Sequence[Stage], builder: PlanBuilder) -> list[Stage]:
    """Return the stages that compare candidates with each other."""
    column, wanted, made = _vectors(query, stages), query.offset + query.k, list[Stage]()
    skipped = f"; the first {query.offset} are skipped" if query.offset else ""
    if query.deduplicate is not None:
        keep = depth(query) if query.diversity else wanted
        why = (
            f"hits with a cosine similarity of at least {query.deduplicate:g} ({column}) to a better hit are folded;"
            f" the search goes deeper until {keep} are left{skipped}"
        )
        made.append(Deduplicate(query.deduplicate, column, keep, depth(query), builder.facts.rows, query.index, why))
    if query.diversity:
        d = query.diversity
        why = (
            f"maximal marginal relevance over the candidates: {1 - d:g} x score (scaled to 0 to 1) - {d:g} x largest"
            f" cosine similarity ({column}) to the hits before; the scores shown are unchanged{skipped}"
        )
        made.append(Diversify(d, column, wanted, why))
    return made


def _vectors(query: Query, stages: Sequence[Stage]) -> Column | Derived:
    """Return the vectors by which candidates are compared: those that are searched first.

    Raises:
        BadSpec: the search reads no vectors.
    """
    for stage in stages:
        if isinstance(stage, Recall):
            return stage.route.column
        if isinstance(stage, Compose):
            return stage.columns[0]
    name = "deduplicate" if query.deduplicate is not None else "diversity"
    raise BadSpec(f"{option(name)} compares vectors, and this search ranks by words only: leave it out")


def _order(query: Query, column: str, descending: bool) -> Order:
    what = "hits" if query.group_by is None else "hits of the groups"
    way = "largest first" if descending else "smallest first"
    why = f"the {what} chosen by score are sorted by {column}, {way}; ties by score, hits without a value last"
    keep = None if query.group_by is not None else query.k
    return Order(column, descending, query.offset if keep is not None else 0, keep, why)


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
