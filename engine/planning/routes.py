"""Routes of a query through the graph, and the stages that search along them."""

from collections.abc import Sequence

from quiver.engine.core.graph import Graph, Route, is_named, listed
from quiver.engine.execution.plan import Stage
from quiver.engine.execution.session import EXCLUDED
from quiver.engine.execution.stages.encode import Encode
from quiver.engine.execution.stages.filter import Filter
from quiver.engine.execution.stages.words import Words
from quiver.engine.planning import access_path
from quiver.engine.planning.builder import PlanBuilder
from quiver.engine.planning.default_space import of_one_encoder
from quiver.engine.statistics.facts import Facts
from quiver.errors import BadSpec, NoRoute
from quiver.types import LIKE, WORDS, Query, keys_of


def routes(query: Query, builder: PlanBuilder) -> tuple[list[Route], bool]:
    """Return the routes to search, and whether to use full-text search too.

    Raises:
        NoRoute: an input has no route to the target; the message names the missing arrow.
        BadSpec: a named space does not exist.
    """
    facts, graph = builder.facts, builder.facts.graph
    _check_spaces(graph, query.spaces)
    found: list[Route] = []
    words = False
    for key in (*keys_of(query.media), *([LIKE] if query.like else [])):
        words = words or (key == "text" and query.hybrid and query.weights.get(WORDS, 1) != 0)
        if query.weights.get(key, 1) == 0:
            builder.refuse(key, "its weight is 0")
            continue
        chosen = (
            graph.likenesses(facts.examples, target=query.target, spaces=query.spaces)
            if key == LIKE
            else graph.routes(key, target=query.target, spaces=query.spaces)
        )
        if not chosen and key == "text":
            words = True
            builder.note(f"the text is searched by full-text search: {graph.missing(key, target=query.target)}")
        elif not chosen:
            raise NoRoute(graph.missing(key, target=query.target), origin=key, target=query.target)
        if not query.spaces and not query.fuse:
            chosen = tuple(of_one_encoder(chosen, key, query.target, builder))
        found += chosen if query.spaces else _finest(chosen, builder)
    for name in query.vectors:
        given = graph.from_vectors(name, target=query.target)
        if not given:
            raise NoRoute(_no_vectors(graph, name, query.target))
        found += given
    if words and facts.words_outdated:
        builder.note(
            "the full-text index splits text at spaces only: the next add or `quiver index` rebuilds it, for"
            " Chinese, Japanese and Thai too"
        )
    _refuse_computed(found, builder)
    return found, words


def encodes(taken: Sequence[Route]) -> list[Stage]:
    """Return the stages that embed the inputs, one for each input and space."""
    wanted = dict.fromkeys((r.origin, r.start, r.encoder) for r in taken if r.encoder is not None)
    return [
        Encode(key, space, spec, f"{spec} embeds {key} in {space.dim} dimensions ({space.metric})")
        for key, space, spec in wanted
        if spec is not None
    ]


def narrow(query: Query, facts: Facts) -> list[Stage]:
    """Return the stage that restricts the search by the query's condition and ids, if it has any."""
    if facts.matching is None:
        return []
    share = facts.rows / facts.items if facts.items else 0.0
    by = [str(query.condition)] if query.condition is not None else []
    by += [f"{len(query.candidates):,} candidates given"] if query.candidates is not None else []
    by += [f"{len(query.exclude):,} excluded"] if len(query.exclude) > EXCLUDED else []
    why = f"{', '.join(by)}: {facts.rows:,} of {facts.items:,} items match ({share:.1%}, counted)"
    return [Filter(None if query.condition is None else query.condition.text, facts.rows, why)]


def recalls(taken: Sequence[Route], depth: int, query: Query, builder: PlanBuilder, *, words: bool) -> list[Stage]:
    """Return the stages that make one list of ``depth`` candidates for each route."""
    found: list[Stage] = [access_path.recall(route, depth, builder, query.index) for route in taken]
    if words:
        found.append(Words(depth, query.target, f"BM25 over text and metadata, best {depth}"))
    return found


def _finest(found: Sequence[Route], builder: PlanBuilder) -> list[Route]:
    """Keep the first route of each encoder and key: encoders list their finest space first."""
    kept: dict[tuple[str | None, str], Route] = {}
    taken = []
    for route in found:
        spec = route.column.stored.encoder
        better = kept.setdefault((spec, route.column.key), route) if spec is not None else route
        if better is route:
            taken.append(route)
        else:
            builder.refuse(str(route), f"{better.column.space.name} is the finest space of {spec} for this")
    return taken


def _no_vectors(graph: Graph, name: str, target: str | None) -> str:
    kind = f"{target} vectors" if target else "vectors"
    known = listed({end.space.name for end in graph.ends if target in (None, end.key)})
    return f"no {kind} are stored in a space called {name!r}; spaces with {kind}: {known or 'none'}"


def _check_spaces(graph: Graph, names: Sequence[str]) -> None:
    """Check that each name is the name of one space.

    Raises:
        BadSpec: there is no such space, or several revisions have the name.
    """
    every = {column.space for column in graph.ends} if names else set()
    for name in names:
        found = [space for space in every if is_named(space, (name,))]
        if not found:
            raise BadSpec(f"there is no space {name!r} here; spaces here: {listed(s.name for s in every) or 'none'}")
        if len(found) > 1:
            raise BadSpec(
                f"{len(found)} spaces here are called {name!r}: name one with its revision: {listed(map(str, found))}"
            )


def _refuse_computed(taken: Sequence[Route], builder: PlanBuilder) -> None:
    """Record computed columns that are not searched because the stored column is reached directly."""
    graph = builder.facts.graph
    for derived in graph.derived:
        for route in taken:
            if route.column == derived.stored and graph.path(route.start, derived.space) is not None:
                builder.refuse(str(derived), f"{route.origin} reaches the stored {route.column} directly")
