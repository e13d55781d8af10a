"""Plans with what a setup names and a query cannot: how a scorer's candidates are recalled, and how deep.

All that a plan consists of is made by the engine's own planner; here its parts are chosen by name, as the engine does
when it measures a scorer, so that every way to recall can be measured and not only the one the planner would take.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from quiver.benchmarks.grid import ROUTES, Setup
from quiver.engine import composed, routing
from quiver.engine.fact import Facts
from quiver.engine.graph import Recipe
from quiver.engine.plan import Plan, Refused, Stage
from quiver.engine.planner import RRF_C, plan
from quiver.engine.stages.compose import Compose
from quiver.engine.stages.cut import Cut
from quiver.engine.stages.fuse import Fuse
from quiver.engine.stages.recall import Recall
from quiver.engine.stages.rescore import Rescore
from quiver.engine.stages.score import Score
from quiver.engine.stages.words import Words
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


def planned(query: Query, facts: Facts, setup: Setup, *, wordy: bool) -> Plan:
    """Return the plan of a query: the planner's own, but for the recall and the depth that the setup names.

    Args:
        query: what is asked.
        facts: what is known of the collection.
        setup: how to search.
        wordy: whether items have text that words can be looked for in.

    Raises:
        NoRoute: nothing that is held leads to the target, or the scorer has no such way to recall.
    """
    refused: list[Refused] = []
    fit = composed.fit(_open(query, setup), facts, refused) if setup.recall else None
    if fit is not None:
        stages = _named(query, facts, fit, setup, wordy=wordy)
        return Plan(tuple(stages), tuple(refused), (), facts.version, facts.items)
    made = plan(query, facts)
    if setup.depth is None:
        return made
    if any(isinstance(stage, Rescore) for stage in made.stages):
        return replace(made, stages=_deep(made.stages, setup.depth, exact=False))
    return plan(replace(query, k=setup.depth), facts)


def scorer_of(query: Query, facts: Facts, setup: Setup) -> composed.Fit | None:
    """Return the scorer that composes what a query holds; None where lists are fused by rank.

    Raises:
        BadSpec: the scorer named is not here, or cannot answer this.
    """
    return composed.fit(_open(query, setup), facts, [])


def reranks(made: Plan) -> bool:
    """Say whether a scorer ranks candidates that something else than itself recalled."""
    composition = next((stage.composition for stage in made.stages if isinstance(stage, Compose)), None)
    if composition is None or not any(isinstance(stage, Rescore) for stage in made.stages):
        return False
    own = {name for recipe in composition.recalls for name in composition.asks(recipe)}
    return not any(isinstance(stage, Recall) and stage.route.held in own for stage in made.stages)


def candidates(made: Plan, look: Look, weights: Mapping[str, float]) -> Plan:
    """Return the part of a reranker's plan that finds its candidates, all of them in one list."""
    at = next(n for n, stage in enumerate(made.stages) if isinstance(stage, Rescore))
    stages = [stage for stage in made.stages[:at] if not isinstance(stage, Compose)]
    lists = sum(isinstance(stage, Recall | Words) for stage in stages)
    return replace(made, stages=(*_deep(stages, look.depth, exact=look.exact), *joined(lists, weights)))


def joined(lists: int, weights: Mapping[str, float]) -> tuple[Fuse, ...]:
    """Return what makes one list of a reranker's candidates, as they would stand without it."""
    return (Fuse(RRF_C, dict(weights), "the candidates in one list"),) if lists > 1 else ()


def summary(made: Plan) -> str | None:
    """Say in a line what a scorer does; None where there is none."""
    compose = next((stage for stage in made.stages if isinstance(stage, Compose)), None)
    if compose is None:
        return None
    if any(isinstance(stage, Score) for stage in made.stages):
        return f"{compose.composition} scores everything that competes"
    if not any(isinstance(stage, Rescore) for stage in made.stages):
        return f"{compose.composition} is one dot product, searched as any vector"
    if compose.recipe is not None:
        return f"{compose.composition} scores again what its recall {compose.recipe.name} finds"
    lists = [stage.label.removeprefix("recall ") for stage in made.stages if isinstance(stage, Recall | Words)]
    return f"{compose.composition} scores again what others find: {'; '.join(lists)}"


def _open(query: Query, setup: Setup) -> Query:
    """Return the query as its scorer is chosen: spaces that candidates come from do not bind the scorer."""
    return replace(query, spaces=()) if setup.recall else query


def _named(query: Query, facts: Facts, fit: composed.Fit, setup: Setup, *, wordy: bool) -> list[Stage]:
    """Return the stages that score again what the recall of a setup finds."""
    depth = setup.depth or composed.depth_of(query.k)
    name = fit.composition.name
    recipe = None if setup.recall == ROUTES else _recipe(fit, setup.recall)
    if recipe is None:
        found = _others(query, facts, depth, wordy=wordy)
    else:
        found = list[Stage](composed.recalls(query, facts, fit, composed.Way(recipe, query.index, depth, ""), []))
    return [
        Compose(fit.composition, fit.columns, fit.stands, recipe, f"{name} composes what is held"),
        *routing.narrow(query, facts),
        *found,
        Rescore(name, query.k, f"best {query.k} by exact scores of the candidates; {depth} of each list, as asked"),
        Cut(query.k, f"the best {query.k}"),
    ]


def _others(query: Query, facts: Facts, depth: int, *, wordy: bool) -> list[Stage]:
    """Return the stages that find candidates by what leads to the target without a scorer."""
    taken, words = routing.routes(query, facts, [], [])
    if not taken and not wordy:
        raise NoRoute(facts.graph.missing(next(iter(keys_of(query.media)), LIKE), target=query.target))
    return [*routing.encodes(taken), *routing.recalls(taken, depth, query, facts, [], words=words and wordy)]


def _recipe(fit: composed.Fit, name: str) -> Recipe:
    for recipe in fit.composition.recalls:
        if recipe.name == name:
            return recipe
    there = ", ".join([*(recipe.name for recipe in fit.composition.recalls), ROUTES])
    raise NoRoute(f"plan: the scorer {fit.composition.name} has no recall {name!r}; there is {there}")


def _deep(stages: Sequence[Stage], depth: int, *, exact: bool) -> tuple[Stage, ...]:
    """Return stages whose lists are of another depth, and from an exact search if so wanted."""

    def changed(stage: Stage) -> Stage:
        if isinstance(stage, Recall):
            why = f"best {depth} by {'exact' if exact else stage.index}, depth as asked"
            return replace(stage, index="exact" if exact else stage.index, k=depth, reason=why)
        return replace(stage, k=depth, reason=f"best {depth}, as asked") if isinstance(stage, Words) else stage

    return tuple(changed(stage) for stage in stages)
