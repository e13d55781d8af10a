"""Plans with what a setup names and a query cannot: how a scorer's candidates are recalled, and how deep.

All that a plan consists of is made by the engine's own planner; here its parts are chosen by name, as the engine does
when it measures a scorer, so that every way to recall can be measured and not only the one the planner would take.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quiver.benchmarks.recall.setup import ROUTES, Setup
from quiver.engine.core.graph import Recipe
from quiver.engine.execution.plan import Plan, Stage
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.cut import Cut
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.rerank import Rerank
from quiver.engine.execution.stages.rescore import Rescore
from quiver.engine.execution.stages.score import Score
from quiver.engine.execution.stages.words import Words
from quiver.engine.planning import rerank_plan, routes, scorer_choice, scorer_plan
from quiver.engine.planning.builder import PlanBuilder
from quiver.engine.planning.planner import plan
from quiver.engine.planning.scorer_choice import ScorerChoice
from quiver.engine.planning.scorer_stages import depth_of
from quiver.engine.statistics.facts import Facts
from quiver.engine.statistics.rerank_weights import SCORER, Blend
from quiver.errors import NoRoute
from quiver.types import LIKE, Query, keys_of


@dataclass(frozen=True, slots=True)
class Look:
    """A look at the candidates of a reranker, before it ranks them.

    Attributes:
        depth: how many of each list.
        exact: whether every list is an exact search, whatever the index of the setup.
    """

    depth: int
    exact: bool


def planned(query: Query, facts: Facts, setup: Setup, *, wordy: bool, blend: Blend | None = None) -> Plan:
    """Return the plan of a query: the planner's own, but for the recall and the depth that the setup names.

    It does not rest on what earlier searches took: how deep a reranker comes in its budget is seen when it runs.

    Args:
        query: what is asked.
        facts: what is known of the collection.
        setup: how to search.
        wordy: whether items have text that words can be looked for in.
        blend: how much a reranker counts, and how deep it looks; None for alone, and as deep as the setup says.

    Raises:
        NoRoute: nothing that is held leads to the target, or the scorer has no such way to recall.
    """
    made = _planned(query, replace(facts, paces={}, blends={}), setup, wordy=wordy)
    return made if blend is None else replace(made, stages=tuple(_blended(stage, blend) for stage in made.stages))


def _planned(query: Query, facts: Facts, setup: Setup, *, wordy: bool) -> Plan:
    builder = PlanBuilder(facts)
    fit = scorer_choice.choose(_open(query, setup), builder) if setup.recall else None
    if fit is not None:
        return builder.build(_named(query, facts, fit, setup, wordy=wordy))
    made = plan(query, facts)
    if setup.depth is None:
        return made
    if any(isinstance(stage, Rescore | Rerank) for stage in made.stages):
        return replace(made, stages=_deep(made.stages, setup.depth, exact=False))
    return plan(replace(query, k=setup.depth), facts)


def scorer_of(query: Query, facts: Facts, setup: Setup) -> ScorerChoice | None:
    """Return the scorer that composes what a query holds; None where lists are fused by rank.

    Raises:
        BadSpec: the scorer named is not here, or cannot answer this.
    """
    return scorer_choice.choose(_open(query, setup), PlanBuilder(facts))


def reranks(made: Plan) -> bool:
    """Say whether a scorer ranks candidates that something else than itself recalled."""
    return any(isinstance(stage, Rerank) for stage in made.stages)


def candidates(made: Plan, look: Look) -> Plan:
    """Return the part of a reranker's plan that finds its candidates, all of them in one list."""
    at = next(n for n, stage in enumerate(made.stages) if isinstance(stage, Rerank))
    stages = [stage for stage in made.stages[:at] if not isinstance(stage, Compose)]
    return replace(made, stages=_deep(stages, look.depth, exact=look.exact))


