"""From a query to a plan: which routes are legal, how much the filter leaves, what to search and how to join it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from quiver.engine.graph import LIKE, Graph, Route, listed
from quiver.engine.plan import Plan, Refused, Stage
from quiver.engine.stages.cut import Cut
from quiver.engine.stages.encode import Encode
from quiver.engine.stages.filter import Filter
from quiver.engine.stages.fuse import Fuse
from quiver.engine.stages.merge import Merge
from quiver.engine.stages.recall import Recall
from quiver.engine.stages.words import Words
from quiver.errors import BadSpec, NoRoute
from quiver.types import Query, keys_of

#: Rank constant of reciprocal rank fusion, as Cormack et al. 2009 chose it.
RRF_C = 60
#: Each list that is to be fused goes this deep, at least: an item that only one list knows still gets its chance.
FUSE_DEPTH = 100
#: Below this many rows an exact scan is at least as fast as any index.
EXACT_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What the planner knows of a collection, gathered without reading a vector.

    Attributes:
        graph: its spaces and arrows.
        items: how many rows.
        version: of the collection.
        matching: rows the query's condition selects, None without a condition.
        examples: names of the columns in which every example item of the query has a vector.
        built: names of the index kinds that exist for each column name, besides exact.
    """

    graph: Graph
    items: int
    version: int
    matching: int | None = None
    examples: Collection[str] = ()
    built: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows may be found."""
        return self.items if self.matching is None else self.matching


def plan(query: Query, facts: Facts) -> Plan:
    """Choose a plan for a query, from what is known of the collection.

    Raises:
        NoRoute: nothing that is held leads to what is wanted; the message names the missing arrow.
        BadSpec: a space or index was named that does not exist.
    """
    routes, words, notes = _routes(query, facts)
    refused: list[Refused] = []
    depth = max(query.k, FUSE_DEPTH) if len(routes) + words > 1 else query.k
    stages: list[Stage] = list(_encodes(routes))
    if query.where is not None:
        stages.append(_filter(query.where, facts))
    stages += [_recall(route, depth, facts, query.index, refused) for route in routes]
    if words:
        stages.append(Words(depth, query.target, f"BM25 over text and metadata, best {depth}"))
    stages += _joins(routes, words=words)
    stages.append(Cut(query.k, f"the best {query.k}"))
    return Plan(tuple(stages), tuple(refused), tuple(notes), facts.version, facts.items)


def _routes(query: Query, facts: Facts) -> tuple[list[Route], bool, list[str]]:
    """Return the routes to take, whether full text answers too, and what to tell the user."""
    graph = facts.graph
    _check_spaces(graph, query.spaces)
    found: list[Route] = []
    words, notes = False, []
    starts = [*keys_of(query.media), *([LIKE] if query.like else [])]
    for held in starts:
        legal = (
            graph.likenesses(facts.examples, target=query.target)
            if held == LIKE
            else graph.routes(held, target=query.target)
        )
        chosen = [route for route in legal if not query.spaces or route.column.space.name in query.spaces]
        if not chosen and held == "text":
            words = True
            notes.append(f"words are searched by full text: {graph.missing(held, target=query.target)}")
        elif not chosen:
            raise NoRoute(graph.missing(held, target=query.target))
        found += chosen
    for name in query.vectors:
        given = graph.from_vectors(name, target=query.target)
        if not given:
            raise NoRoute(f"no {query.target or ''} vectors of a space called {name!r} are stored here")
        found += given
    if len(starts) + len(query.vectors) > 1:
        notes.append("several things are held: each is searched on its own and the lists are fused by rank")
    return found, words, notes


def _check_spaces(graph: Graph, spaces: Sequence[str]) -> None:
    known = {column.space.name for column in graph.columns}
    for name in spaces:
        if name not in known:
            raise BadSpec(f"no space is called {name!r} here; there are {listed(known) or 'none'}")


def _encodes(routes: Sequence[Route]) -> list[Encode]:
    wanted = dict.fromkeys((r.held, r.start, r.encoder) for r in routes if r.encoder is not None)
    return [
        Encode(held, space, spec, f"{spec} embeds {held} in {space.dim} dimensions ({space.metric})")
        for held, space, spec in wanted
        if spec is not None
    ]


def _filter(where: str, facts: Facts) -> Filter:
    share = facts.rows / facts.items if facts.items else 0.0
    return Filter(where, facts.rows, f"{where}: {facts.rows:,} of {facts.items:,} items match ({share:.1%}, counted)")


def _recall(route: Route, k: int, facts: Facts, index: str | None, refused: list[Refused]) -> Recall:
    built = facts.built.get(route.column.name, ())
    rows = facts.rows
    scan = f"exact scan of at most {rows:,} vectors, {route.start.metric}"
    if index is not None:
        if index != "exact" and index not in built:
            raise BadSpec(f"there is no {index} index for {route.column}: build one with `quiver index`")
        return Recall(route, index, k, f"best {k} by {index}, as asked")
    if not built:
        return Recall(route, "exact", k, f"best {k}: {scan}; no other index is built")
    if rows <= EXACT_ROWS:
        why = f"{rows:,} rows are scanned exactly as fast (at most {EXACT_ROWS:,})"
        refused += [Refused(f"{kind} index for {route.column}", why) for kind in built]
        return Recall(route, "exact", k, f"best {k}: {scan}")
    refused.append(Refused(f"exact scan for {route.column}", f"{rows:,} rows are more than {EXACT_ROWS:,}"))
    refused += [Refused(f"{kind} index for {route.column}", f"{built[0]} is built too") for kind in built[1:]]
    return Recall(route, built[0], k, f"best {k} by {built[0]}, approximate, of at most {rows:,} vectors")


def _joins(routes: Sequence[Route], *, words: bool) -> list[Stage]:
    """Lists of one held thing in one space are merged by score; all that is left is fused by rank."""
    homes = Counter(route.column.space for route in routes)
    alone = len({route.held for route in routes}) == 1
    shared = sorted((space for space, n in homes.items() if n > 1 and alone), key=str)
    why = "its columns share one space, so scores are comparable and the better one counts"
    joins: list[Stage] = [Merge(space, why) for space in shared]
    left = len(routes) - sum(homes[space] - 1 for space in shared) + words
    if left > 1:
        why = f"{left} lists whose scores cannot be compared: reciprocal rank fusion, c = {RRF_C}"
        joins.append(Fuse(RRF_C, why))
    return joins
