"""Scorer selection: choose the scorer that takes exactly the inputs of the query and finds its target."""

from dataclasses import dataclass

from quiver.engine.core.column import Column, Derived
from quiver.engine.core.graph import Composition, is_named, listed
from quiver.engine.planning.builder import PlanBuilder
from quiver.engine.statistics.facts import Facts
from quiver.errors import BadSpec
from quiver.types import NONE, Query, keys_of


@dataclass(frozen=True, slots=True)
class ScorerChoice:
    """A scorer that can answer a query.

    Attributes:
        composition: description of the scorer.
        columns: the vector columns it reads, in the order of its spaces.
        stands: the key that example items provide; None without examples.
    """

    composition: Composition
    columns: tuple[Column | Derived, ...]
    stands: str | None


def choose(query: Query, builder: PlanBuilder) -> ScorerChoice | None:
    """Return the scorer for a query, or None; other scorers of the same inputs are recorded as refused.

    Raises:
        BadSpec: the named scorer does not exist here, or cannot answer this query.
    """
    beyond = ["unlike"] * query.has_negatives + ["hybrid"] * query.hybrid + ["reduce"] * (query.reduce == "max")
    if beyond and query.scorer not in (None, NONE):
        raise BadSpec(f"the scorer {query.scorer} does not support {beyond[0]}: leave out one of them")
    choice = _choose(query, builder)
    if choice is None or not beyond:
        return choice
    builder.refuse(f"scorer {choice.composition}", f"scorers do not support {beyond[0]}")
    return None


def _choose(query: Query, builder: PlanBuilder) -> ScorerChoice | None:
    facts, named = builder.facts, query.scorer not in (None, NONE)
    known = [c for c in facts.graph.compositions if not named or query.scorer in c.names]
    if named and not known:
        there = listed({c.name for c in facts.graph.compositions}) or "none"
        raise BadSpec(f"there is no scorer {query.scorer!r} here; scorers here: {there}")
    able: list[ScorerChoice] = []
    for composition in known:
        if not _takes(query, composition, facts, named=named):
            continue
        found = "the query says scorer=none" if query.scorer == NONE else _bound(query, composition, facts)
        if isinstance(found, ScorerChoice):
            able.append(found)
        elif named:
            raise BadSpec(f"the scorer {composition} cannot answer this query: {found}")
        else:
            builder.refuse(f"scorer {composition}", found)
    if named and len({each.composition.encoder for each in able}) > 1:
        raise BadSpec(_told_apart(query.scorer, [each.composition for each in able]))
    if named and not able:
        raise BadSpec(
            f"the scorer {known[0]} needs {' + '.join(known[0].holds)} and finds {known[0].finds}: give these inputs"
        )
    for each in able[1:]:
        twins = each.composition.name == able[0].composition.name
        used = f"{able[0].composition.name}{' of ' + able[0].composition.encoder if twins else ''} is used"
        builder.refuse(f"scorer {each.composition}{' of ' + each.composition.encoder if twins else ''}", used)
    return able[0] if able else None


def _told_apart(name: str | None, able: list[Composition]) -> str:
    """Return the message for a name that several encoders give their scorers, with names that tell them apart."""
    revisions = {each.names[1] for each in able}
    names = revisions if len(revisions) == len(able) else {repr(each.encoder) for each in able}
    return f"{len(able)} scorers here are called {name!r}: name one by {listed(names)}"


def _takes(query: Query, composition: Composition, facts: Facts, *, named: bool) -> bool:
    """Whether a query has exactly the inputs of a scorer, and its target.

    A query of a single input uses a scorer only if the target is named, or nothing else is found by that input: it has
    no other route, or the scorer is exact and all other routes find what the scorer finds.
    """
    keys = keys_of(dict.fromkeys(composition.holds, ""))
    vague = len(keys) == 1 and not named and _finds_else(keys[0], composition, facts)
    wanted = (composition.finds,) if vague else (composition.finds, None)
    foreign = set(query.media) - set(composition.holds)
    lacking = set(composition.holds) - set(query.media)
    stands = _stands(query, composition)
    return query.target in wanted and not query.vectors and not foreign and (not lacking or stands is not None)


def _finds_else(key: str, composition: Composition, facts: Facts) -> bool:
    """Whether an input has routes to other keys than a scorer's, or any route beside a scorer that is not exact."""
    routes = facts.graph.routes(key, target=None)
    return any(not composition.exact or route.column.key != composition.finds for route in routes)


def _stands(query: Query, composition: Composition) -> str | None:
    """Return the key that example items provide: the missing input, else an additional input that is not text."""
    if not query.like:
        return None
    lacking = [name for name in composition.holds if name not in query.media]
    could = lacking or [name for name in composition.holds if name != "text"]
    keys = keys_of(dict.fromkeys(could, ""))
    return keys[0] if len(keys) == 1 else None


def _bound(query: Query, composition: Composition, facts: Facts) -> ScorerChoice | str:
    """Return the scorer with the columns it reads, or the reason why it cannot answer."""
    columns = [facts.graph.end(composition.finds, space) for space in composition.reads]
    for space, column in zip(composition.reads, columns, strict=True):
        if column is None:
            return f"it reads {composition.finds} vectors of {space}, and none are stored here"
        if query.spaces and not is_named(space, query.spaces):
            return f"it scores in the space {space.name}, and the query names {', '.join(query.spaces)} only"
    stands = _stands(query, composition)
    stored = {column.name for column in facts.graph.columns if column.key == stands}
    if stands is not None and not stored.intersection(facts.examples):
        return f"an example item has no {stands} vector"
    return ScorerChoice(composition, tuple(column for column in columns if column is not None), stands)