def summary(made: Plan) -> str | None:
    """Say in a line what a scorer does; None where there is none."""
    compose = next((stage for stage in made.stages if isinstance(stage, Compose)), None)
    if compose is None:
        return None
    if any(isinstance(stage, Score) for stage in made.stages):
        return f"{compose.composition} scores everything that competes"
    if not any(isinstance(stage, Rescore | Rerank) for stage in made.stages):
        return f"{compose.composition} is one dot product, searched as any vector"
    if compose.recipe is not None:
        return f"{compose.composition} scores again what its recall {compose.recipe.name} finds"
    lists = [stage.label.removeprefix("recall ") for stage in made.stages if isinstance(stage, Recall | Words)]
    return f"{compose.composition} scores again what others find: {'; '.join(lists)}"


def _open(query: Query, setup: Setup) -> Query:
    """Return the query as its scorer is chosen: spaces that candidates come from do not bind the scorer."""
    return replace(query, spaces=()) if setup.recall else query


def _named(query: Query, facts: Facts, fit: ScorerChoice, setup: Setup, *, wordy: bool) -> list[Stage]:
    """Return the stages that score again what the recall of a setup finds."""
    depth = setup.depth or depth_of(query.k)
    name = fit.composition.name
    recipe = None if setup.recall == ROUTES else _recipe(fit, setup.recall)
    found: list[Stage]
    if recipe is None:
        encodes, lists = _others(query, facts, depth, wordy=wordy)
        last = Rerank(name, depth, query.budget_ms, SCORER, f"the first {depth} candidates by {name}, as asked")
        found = [*encodes, *lists, *rerank_plan.joined(lists, query.weights), last]
    else:
        lists = list(
            scorer_plan.recalls(query, fit, scorer_plan.Candidates(recipe, query.index, depth, ""), PlanBuilder(facts))
        )
        why = f"best {query.k} by exact scores of the candidates; {depth} of each list, as asked"
        found = [*lists, Rescore(name, query.k, why)]
    compose = Compose(fit.composition, fit.columns, fit.stands, recipe, f"{name} composes what is held")
    return [compose, *routes.narrow(query, facts), *found, Cut(query.k, f"the best {query.k}")]


def _others(query: Query, facts: Facts, depth: int, *, wordy: bool) -> tuple[list[Stage], list[Stage]]:
    """Return the stages that embed, and those that find candidates by what leads to the target without a scorer."""
    taken, words = routes.routes(query, PlanBuilder(facts))
    if not taken and not wordy:
        raise NoRoute(facts.graph.missing(next(iter(keys_of(query.media)), LIKE), target=query.target))
    return routes.encodes(taken), routes.recalls(taken, depth, query, PlanBuilder(facts), words=words and wordy)


def _recipe(fit: ScorerChoice, name: str) -> Recipe:
    for recipe in fit.composition.recalls:
        if recipe.name == name:
            return recipe
    there = ", ".join([*(recipe.name for recipe in fit.composition.recalls), ROUTES])
    raise NoRoute(f"plan: the scorer {fit.composition.name} has no recall {name!r}; there is {there}")


def _blended(stage: Stage, blend: Blend) -> Stage:
    """Let recall have its say in a reranker's order, and let the reranker look no deeper than is good."""
    if not isinstance(stage, Rerank):
        return stage
    depth = min(stage.depth, blend.depth)
    return replace(stage, depth=depth, weights=blend.weights, reason=f"the first {depth} candidates; {blend}")


def _deep(stages: Sequence[Stage], depth: int, *, exact: bool) -> tuple[Stage, ...]:
    """Return stages whose lists are of another depth, and from an exact search if so wanted."""

    def changed(stage: Stage) -> Stage:
        if isinstance(stage, Recall):
            why = f"best {depth} by {'exact' if exact else stage.index}, depth as asked"
            return replace(stage, index="exact" if exact else stage.index, k=depth, reason=why)
        if isinstance(stage, Rerank):
            return replace(stage, depth=depth, reason=f"the first {depth} candidates by {stage.scorer}, as asked")
        return replace(stage, k=depth, reason=f"best {depth}, as asked") if isinstance(stage, Words) else stage

    return tuple(changed(stage) for stage in stages)
