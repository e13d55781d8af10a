"""Plans by a scorer that only reranks: other routes recall the candidates, and it scores as many as time allows."""

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
    """How many candidates are worth a look, and why.

    Attributes:
        cap: as many as quality allows, or as many as are asked for by default.
        pairs: as many as are expected to be scored in time; None where there is no budget, or nothing is known.
        why: what that rests on.
    """

    cap: int
    pairs: int | None
    why: str

    @classmethod
    def of(cls, query: Query, facts: Facts, scorer: ScorerChoice, blend: Blend | None) -> "Depth":
        """Return it from what was measured."""
        asked = query.depth or depth_of(query.k)
        cap = asked if blend is None else min(blend.depth, query.depth or blend.depth)
        said = f"at most {cap}" + (" by default" if blend is None and query.depth is None else "")
        pace, budget = facts.paces.get(scorer.composition), query.budget_ms
        if budget is None:
            return cls(cap, None, said)
        if pace is None or not pace.known:
            return cls(cap, None, f"{said}, as far as {budget:g} ms allow: what a pair costs is not measured here yet")
        left = budget - pace.before - pace.after
        where = f" on {pace.device}" if pace.device else ""
        around = f"{pace.before:.3g} ms before and {pace.after:.3g} ms after"
        why = f"{said}; {budget:g} ms less {around}, {pace.pair:.3g} ms a pair{where} as measured"
        return cls(cap, None if pace.doubted else pace.pairs(left, cap), why)

    def within(self, k: int) -> int:
        """Return the depth: what there is time for, though k where the time is short, and never past the cap."""
        return self.cap if self.pairs is None else min(self.cap, max(k, self.pairs))


def add_stages(query: Query, scorer: ScorerChoice, builder: PlanBuilder) -> bool:
    """Add the stages that recall and rerank, or that score everything; False where reranking is not worth while."""
    facts, composition = builder.facts, scorer.composition
    cost, limited, named = ScanCost.of(facts, scorer), query.budget_ms is not None, query.recall is not None
    if query.recall not in (None, ROUTES):
        raise BadSpec(f"the scorer {composition.name} has no recall {query.recall!r}; there is {ROUTES}")
    if query.index == "exact" and not limited and not named:
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
            builder.note("the time budget may not be kept: nothing else finds candidates, so all items are scored")
        score_all(query, scorer, builder, f"{cost}; nothing else finds candidates: {error}")
        return True
    depth = Depth.of(query, facts, scorer, None)
    lists = routes.recalls(taken, query.depth or max(depth.cap, query.k), sought, draft, words=words)
    blend = learnt(facts.blends.get(composition), lists)
    depth = Depth.of(query, facts, scorer, blend)
    if not named and (why := _vain(query, facts, blend, depth)):
        builder.refuse(f"scorer {composition}", why)
        return False
    cheap = facts.rows <= depth_of(query.k) or (cost.measured is not None and cost.ms <= SCAN_MS)
    if cheap and blend is None and not limited and not named:
        score_all(query, scorer, builder, str(cost))
        return True
    builder.refused += draft.refused
    builder.refuse("exact scan", f"{cost}, and {composition.name} scores one by one")
    rerank = _rerank(query, scorer, blend, depth)
    add_around(query, scorer, [*routes.encodes(taken), *lists, *joined(lists, query.weights), rerank], builder)
    return True


def _candidate_routes(query: Query, builder: PlanBuilder) -> tuple[list[Route], bool]:
    """Return the routes to the candidates, and whether full text finds some: only where items have words.

    Raises:
        NoRoute: nothing finds candidates.
    """
    taken, words = routes.routes(query, builder)
    words = words and builder.facts.words
    if not taken and not words:
        raise NoRoute(builder.facts.graph.missing(next(iter(keys_of(query.media)), LIKE), target=query.target))
    return taken, words


def joined(lists: Sequence[Stage], weights: Mapping[str, float]) -> list[Stage]:
    """Return the stage that makes one list of several, so that there is an order to go by."""
    why = f"candidates in one order: reciprocal rank fusion, c = {RRF_C}"
    return [Fuse(RRF_C, dict(weights), why)] if len(lists) > 1 else []


def names(lists: Sequence[Stage]) -> tuple[str, ...]:
    """Name what finds candidates."""
    return tuple(stage.label for stage in lists if isinstance(stage, Recall | Words))


def learnt(blend: Blend | None, lists: Sequence[Stage]) -> Blend | None:
    """Return what was learnt, if it was learnt of candidates that were found in the same way."""
    return blend if blend is not None and blend.lists == names(lists) else None


def _vain(query: Query, facts: Facts, blend: Blend | None, depth: Depth) -> str:
    """Say why reranking is not worth while; nothing where it is, or where the scorer was asked for by name."""
    if facts.matching is not None and facts.rows <= query.k:
        return f"{facts.rows:,} rows match, and all of them are returned"
    if depth.pairs is not None and depth.pairs < 2:
        return f"{depth.pairs} would be scored in time: {depth.why}"
    if blend is not None and not blend.weights.scorer and query.scorer is None:
        return str(blend)
    return ""


def _rerank(query: Query, scorer: ScorerChoice, blend: Blend | None, depth: Depth) -> Rerank:
    weights = SCORER if blend is None else blend.weights
    by = "" if blend is None else f"; {blend}"
    reach = depth.within(query.k)
    why = f"the first {reach} candidates by {scorer.composition.name}, the others as recalled ({depth.why}){by}"
    return Rerank(scorer.composition.name, reach, query.budget_ms, weights, why)
