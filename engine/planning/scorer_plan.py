"""Plans by a scorer: one dot product, an exact scan, or candidates recalled and scored again, whichever is cheapest.

Scorers that have no way to recall candidates are planned in ``rerank``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quiver.engine.core.column import Column, Derived
from quiver.engine.core.graph import Composition, Recipe, Route, listed, references
from quiver.engine.execution.plan import Refused, Stage
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.cut import Cut
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.rescore import Rescore
from quiver.engine.execution.stages.score import Score
from quiver.engine.planning import access_path, routes
from quiver.engine.statistics.facts import Facts
from quiver.engine.statistics.scorer_recall import Measured, Trial
from quiver.errors import BadSpec, NoRoute
from quiver.types import NONE, Query, keys_of

#: Nanoseconds to score one number of a row for one query alone, unless measured: ARTEMIS's four products over rows of
#: 512 take a second for a million of them, on one core that is not idle otherwise.
NS = 2.0
#: An exact scan that stays below so many milliseconds is not worth avoiding.
SCAN_MS = 200.0
#: Candidates of each list: this many at least, and so many times k.
DEPTH, TIMES_K = 200, 20
#: A way to recall is good enough if it finds this share of what an exact scan finds.
FLOOR = 0.99


@dataclass(frozen=True, slots=True)
class Fit:
    """A scorer that can answer a query.

    Attributes:
        composition: the scorer.
        columns: the vectors it reads, in the order of its spaces.
        stands: the key that example items stand for; None where there are none.
    """

    composition: Composition
    columns: tuple[Column | Derived, ...]
    stands: str | None


def fit(query: Query, facts: Facts, refused: list[Refused]) -> Fit | None:
    """Return the scorer to rank by, or None; those that hold the same things are added to ``refused``.

    Raises:
        BadSpec: the scorer named is not here, or cannot answer this query.
    """
    named = query.scorer not in (None, NONE)
    known = [c for c in facts.graph.compositions if not named or c.name == query.scorer]
    if named and not known:
        there = listed({c.name for c in facts.graph.compositions}) or "none"
        raise BadSpec(f"no scorer is called {query.scorer!r} here; there are {there}")
    fits: list[Fit] = []
    for composition in known:
        if not _holds(query, composition, facts, named=named):
            continue
        found = "no scorer was asked for" if query.scorer == NONE else _fit(query, composition, facts)
        if isinstance(found, Fit):
            fits.append(found)
        elif named:
            raise BadSpec(f"the scorer {composition} cannot answer this: {found}")
        else:
            refused.append(Refused(f"scorer {composition}", found))
    if named and not fits:
        raise BadSpec(f"the scorer {known[0]} takes {' + '.join(known[0].holds)} and finds {known[0].finds}")
    refused += [Refused(f"scorer {each.composition}", f"{fits[0].composition.name} answers") for each in fits[1:]]
    return fits[0] if fits else None


def _holds(query: Query, composition: Composition, facts: Facts, *, named: bool) -> bool:
    """Say whether a query holds exactly what a scorer composes, and wants what it finds.

    One thing held alone is composed with nothing: where it leads somewhere else too, the target has to say what is
    wanted.
    """
    keys = keys_of(dict.fromkeys(composition.holds, ""))
    vague = len(keys) == 1 and not named and bool(facts.graph.routes(keys[0], target=None))
    wanted = (composition.finds,) if vague else (composition.finds, None)
    foreign = set(query.media) - set(composition.holds)
    lacking = set(composition.holds) - set(query.media)
    stands = _stands(query, composition)
    return query.target in wanted and not query.vectors and not foreign and (not lacking or stands is not None)


def _stands(query: Query, composition: Composition) -> str | None:
    """Return the key that example items stand for: what is lacking, or one more of what is no text."""
    if not query.like:
        return None
    lacking = [name for name in composition.holds if name not in query.media]
    could = lacking or [name for name in composition.holds if name != "text"]
    keys = keys_of(dict.fromkeys(could, ""))
    return keys[0] if len(keys) == 1 else None


def _fit(query: Query, composition: Composition, facts: Facts) -> Fit | str:
    """Return the fit, or why there is none."""
    columns = [facts.graph.end(composition.finds, space) for space in composition.reads]
    for space, column in zip(composition.reads, columns, strict=True):
        if column is None:
            return f"it reads {composition.finds} vectors of {space}, and none are stored here"
        if query.spaces and space.name not in query.spaces:
            return f"it scores in {space.name}, and only {', '.join(query.spaces)} was asked for"
    stands = _stands(query, composition)
    stored = {column.name for column in facts.graph.columns if column.key == stands}
    if stands is not None and not stored.intersection(facts.examples):
        return f"not every example has a vector of its {stands}"
    return Fit(composition, tuple(column for column in columns if column is not None), stands)


def depth_of(k: int) -> int:
    """Return how many candidates to recall for k hits, where nothing was measured."""
    return max(DEPTH, TIMES_K * k)


def stages(query: Query, facts: Facts, fit: Fit, refused: list[Refused], notes: list[str]) -> list[Stage]:
    """Return the stages that rank by a scorer that has ways to recall."""
    own = len(references(query, fit.composition))
    recipe, body = _body(replace(query, k=query.k + own), facts, fit, refused)
    return around(query, facts, fit, body, refused, notes, recipe=recipe)


def everything(query: Query, facts: Facts, fit: Fit, refused: list[Refused], notes: list[str], why: str) -> list[Stage]:
    """Return the stages that score whatever may be found."""
    own = len(references(query, fit.composition))
    return around(query, facts, fit, [_scan(replace(query, k=query.k + own), facts, fit, why)], refused, notes)


def around(
    query: Query,
    facts: Facts,
    fit: Fit,
    body: Sequence[Stage],
    refused: list[Refused],
    notes: list[str],
    *,
    recipe: Recipe | None = None,
) -> list[Stage]:
    """Return stages that find and rank, with what every plan by a scorer has before and after them."""
    own = references(query, fit.composition)
    if own:
        notes.append("a reference given by its path is left out of the answer where it is a stored item")
    if len(keys_of(query.media)) + bool(query.like) > 1:
        refused.append(Refused("rank fusion", f"{fit.composition.name} composes what is held; scorer=none fuses lists"))
    more = f", and {len(own)} more in place of what was held" if own else ""
    cut = Cut(query.k + len(own), f"the best {query.k}{more}")
    return [_compose(query, fit, recipe), *routes.narrow(query, facts), *body, cut]


def _compose(query: Query, fit: Fit, recipe: Recipe | None) -> Compose:
    held = " + ".join(keys_of(query.media) + ((f"stored {fit.stands}",) if fit.stands else ()))
    counts = "".join(f", {name} counting {weight:g}" for name, weight in query.weights.items())
    why = f"{fit.composition.encoder} composes {held} to find {fit.composition.finds}{counts}"
    return Compose(fit.composition, fit.columns, fit.stands, recipe, why)


def _body(query: Query, facts: Facts, fit: Fit, refused: list[Refused]) -> tuple[Recipe | None, list[Stage]]:
    """Choose how to find the best: the recipe to ask by, and the stages after what is held is embedded."""
    composition = fit.composition
    first = composition.recalls[0] if composition.recalls else None
    if composition.exact and first is not None and len(first.spaces) == 1 and _lacking(facts, fit, first) is None:
        (recall,) = recalls(query, facts, fit, Way(first, query.index, query.k, ""), refused)
        return first, [replace(recall, reason=f"ranks as {composition.name} does; {recall.reason}")]
    cost = Cost.of(facts, fit)
    if query.index == "exact":
        return None, [_scan(query, facts, fit, "as asked")]
    limit = SCAN_MS if query.budget_ms is None else min(SCAN_MS, query.budget_ms)
    if query.index is None and (cost.ms <= limit or facts.rows <= depth_of(query.k)):
        refused += [_other(fit, recipe, cost, "an exact scan is cheap enough") for recipe in composition.recalls]
        return None, [_scan(query, facts, fit, str(cost))]
    way = _choose(query, facts, fit, cost, refused)
    if way is None:
        return None, [_scan(query, facts, fit, str(cost))]
    why = f"{cost}, more than {limit:g} ms" if query.index is None else f"{query.index} was asked for"
    refused.append(Refused("exact scan", why))
    return way.recipe, [*recalls(query, facts, fit, way, refused), _rescore(query, fit, way.why)]


@dataclass(frozen=True, slots=True)
class Cost:
    """What an exact scan takes.

    Attributes:
        ms: milliseconds.
        rows: how many are scored.
        measured: the figures it rests on; None where it rests on what pairs took, or on NS.
    """

    ms: float
    rows: int
    measured: Measured | None

    @classmethod
    def of(cls, facts: Facts, fit: Fit) -> "Cost":
        """Estimate it from what was measured, or from the width of what is read."""
        found = facts.measured.get(fit.composition)
        measured = found if found is not None and found.holds(facts.items) else None
        pace = facts.paces.get(fit.composition)
        if measured is not None:
            ns = measured.ns
        elif pace is not None and pace.known:
            ns = pace.pair * 1e6
        else:
            ns = NS * sum(space.dim for space in fit.composition.reads)
        return cls(facts.rows * ns / 1e6, facts.rows, measured)

    def __str__(self) -> str:
        source = self.measured or "estimated"
        return f"{self.rows:,} rows at most, about {self.ms:.3g} ms ({source})"


@dataclass(frozen=True, slots=True)
class Way:
    """How candidates are recalled.

    Attributes:
        recipe: the scorer's own.
        index: the kind of index to ask; None for the best there is.
        depth: candidates of each list.
        why: what is known of it.
    """

    recipe: Recipe
    index: str | None
    depth: int
    why: str


def _choose(query: Query, facts: Facts, fit: Fit, cost: Cost, refused: list[Refused]) -> Way | None:
    """Choose how to recall candidates: the cheapest way measured to be good enough, the default one unmeasured.

    None where an exact scan is cheaper, or the only way that is good enough.
    """
    composition, measured = fit.composition, cost.measured
    able = [recipe for recipe in composition.recalls if _lacking(facts, fit, recipe) is None]
    way = None
    if measured is None and able:
        why = "recall is not measured here: Collection.measure does that"
        way = Way(able[0], query.index, depth_of(query.k), why)
    elif measured is not None:
        good = [trial for trial in measured.trials if _serves(trial, query, facts, fit, able)]
        trial = min(good, key=lambda trial: trial.ms, default=None)
        if trial is not None and (trial.ms < cost.ms or query.index is not None):
            recipe = next(recipe for recipe in able if recipe.name == trial.recipe)
            way = Way(recipe, trial.index, _deep(trial, query, measured), f"{_said(trial, measured)}, {measured}")
        elif able and query.index is not None:  # asked for by name, good or not
            deepest = max((trial.depth for trial in measured.trials), default=0)
            depth = max(deepest, depth_of(query.k))
            way = Way(able[0], query.index, depth, f"no way to recall reached {FLOOR}, {measured}")
    if way is not None and way.depth >= facts.rows:
        way = None
    others = [recipe for recipe in composition.recalls if way is None or recipe != way.recipe]
    known = "is the default" if measured is None else "is the cheapest that is good enough"
    default = "an exact scan is cheaper, or surer" if way is None else f"{way.recipe.name} {known}"
    refused += [_other(fit, recipe, cost, _lacking(facts, fit, recipe) or default) for recipe in others]
    return way


def _serves(trial: Trial, query: Query, facts: Facts, fit: Fit, able: Sequence[Recipe]) -> bool:
    """Say whether a way is good enough and still there to be taken."""
    recipe = next((recipe for recipe in able if recipe.name == trial.recipe), None)
    if recipe is None or trial.recall < FLOOR or query.index not in (None, trial.index):
        return False
    ends = [facts.graph.end(fit.composition.finds, space) for space in recipe.spaces]
    return all(trial.index in ("exact", *facts.built.get(end.name, ())) for end in ends if end is not None)


def _deep(trial: Trial, query: Query, measured: Measured) -> int:
    """Return the depth measured, made deeper in step where more hits are wanted than were measured."""
    return max(trial.depth, -(-trial.depth * query.k // measured.k))


def _said(trial: Trial, measured: Measured) -> str:
    return f"recall@{measured.k} {trial.recall:.3f} at depth {trial.depth} by {trial.index} in {trial.ms:.3g} ms"


def _lacking(facts: Facts, fit: Fit, recipe: Recipe) -> str | None:
    """Say which vectors a recipe lacks; None where it has all of them."""
    finds = fit.composition.finds
    gone = [space for space in recipe.spaces if facts.graph.end(finds, space) is None]
    return f"no {finds} vectors of {gone[0]} are stored here, nor does a bridge lead there" if gone else None


def _other(fit: Fit, recipe: Recipe, cost: Cost, why: str) -> Refused:
    """Refuse a recipe, with the best that was measured of it."""
    tried = [trial for trial in cost.measured.trials if trial.recipe == recipe.name] if cost.measured else []
    best = max(tried, key=lambda trial: (min(trial.recall, FLOOR), -trial.ms), default=None)
    said = f"; {_said(best, cost.measured)}" if best is not None and cost.measured is not None else ""
    return Refused(f"recall by {fit.composition.name} {recipe.name}", why + said)


def recalls(query: Query, facts: Facts, fit: Fit, way: Way, refused: list[Refused]) -> list[Recall]:
    """Return a recall for each probe of a recipe."""
    made = []
    for n, space in enumerate(way.recipe.spaces):
        end = facts.graph.end(fit.composition.finds, space)
        if end is None:
            raise NoRoute(str(_lacking(facts, fit, way.recipe)))
        route = Route(fit.composition.asks(way.recipe)[n], space, end)
        why = "as asked" if query.index else "as measured"
        made.append(access_path.recall(route, way.depth, facts, way.index, refused, why=why))
    return made


def _scan(query: Query, facts: Facts, fit: Fit, why: str) -> Score:
    made = [access_path.computed(column, facts) for column in fit.columns if isinstance(column, Derived)]
    reason = "; ".join([f"best {query.k} by exact scores of everything: {why}", *made])
    return Score(fit.composition.name, query.k, reason)


def _rescore(query: Query, fit: Fit, why: str) -> Rescore:
    return Rescore(fit.composition.name, query.k, f"best {query.k} by exact scores of the candidates; {why}")
