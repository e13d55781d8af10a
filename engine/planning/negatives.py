"""Negative examples in a plan: which lists they move, and the stages that embed texts and files among them."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from quiver.engine.core.graph import Route, listed
from quiver.engine.execution.plan import Stage
from quiver.engine.execution.stages.encode import Encode
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.planning.builder import PlanBuilder
from quiver.errors import NoRoute
from quiver.types import Query, Space, keys_of
from quiver.wording import option


def moved(
    query: Query, taken: Sequence[Route], builder: PlanBuilder, *, words: bool
) -> tuple[list[Stage], frozenset[Space]]:
    """Return the stages that embed negative texts and files, and the spaces in which query vectors are moved.

    A list is moved only if every negative example has a vector in the space of its query vector; notes name the others.

    Raises:
        NoRoute: the negative examples move no list; the message names the missing arrow.
    """
    if not query.has_negatives:
        return [], frozenset()
    made: list[Stage] = []
    lacking: dict[Space, str] = {}
    starts = list(dict.fromkeys((route.start, route.encoder) for route in taken))
    for space, encoder in starts:
        stages, fault = _in_space(query, space, encoder, builder)
        if fault:
            lacking[space] = fault
        made += [stage for stage in stages if stage not in made]
    if len(lacking) == len({space for space, _ in starts}):
        why = "; ".join(lacking.values()) or "this search ranks by words only, and has no vector to move"
        raise NoRoute(f"{option('unlike')} (negative examples) cannot be used: {why}")
    for space, fault in lacking.items():
        builder.note(f"the negative examples do not move the list of {space.name}: {fault}")
    if words:
        builder.note("the negative examples do not move the list of the full-text search")
    return made, frozenset(space for space, _ in starts) - lacking.keys()


def away(lists: Sequence[Stage], spaces: Collection[Space]) -> list[Stage]:
    """Return the stages that make lists; those that search from one of the spaces move their query vectors."""
    why = "the query vector is moved away from the negative examples: p + w (p - n)"
    return [
        replace(each, moved=True, reason=f"{each.reason}; {why}")
        if isinstance(each, Recall) and each.route.start in spaces
        else each
        for each in lists
    ]


def _in_space(query: Query, space: Space, encoder: str | None, builder: PlanBuilder) -> tuple[list[Stage], str]:
    """Return the stages that embed the negative examples in a space, or the reason why that is not possible."""
    facts = builder.facts
    stored = {column.name for column in facts.graph.columns if column.space == space}
    if query.unlike and not stored.intersection(facts.examples):
        return [], f"not every example item has a vector in {space.name}"
    made: list[Stage] = []
    for key in keys_of(query.unlike_media):
        specs = [arrow.encoder for arrow in facts.graph.arrows if (arrow.key, arrow.space) == (key, space)]
        if not specs:
            reached = listed({arrow.space.name for arrow in facts.graph.arrows if arrow.key == key}) or "no space"
            return [], f"{key} is embedded in {reached}; missing arrow: {key} -> {space.name}"
        spec = encoder if encoder in specs else specs[0]
        why = f"{spec} embeds the negative {key} in the space of the query"
        made.append(Encode(key, space, spec, why, negative=True))
    return made, ""
