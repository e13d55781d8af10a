"""The graph of spaces (nodes), encoders and bridges (arrows); a query follows a path through it.

A route leads from an input of the query, along one encoder and any number of bridges, to a column of vectors. The
column is stored, or bridges compute it from a stored one that the query cannot reach. A scorer is an arrow from several
inputs at once. Routes are plain values: this module loads no model and reads no vector.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quiver.engine.core.column import Column, Crossing, Derived
from quiver.errors import BadSpec
from quiver.types import LIKE, Query, Space, values_of

#: Origin of routes that start from ready-made vectors, beside the keys of media and stored items.
VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Arrow:
    """An encoder's arrow from a key into a space."""

    key: str
    space: Space
    encoder: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recall recipe of a scorer: one probe vector per space.

    Attributes:
        name: name given by the scorer.
        spaces: the space of each probe.
    """

    name: str
    spaces: tuple[Space, ...]


@dataclass(frozen=True, slots=True)
class Composition:
    """A scorer's arrow, from the inputs of a query together to a key; see ``quiver.protocols.Scorer``.

    Attributes:
        name: name of the scorer.
        encoder: the spec of the encoder that offers it.
        holds: required inputs, as names of MEDIA.
        finds: the key it ranks.
        reads: the spaces whose vectors it scores.
        recalls: its recall recipes, the default first.
        exact: whether the default recall gives the same ranking as the scorer.
    """

    name: str
    encoder: str
    holds: tuple[str, ...]
    finds: str
    reads: tuple[Space, ...]
    recalls: tuple[Recipe, ...]
    exact: bool

    @classmethod
    def of(cls, spec: str, described: Mapping[str, Any]) -> "Composition":
        """Read a scorer from its description in the manifest."""
        recalls = (Recipe(name, _spaces(spaces)) for name, spaces in described["recalls"].items())
        return cls(
            name=described["name"],
            encoder=spec,
            holds=tuple(described["holds"]),
            finds=described["finds"],
            reads=_spaces(described["reads"]),
            recalls=tuple(recalls),
            exact=described["exact"],
        )

    def __str__(self) -> str:
        return f"{self.name} ({' + '.join(self.holds)} -> {self.finds})"

    @property
    def names(self) -> tuple[str, str, str]:
        """The names that a query may use: its name, its name with the revision it reads, the spec of its encoder."""
        return self.name, f"{self.name}@{self.reads[0].revision[:8]}", self.encoder

    def asks(self, recipe: Recipe) -> tuple[str, ...]:
        """Return a name for each probe of a recipe, as used by routes and traces."""
        name = f"{self.name} {recipe.name}"
        return (name,) if len(recipe.spaces) == 1 else tuple(f"{name} {n + 1}" for n in range(len(recipe.spaces)))


@dataclass(frozen=True, slots=True)
class Route:
    """A path from an input of the query to a column of vectors.

    Attributes:
        origin: start of the route: a key of KEYS, ``like``, ``vector``, or a probe of a scorer.
        start: the space the input is embedded in, or already lives in.
        column: the column at the end.
        encoder: spec of the encoder that embeds the input; None if the input is a vector already.
        bridges: the crossings on the way, in order.
    """

    origin: str
    start: Space
    column: Column | Derived
    encoder: str | None = None
    bridges: tuple[Crossing, ...] = ()

    def __str__(self) -> str:
        stops = [self.origin, self.start.name, *(crossing.target.name for crossing in self.bridges)]
        computed = f" from {self.column.stored.space.name}" if isinstance(self.column, Derived) else ""
        return " -> ".join(stops) + f" ({self.column.key}{computed})"


@dataclass(frozen=True, slots=True)
class Graph:
    """All arrows and columns of a collection.

    Attributes:
        arrows: arrows of the encoders.
        crossings: the bridges.
        columns: the stored vector columns.
        compositions: the scorers.
        derived: columns that bridges can compute; one for each key and space that is not stored.
        features: spaces that only scorers read; they are never searched by similarity.
        defaults: name of the column to search for a key, where the user chose one.
    """

    arrows: tuple[Arrow, ...]
    crossings: tuple[Crossing, ...]
    columns: tuple[Column, ...]
    compositions: tuple[Composition, ...] = ()
    derived: tuple[Derived, ...] = ()
    features: frozenset[Space] = frozenset()
    defaults: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        encoders: Mapping[str, Mapping[str, Any]],
        columns: Sequence[Column],
        defaults: Mapping[str, str] | None = None,
    ) -> "Graph":
        """Build the graph from a collection's manifest."""
        arrows = tuple(
            Arrow(key, Space(**space), spec)
            for spec, described in encoders.items()
            for key, spaces in described["keys"].items()
            for space in spaces
        )
        crossings = tuple(
            Crossing(Space(**bridge["source"]), Space(**bridge["target"]), spec)
            for spec, described in encoders.items()
            for bridge in described["bridges"]
        )
        compositions = tuple(
            Composition.of(spec, scorer)
            for spec, described in encoders.items()
            for scorer in described.get("scorers", ())
        )
        features = frozenset(
            Space(**space) for described in encoders.values() for space in described.get("features", ())
        )
        derived = tuple(_derive(columns, crossings))
        return cls(arrows, crossings, tuple(columns), compositions, derived, features, dict(defaults or {}))

    @property
    def ends(self) -> tuple[Column | Derived, ...]:
        """All columns: the stored ones, then the computed ones."""
        return (*self.columns, *self.derived)

    def default(self, key: str) -> Column | None:
        """Return the column that a search for a key uses: the user's choice, or the first one that was added."""
        able = [column for column in self._ends(key) if column.key == key]
        chosen = self.defaults.get(key)
        return next((column for column in able if column.name == chosen), able[0] if able else None)

    def home(self, key: str, name: str) -> Column:
        """Return the stored column of a key in the space of a name.

        Raises:
            BadSpec: there is none, or several spaces have the name.
        """
        able = [column for column in self._ends(key) if column.key == key]
        found = [column for column in able if is_named(column.space, (name,))]
        if len(found) == 1:
            return found[0]
        if found:
            raise BadSpec(
                f"{len(found)} spaces here are called {name!r}: name one with its revision:"
                f" {listed(str(column.space) for column in found)}"
            )
        known = listed({column.space.name for column in able})
        raise BadSpec(f"no {key} vectors are stored in a space {name!r}; {key} is stored in: {known or 'no space'}")

    def searched(self, spaces: Collection[str] = ()) -> list[Column | Derived]:
        """List the searchable columns: all stored ones, or those of some spaces, stored or computed."""
        stored = [c for c in self.columns if (not spaces or is_named(c.space, spaces)) and c.space not in self.features]
        return [*stored, *(derived for derived in self.derived if derived.space.name in spaces)]

    def routes(self, key: str, *, target: str | None, spaces: Collection[str] = ()) -> tuple[Route, ...]:
        """List every legal route from a key to vectors of a target key, in the spaces named or in any.

        A computed column is an end only if no route reaches the stored column behind it.
        """
        starts = [(arrow.space, arrow.encoder) for arrow in self.arrows if arrow.key == key]
        return tuple(self._lead(key, starts, target, spaces))

    def likenesses(
        self, columns: Collection[str], *, target: str | None, spaces: Collection[str] = ()
    ) -> tuple[Route, ...]:
        """List the routes from stored example items that have vectors in the named columns."""
        homes = dict.fromkeys(column.space for column in self.columns if column.name in columns)
        return tuple(self._lead(LIKE, [(space, None) for space in homes], target, spaces))

    def from_vectors(self, name: str, *, target: str | None) -> tuple[Route, ...]:
        """List the routes from ready-made vectors of the space called ``name``."""
        ends = [end for end in self.ends if is_named(end.space, (name,)) and target in (None, end.key)]
        return tuple(Route(VECTOR, end.space, end) for end in ends)

    def only_space(self, target: str | None, spaces: Collection[str]) -> str:
        """Return the name of the only space with vectors of the target, or the only one among ``spaces``.

        Raises:
            BadSpec: there are several, or none.
        """
        sizes = {end.space.name: end.space.dim for end in self.searched(spaces) if target in (None, end.key)}
        if len(sizes) == 1:
            return next(iter(sizes))
        kind = f"{target} vectors" if target else "vectors"
        if not sizes:
            raise BadSpec(f"no {kind} are stored{' in ' + listed(spaces) if spaces else ''}: add some first")
        known = ", ".join(f"{name} ({dim})" for name, dim in sorted(sizes.items()))
        raise BadSpec(
            f"vector needs one space with {kind}, and there are {len(sizes)}: {known}; name one, as in"
            f" vectors={{{min(sizes)!r}: v}}"
        )

    def end(self, key: str, space: Space) -> Column | Derived | None:
        """Return the column of a key in a space, stored or computed; None if there is none."""
        return next((end for end in self.ends if (end.key, end.space) == (key, space)), None)

    def path(self, start: Space, end: Space) -> tuple[Crossing, ...] | None:
        """Return the shortest path of crossings from one space to another, or None."""
        return _reach(start, self.crossings).get(end)

    def _lead(
        self, origin: str, starts: Sequence[tuple[Space, str | None]], target: str | None, spaces: Collection[str]
    ) -> Iterator[Route]:
        def nearest(ends: Iterable[Column | Derived]) -> Iterator[Route]:
            found: dict[tuple[Column, str | None], Route] = {}
            for space, encoder in starts:
                for end in ends:
                    if (path := self.path(space, end.space)) is not None:
                        route = Route(origin, space, end, encoder, path)
                        known = found.setdefault((end.stored, encoder), route)
                        found[end.stored, encoder] = min(known, route, key=_length)
            yield from found.values()

        stored = list(nearest(self._ends(target, spaces)))
        reached = {route.column for route in stored}
        yield from stored
        yield from nearest([end for end in self._computed(target, spaces) if end.stored not in reached])

    def missing(self, key: str, *, target: str | None) -> str:
        """Explain why there is no route from a key to a target: the missing arrow, or a command that helps."""
        ends = self._ends(target)
        if not ends:
            return self._nothing(key, target)
        goal = f" to {target}" if target else ""
        homes = listed({column.space.name for column in ends})
        reached = listed({arrow.space.name for arrow in self.arrows if arrow.key == key})
        have = f"{key} is embedded in {reached}" if reached else f"no encoder here embeds {key}"
        if key == LIKE:
            have = "the example items have no vectors that lead there"
        stored = f"{target} is stored in {homes}" if target else f"the stored vectors are in {homes}"
        return f"no route from {key}{goal}: {have}, {stored}; missing arrow: {key} -> {homes}"

    def _nothing(self, key: str, target: str | None) -> str:
        """Explain that a target has no stored vectors, with a command that works here."""
        stored = listed({column.key for column in self._ends(None)})
        if not stored and self.compositions:
            scorers = listed({str(each) for each in self.compositions})
            return f"no vectors are stored here that {key} is compared with by itself: only {scorers} searches here"
        if target is None or not stored:
            return "no vectors are stored here yet: embed the items with `quiver add COLLECTION --encoder classic`"
        text = f"no {target} vectors are stored here (stored: {stored}): "
        other = next((name for name in stored.split(", ") if any(self.routes(key, target=name))), None)
        if other is not None:
            return f"{text}search with `--target {other}`"
        return f"{text}add {target} items with `quiver add COLLECTION SOURCE --encoder NAME`"

    def _ends(self, target: str | None, spaces: Collection[str] = ()) -> list[Column]:
        return [c for c in self.columns if self._answers(c, target, spaces)]

    def _computed(self, target: str | None, spaces: Collection[str] = ()) -> list[Derived]:
        return [d for d in self.derived if self._answers(d, target, spaces)]

    def _answers(self, end: Column | Derived, target: str | None, spaces: Collection[str]) -> bool:
        named = not spaces or is_named(end.space, spaces)
        return target in (None, end.key) and named and end.space not in self.features


