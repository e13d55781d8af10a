"""Which index a column is searched by, and what is said of the others."""

from quiver.engine.column import Derived
from quiver.engine.fact import Facts
from quiver.engine.graph import Route
from quiver.engine.plan import Refused
from quiver.engine.stages.recall import Recall
from quiver.errors import BadSpec

#: Below this many rows an exact scan is at least as fast as any index.
EXACT_ROWS = 20_000


def recall(
    route: Route, k: int, facts: Facts, index: str | None, refused: list[Refused], *, why: str = "as asked"
) -> Recall:
    """Return the stage that searches the column a route ends at; alternatives are added to ``refused``.

    Args:
        route: where to search.
        k: how deep.
        facts: what is known.
        index: the kind of index to use; None for the best there is.
        refused: grows.
        why: the kind was named, where one was.

    Raises:
        BadSpec: an index was named that is not built.
    """
    made = _named(route, k, facts, index, why) if index is not None else _choose(route, k, facts, refused)
    if not isinstance(route.column, Derived):
        return made
    return Recall(route, made.index, k, f"{computed(route.column, facts)}; {made.reason}")


def computed(column: Derived, facts: Facts) -> str:
    """Say what is mapped to what, by whom."""
    by = ", ".join(dict.fromkeys(crossing.encoder for crossing in column.bridges))
    return (
        f"computed: at most {facts.items:,} vectors of {column.stored.space.name} mapped to {column.space.name} by {by}"
    )


def _named(route: Route, k: int, facts: Facts, index: str, why: str) -> Recall:
    if index != "exact" and index not in facts.built.get(route.column.name, ()):
        raise BadSpec(f"there is no {index} index for {route.column}: build one with `quiver index`")
    return Recall(route, index, k, f"best {k} by {index}, {why}")


def _choose(route: Route, k: int, facts: Facts, refused: list[Refused]) -> Recall:
    built = facts.built.get(route.column.name, ())
    rows = facts.rows
    scan = f"exact scan of at most {rows:,} vectors, {route.column.space.metric}"
    if not built:
        return Recall(route, "exact", k, f"best {k}: {scan}; no other index is built")
    if rows <= EXACT_ROWS:
        why = f"{rows:,} rows are scanned exactly as fast (at most {EXACT_ROWS:,})"
        refused += [Refused(f"{kind} index for {route.column}", why) for kind in built]
        return Recall(route, "exact", k, f"best {k}: {scan}")
    refused.append(Refused(f"exact scan for {route.column}", f"{rows:,} rows are more than {EXACT_ROWS:,}"))
    refused += [Refused(f"{kind} index for {route.column}", f"{built[0]} is built too") for kind in built[1:]]
    return Recall(route, built[0], k, f"best {k} by {built[0]}, approximate, of at most {rows:,} vectors")
