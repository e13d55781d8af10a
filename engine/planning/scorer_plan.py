"""Plans with a scorer that can recall: one dot product, a full scan, or recalled candidates that are rescored.

The cheapest plan with enough recall is taken. Scorers that cannot recall candidates are planned in ``rerank_plan``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quiver.engine.core.graph import Recipe, Route
from quiver.engine.execution.plan import Stage
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.rescore import Rescore
from quiver.engine.planning import access_path
from quiver.engine.planning.builder import PlanBuilder
from quiver.engine.planning.scorer_choice import ScorerChoice
from quiver.engine.planning.scorer_stages import SCAN_MS, ScanCost, add_around, depth_of, scan, with_spare
from quiver.engine.statistics.facts import Facts
from quiver.engine.statistics.scorer_recall import Measured, RecipeRecall
from quiver.errors import BadSpec, NoRoute
from quiver.types import ROUTES, Query

#: Least recall of rescored candidates against a full scan.
FLOOR = 0.99


@dataclass(frozen=True, slots=True)
class Candidates:
    """A choice of recall recipe.

    Attributes:
        recipe: recall recipe of the scorer.
        index: kind of index to search; None chooses the best.
        depth: candidates per list.
        why: reason or measured figures.
    """

    recipe: Recipe
    index: str | None
    depth: int
    why: str


def add_stages(query: Query, scorer: ScorerChoice, builder: PlanBuilder) -> None:
    """Add the stages of a scorer that can recall candidates."""
    recipe, body = _body(with_spare(query, scorer), scorer, builder)
    add_around(query, scorer, body, builder, recipe=recipe)


def _body(query: Query, scorer: ScorerChoice, builder: PlanBuilder) -> tuple[Recipe | None, Sequence[Stage]]:
    """Choose the recall recipe, and the stages after the query is embedded."""
    facts, composition = builder.facts, scorer.composition
    if query.recall is not None:
        depth = query.depth or depth_of(query.k)
        named = Candidates(_named(query.recall, scorer), query.index, depth, f"{depth} per list, as requested")
        return named.recipe, _rescored(query, scorer, named, builder)
    first = composition.recalls[0] if composition.recalls else None
    if composition.exact and first is not None and len(first.spaces) == 1 and _lacking(facts, scorer, first) is None:
        (recall,) = recalls(query, scorer, Candidates(first, query.index, query.k, ""), builder)
        return first, [replace(recall, reason=f"gives the ranking of {composition.name}; {recall.reason}")]
    cost = ScanCost.of(facts, scorer)
    if query.index == "exact":
        return None, [scan(query.k, scorer, facts, "as requested")]
    limit = SCAN_MS if query.budget_ms is None else min(SCAN_MS, query.budget_ms)
    if query.index is None and (cost.ms <= limit or facts.rows <= depth_of(query.k)):
        for recipe in composition.recalls:
            _refuse(recipe, scorer, cost, builder, "an exact scan is cheap enough")
        return None, [scan(query.k, scorer, facts, str(cost))]
    chosen = _choose(query, scorer, cost, builder)
    if chosen is None:
        return None, [scan(query.k, scorer, facts, str(cost))]
    why = f"{cost}, more than {limit:g} ms" if query.index is None else f"the query says index={query.index}"
    builder.refuse("exact scan", why)
    return chosen.recipe, _rescored(query, scorer, chosen, builder)


def _named(name: str, scorer: ScorerChoice) -> Recipe:
    """Return a recall recipe by name.

    Raises:
        BadSpec: the scorer has no such recipe.
    """
    composition = scorer.composition
    for recipe in composition.recalls:
        if recipe.name == name:
            return recipe
    there = ", ".join([*(recipe.name for recipe in composition.recalls), ROUTES])
    raise BadSpec(f"the scorer {composition.name} has no recall {name!r}; choose from {there}")


def _rescored(query: Query, scorer: ScorerChoice, candidates: Candidates, builder: PlanBuilder) -> list[Stage]:
    """Return the stages that recall candidates, and score them exactly."""
    reason = f"best {query.k} by exact scores of the candidates; {candidates.why}"
    return [*recalls(query, scorer, candidates, builder), Rescore(scorer.composition.name, query.k, reason)]


def _choose(query: Query, scorer: ScorerChoice, cost: ScanCost, builder: PlanBuilder) -> Candidates | None:
    """Choose the cheapest recipe with enough measured recall; without measurements, the default recipe.

    Return None if a full scan is cheaper, or no recipe has enough recall.
    """
    composition, measured, facts = scorer.composition, cost.measured, builder.facts
    able = [recipe for recipe in composition.recalls if _lacking(facts, scorer, recipe) is None]
    chosen = None
    if measured is None and able:
        why = "recall is not measured here yet: call Collection.measure"
        chosen = Candidates(able[0], query.index, query.depth or depth_of(query.k), why)
    elif measured is not None:
        chosen = _measured(query, scorer, cost, measured, able, facts)
    if chosen is not None and chosen.depth >= facts.rows:
        chosen = None
    known = "is the default" if measured is None else f"is the cheapest with recall of at least {FLOOR}"
    default = "an exact scan is cheaper or has better recall" if chosen is None else f"{chosen.recipe.name} {known}"
    for recipe in composition.recalls:
        if chosen is None or recipe != chosen.recipe:
            _refuse(recipe, scorer, cost, builder, _lacking(facts, scorer, recipe) or default)
    return chosen


def _measured(
    query: Query, scorer: ScorerChoice, cost: ScanCost, measured: Measured, able: Sequence[Recipe], facts: Facts
) -> Candidates | None:
    """Return the cheapest recipe with enough measured recall, or the default one if the query names an index."""
    good = [trial for trial in measured.trials if _serves(trial, query, scorer, able, facts)]
    trial = min(good, key=lambda trial: trial.ms, default=None)
    if trial is not None and (trial.ms < cost.ms or query.index is not None):
        recipe = next(recipe for recipe in able if recipe.name == trial.recipe)
        depth = max(trial.depth, -(-trial.depth * query.k // measured.k))  # deeper in step with k
        return Candidates(recipe, trial.index, query.depth or depth, f"{_said(trial, measured)}, {measured}")
    if able and query.index is not None:
        deepest = max((trial.depth for trial in measured.trials), default=0)
        why = f"no recall recipe reached recall {FLOOR}, {measured}"
        return Candidates(able[0], query.index, query.depth or max(deepest, depth_of(query.k)), why)
    return None


def _serves(trial: RecipeRecall, query: Query, scorer: ScorerChoice, able: Sequence[Recipe], facts: Facts) -> bool:
    """Whether a measured recipe has enough recall and its indexes still exist."""
    recipe = next((recipe for recipe in able if recipe.name == trial.recipe), None)
    if recipe is None or trial.recall < FLOOR or query.index not in (None, trial.index):
        return False
    ends = [facts.graph.end(scorer.composition.finds, space) for space in recipe.spaces]
    return all(trial.index in ("exact", *facts.built.get(end.name, ())) for end in ends if end is not None)


def _said(trial: RecipeRecall, measured: Measured) -> str:
    return f"recall@{measured.k} {trial.recall:.3f} at depth {trial.depth} by {trial.index} in {trial.ms:.3g} ms"


def _lacking(facts: Facts, scorer: ScorerChoice, recipe: Recipe) -> str | None:
    """Return a sentence on missing vectors of a recipe; None if none are missing."""
    finds = scorer.composition.finds
    gone = [space for space in recipe.spaces if facts.graph.end(finds, space) is None]
    return f"no {finds} vectors of {gone[0]} are stored here, and no bridge leads there" if gone else None


def _refuse(recipe: Recipe, scorer: ScorerChoice, cost: ScanCost, builder: PlanBuilder, why: str) -> None:
    """Record a refused recipe with its best measured figures."""
    tried = [trial for trial in cost.measured.trials if trial.recipe == recipe.name] if cost.measured else []
    best = max(tried, key=lambda trial: (min(trial.recall, FLOOR), -trial.ms), default=None)
    said = f"; {_said(best, cost.measured)}" if best is not None and cost.measured is not None else ""
    builder.refuse(f"recall by {scorer.composition.name} {recipe.name}", why + said)


def recalls(query: Query, scorer: ScorerChoice, candidates: Candidates, builder: PlanBuilder) -> list[Recall]:
    """Return a recall stage for each probe of a recipe."""
    made = []
    composition, recipe = scorer.composition, candidates.recipe
    for name, space in zip(composition.asks(recipe), recipe.spaces, strict=True):
        end = builder.facts.graph.end(composition.finds, space)
        if end is None:
            raise NoRoute(str(_lacking(builder.facts, scorer, recipe)))
        why = "as requested" if query.index else "as measured"
        made.append(access_path.recall(Route(name, space, end), candidates.depth, builder, candidates.index, why=why))
    return made
