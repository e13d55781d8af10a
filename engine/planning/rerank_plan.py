"""Plans with a reranker: other routes recall the candidates, and it scores as many as the latency budget allows.

A reranker without learned weights never takes over by itself: it counts only as far as it agrees with recall, and a
note names the command that learns its weights. It ranks alone if the query names it, or if nothing else finds
candidates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from quiver.engine.core.graph import Route
from quiver.engine.execution.plan import Stage
from quiver.engine.execution.stages.fuse import RRF_C, Fuse
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.rerank import Rerank
from quiver.engine.execution.stages.words import Words
from quiver.engine.planning import routes
from quiver.engine.planning.builder import PlanBuilder
from quiver.engine.planning.scorer_choice import ScorerChoice
from quiver.engine.planning.scorer_stages import SCAN_MS, ScanCost, add_around, depth_of, score_all
from quiver.engine.statistics.facts import Facts
from quiver.engine.statistics.rerank_weights import SCORER, Blend
from quiver.errors import BadSpec, NoRoute
from quiver.types import LIKE, ROUTES, Query, keys_of


@dataclass(frozen=True, slots=True)
class Depth:
    """The number of candidates to rerank, and the reason.

    Attributes:
        cap: largest useful number as measured, or the default.
        pairs: expected number scored within the budget; None without a budget or without measurements.
        why: basis of both numbers.
    """

    cap: int
    pairs: int | None
    why: str

    @classmethod
    def of(cls, query: Query, facts: Facts, scorer: ScorerChoice, blend: Blend | None) -> "Depth":
        """Compute the depth from measured latencies and learned weights."""
        asked = query.depth or depth_of(query.k)
        cap = asked if blend is None else min(blend.depth, query.depth or blend.depth)
        said = f"at most {cap}" + (" by default" if blend is None and query.depth is None else "")
        pace, budget = facts.paces.get(scorer.composition), query.budget_ms
        if budget is None:
            return cls(cap, None, said)
        if pace is None or not pace.known:
            return cls(
                cap, None, f"{said}, until {budget:g} ms are used up: the time per pair is not measured here yet"
            )
        left = budget - pace.before - pace.after
        where = f" on {pace.device}" if pace.device else ""
        around = f"{pace.before:.3g} ms before and {pace.after:.3g} ms after"
        why = f"{said}; {budget:g} ms less {around}, {pace.pair:.3g} ms a pair{where} as measured"
        return cls(cap, None if pace.doubted else pace.pairs(left, cap), why)

    def within(self, k: int) -> int:
        """Return the depth: the number that fits the budget, but at least k, and never more than the cap."""
        return self.cap if self.pairs is None else min(self.cap, max(k, self.pairs))


def add_stages(query: Query, scorer: ScorerChoice, builder: PlanBuilder) -> bool:
    """Add the stages that recall and rerank, or that score every row; return False if reranking does not pay off."""
    facts, composition = builder.facts, scorer.composition
    cost, limited, named = ScanCost.of(facts, scorer), query.budget_ms is not None, query.recall is not None
    alone = _ranks_alone(query, scorer)
    if query.recall not in (None, ROUTES):
        raise BadSpec(f"the scorer {composition.name} has no recall {query.recall!r}; choose from {ROUTES}")
    if query.index == "exact" and alone and not limited and not named:
        builder.note(_told_alone(query, scorer))
        score_all(query, scorer, builder, "as asked")
        return True
    sought = replace(query, target=composition.finds)
    draft = builder.draft()
    try:
        taken, words = _candidate_routes(sought, draft)
    except NoRoute as error:
        if named:
            raise
        if limited:
            builder.note("the latency budget may be exceeded: no other route finds candidates, so every item is scored")
        score_all(query, scorer, builder, f"{cost}; no other route finds candidates: {error}")
        return True
    depth = Depth.of(query, facts, scorer, None)
    lists = routes.recalls(taken, query.depth or max(depth.cap, query.k), sought, draft, words=words)
    blend = learnt(facts.blends.get(composition), lists)
    depth = Depth.of(query, facts, scorer, blend)
    if not named and (why := _vain(query, facts, blend, depth)):
        builder.refuse(f"scorer {composition}", why)
        return False
    cheap = facts.rows <= depth_of(query.k) or (cost.measured is not None and cost.ms <= SCAN_MS)
    if blend is None:
        builder.note(_told_alone(query, scorer) if alone else _told_unfitted(query, scorer, facts))
    if cheap and blend is None and alone and not limited and not named:
        score_all(query, scorer, builder, str(cost))
        return True
    builder.refused += draft.refused
    builder.refuse("exact scan", f"{cost}, and {composition.name} scores row by row")
    rerank = _rerank(query, scorer, blend, depth)
    add_around(query, scorer, [*routes.encodes(taken), *lists, *joined(lists, query.weights), rerank], builder)
    return True


def _candidate_routes(query: Query, builder: PlanBuilder) -> tuple[list[Route], bool]:
    """Return the routes to the candidates, and whether full-text search is used: only if items have words.

    Raises:
        NoRoute: no route finds candidates.
    """
    taken, words = routes.routes(query, builder)
    words = words and builder.facts.words
    if not taken and not words:
        origin = next(iter(keys_of(query.media)), LIKE)
        missing = builder.facts.graph.missing(origin, target=query.target)
        raise NoRoute(missing, origin=origin, target=query.target)
    return taken, words


def joined(lists: Sequence[Stage], weights: Mapping[str, float]) -> list[Stage]:
    """Return the stage that fuses several candidate lists into one order."""
    why = f"candidates in one order: reciprocal rank fusion, c = {RRF_C}"
    return [Fuse(RRF_C, dict(weights), why)] if len(lists) > 1 else []


def names(lists: Sequence[Stage]) -> tuple[str, ...]:
    """Return the labels of the stages that find candidates."""
    return tuple(stage.label for stage in lists if isinstance(stage, Recall | Words))


def learnt(blend: Blend | None, lists: Sequence[Stage]) -> Blend | None:
    """Return the learned weights if they were learned on the same candidate lists."""
    return blend if blend is not None and blend.lists == names(lists) else None


def _vain(query: Query, facts: Facts, blend: Blend | None, depth: Depth) -> str:
    """Return why reranking does not pay off; empty if it does."""
    if facts.matching is not None and facts.rows <= query.k:
        return f"only {facts.rows:,} rows match, and all of them are returned"
    if depth.pairs is not None and depth.pairs < 2:
        return f"candidates that the latency budget allows: {depth.pairs}; {depth.why}"
    if blend is not None and not blend.weights.scorer and query.scorer is None:
        return str(blend)
    return ""


def _ranks_alone(query: Query, scorer: ScorerChoice) -> bool:
    """Whether a scorer without learned weights ranks alone: if the query names it.

    A composer that can recall was trained to rank by itself.
    """
    return query.scorer is not None or bool(scorer.composition.recalls)


def _told_alone(query: Query, scorer: ScorerChoice) -> str:
    asked = "as the query names it" if query.scorer is not None else "as it composes the inputs"
    return f"ranked by {scorer.composition.name} alone, {asked}: its scores are not weighed against recall"


def _told_unfitted(query: Query, scorer: ScorerChoice, facts: Facts) -> str:
    """Return the note that weights are missing, with the command that learns them."""
    composition = scorer.composition
    missing = "is not fitted" if facts.blends.get(composition) is None else "was fitted on other candidate lists"
    said = f"{composition.name} {missing}, so it counts only as far as it agrees with recall"
    if query.like:
        return f"{said}: Collection.fit(queries, answers) learns its weight"
    columns = ", ".join(name for name in composition.holds if name in query.media)
    command = f"`quiver fit COLLECTION QUESTIONS.csv --target {composition.finds}`"
    return f"{said}: {command} learns its weight from a table with the columns {columns} and answer"


def _rerank(query: Query, scorer: ScorerChoice, blend: Blend | None, depth: Depth) -> Rerank:
    """Return the stage that reranks by learned weights, by the scorer alone, or by the safe blend."""
    composition, reach, alone = scorer.composition, depth.within(query.k), _ranks_alone(query, scorer)
    weights = blend.weights if blend is not None else SCORER if alone else None
    by = f"; {blend}" if blend is not None else "" if alone else "; not fitted: counts as far as it agrees with recall"
    why = f"the first {reach} candidates by {composition.name}, the others as recalled ({depth.why}){by}"
    return Rerank(composition.name, reach, query.budget_ms, weights, why)
