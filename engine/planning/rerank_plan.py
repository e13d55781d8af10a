"""Plans by a scorer that only reranks: what else leads to the target recalls, and it looks as deep as time allows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from quiver.engine.execution.plan import Refused, Stage
from quiver.engine.execution.stages.fuse import RRF_C, Fuse
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.rerank import Rerank
from quiver.engine.execution.stages.words import Words
from quiver.engine.planning import routes, scorer_plan
from quiver.engine.planning.scorer_plan import SCAN_MS, Cost, Fit
from quiver.engine.statistics.facts import Facts
from quiver.engine.statistics.rerank_weights import SCORER, Blend
from quiver.errors import NoRoute
from quiver.types import Query


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
    def of(cls, query: Query, facts: Facts, fit: Fit, blend: Blend | None) -> "Depth":
        """Return it from what was measured."""
        cap = scorer_plan.depth_of(query.k) if blend is None else blend.depth
        said = f"at most {cap}" + (" by default" if blend is None else "")
        pace, budget = facts.paces.get(fit.composition), query.budget_ms
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


def stages(query: Query, facts: Facts, fit: Fit, refused: list[Refused], notes: list[str]) -> list[Stage] | None:
    """Return the stages that recall and rerank, or that score everything; None where that is not worth while."""
    cost, limited = Cost.of(facts, fit), query.budget_ms is not None
    if query.index == "exact" and not limited:
        return scorer_plan.everything(query, facts, fit, refused, notes, "as asked")
    wanted = replace(query, target=fit.composition.finds)
    found = list[Refused]()
    try:
        taken, words = routes.routes(wanted, facts, found, [])
    except NoRoute as error:
        if limited:
            notes.append("the budget may not be kept: nothing else finds candidates, so that all are scored")
        return scorer_plan.everything(
            query, facts, fit, refused, notes, f"{cost}; nothing else finds candidates: {error}"
        )
    depth = Depth.of(query, facts, fit, None)
    lists = routes.recalls(taken, max(depth.cap, query.k), wanted, facts, found, words=words)
    blend = learnt(facts.blends.get(fit.composition), lists)
    depth = Depth.of(query, facts, fit, blend)
    if why := _vain(query, facts, fit, blend, depth):
        refused.append(Refused(f"scorer {fit.composition}", why))
        return None
    cheap = facts.rows <= depth.cap or (cost.measured is not None and cost.ms <= SCAN_MS)
    if cheap and blend is None and not limited:
        return scorer_plan.everything(query, facts, fit, refused, notes, str(cost))
    refused += found
    refused.append(Refused("exact scan", f"{cost}, and {fit.composition.name} scores one by one"))
    body = [*routes.encodes(taken), *lists, *joined(lists, query.weights), _rerank(query, fit, blend, depth)]
    return scorer_plan.around(query, facts, fit, body, refused, notes)


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


def _vain(query: Query, facts: Facts, fit: Fit, blend: Blend | None, depth: Depth) -> str:
    """Say why reranking is not worth while; nothing where it is, or where the scorer was asked for by name."""
    if query.where is not None and facts.rows <= query.k:
        return f"{facts.rows:,} rows match, and all of them are returned"
    if depth.pairs is not None and depth.pairs < 2:
        return f"{depth.pairs} would be scored in time: {depth.why}"
    if blend is not None and not blend.weights.scorer and query.scorer is None:
        return str(blend)
    return ""


def _rerank(query: Query, fit: Fit, blend: Blend | None, depth: Depth) -> Rerank:
    weights = SCORER if blend is None else blend.weights
    by = "" if blend is None else f"; {blend}"
    reach = depth.within(query.k)
    why = f"the first {reach} candidates by {fit.composition.name}, the others as recalled ({depth.why}){by}"
    return Rerank(fit.composition.name, reach, query.budget_ms, weights, why)