def is_named(space: Space, names: Collection[str]) -> bool:
    """Whether names contain a space: by its name, or by its name with its revision, such as ``clip@1a2b3c4d``.

    >>> is_named(Space("clip", 64, "cosine", "1a2b3c4d5e"), ["clip@1a2b3c4d"])
    True
    """
    return space.name in names or str(space) in names


def _spaces(described: Iterable[Mapping[str, Any]]) -> tuple[Space, ...]:
    return tuple(Space(**space) for space in described)


def _length(route: Route) -> int:
    """Count the crossings on the query side and on the column side."""
    return len(route.bridges) + (len(route.column.bridges) if isinstance(route.column, Derived) else 0)


def _reach(start: Space, crossings: Sequence[Crossing]) -> dict[Space, tuple[Crossing, ...]]:
    """Return the shortest path to every reachable space, nearest first, including the start itself."""
    paths: dict[Space, tuple[Crossing, ...]] = {start: ()}
    frontier = [start]
    while frontier:
        space = frontier.pop(0)
        for crossing in crossings:
            if crossing.source == space and crossing.target not in paths:
                paths[crossing.target] = (*paths[space], crossing)
                frontier.append(crossing.target)
    return paths


def _derive(columns: Sequence[Column], crossings: Sequence[Crossing]) -> Iterator[Derived]:
    """List the columns that bridges can compute, each by its shortest path; stored ones are left out."""
    stored = {(column.key, column.space) for column in columns}
    found: dict[tuple[str, Space], Derived] = {}
    for column in columns:
        for space, path in _reach(column.space, crossings).items():
            known = found.get((column.key, space))
            if (column.key, space) not in stored and (known is None or len(path) < len(known.bridges)):
                found[column.key, space] = Derived(column, path)
    yield from found.values()


def listed(names: Iterable[str]) -> str:
    """Join names in sorted order.

    >>> listed({"b", "a"})
    'a, b'
    """
    return ", ".join(sorted(names))


def references(query: Query, composition: Composition) -> frozenset[str]:
    """Return the paths and URIs of a query that could belong to a stored item of the target."""
    names = ("before", "after") if composition.finds == "pair" else (composition.finds,)
    given = [each for name in names if name != "text" for each in values_of(query.media, name)]
    return frozenset(str(each) for each in given if isinstance(each, str | Path))
