"""The quiver itself: spaces are nodes, encoders and bridges are arrows, and a query is a path.

A route leads from something the user holds, along one encoder and any number of bridges, to a column of vectors:
a stored one, or one that bridges make of a stored one where the user's side cannot reach that. A scorer is an arrow
too, from several inputs at once. Routes are values; nothing here loads a model or reads a vector.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quiver.engine.core.column import Column, Crossing, Derived
from quiver.types import LIKE, Query, Space, values_of

#: What a query may start from besides the keys of media and stored items: ready-made vectors.
VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Arrow:
    """An encoder's arrow from a key into a space."""

    key: str
    space: Space
    encoder: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """A scorer's way to recall candidates.

    Attributes:
        name: what the scorer calls it.
        spaces: the space of each probe it asks.
    """

    name: str
    spaces: tuple[Space, ...]


@dataclass(frozen=True, slots=True)
class Composition:
    """A scorer's arrow, from what a query holds together to a key; see ``quiver.protocols.Scorer``.

    Attributes:
        name: of the scorer.
        encoder: the spec of the encoder that offers it.
        holds: names of MEDIA.
        finds: the key it ranks.
        reads: the spaces whose vectors it scores.
        recalls: its ways to recall candidates, the default first.
        exact: whether the default recall ranks as it scores.
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
        """Read what the manifest says of a scorer."""
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

    def asks(self, recipe: Recipe) -> tuple[str, ...]:
        """Name what each probe of a recipe asks, as routes and traces have it."""
        name = f"{self.name} {recipe.name}"
        return (name,) if len(recipe.spaces) == 1 else tuple(f"{name} {n + 1}" for n in range(len(recipe.spaces)))


@dataclass(frozen=True, slots=True)
class Route:
    """A path from an input of the query to a column of vectors.

    Attributes:
        origin: where it starts: a key of KEYS, ``like`` or ``vector``; or a probe of a scorer.
        start: the space the input is embedded in, or already lives in.
        column: the vectors it ends at.
        encoder: the spec of the encoder that embeds the input; None where nothing has to be embedded.
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
    """Every arrow and every column of a collection.

    Attributes:
        arrows: what encoders embed.
        crossings: the bridges.
        columns: the stored vectors.
        compositions: the scorers.
        derived: what bridges can make of the stored vectors; one for each key and space that is not stored.
        features: spaces that only scorers read: their vectors are near to nothing, and are never searched.
    """

    arrows: tuple[Arrow, ...]
    crossings: tuple[Crossing, ...]
    columns: tuple[Column, ...]
    compositions: tuple[Composition, ...] = ()
    derived: tuple[Derived, ...] = ()
    features: frozenset[Space] = frozenset()

    @classmethod
    def of(cls, encoders: Mapping[str, Mapping[str, Any]], columns: Sequence[Column]) -> "Graph":
        """Read the graph off a collection's manifest."""
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
        return cls(arrows, crossings, tuple(columns), compositions, tuple(_derive(columns, crossings)), features)

    @property
    def ends(self) -> tuple[Column | Derived, ...]:
        """All vectors there are: the stored ones, then what can be made of them."""
        return (*self.columns, *self.derived)

    def searched(self, spaces: Collection[str] = ()) -> list[Column | Derived]:
        """List the vectors that are searched: those stored, or those in some spaces, where they may be computed."""
        stored = [c for c in self.columns if (not spaces or c.space.name in spaces) and c.space not in self.features]
        return [*stored, *(derived for derived in self.derived if derived.space.name in spaces)]

    def routes(self, key: str, *, target: str | None, spaces: Collection[str] = ()) -> tuple[Route, ...]:
        """List every legal route from a key to vectors of a target key, in the spaces named or in any.

        Vectors that would have to be computed are an end only where what they are computed from is out of reach.
        """
        starts = [(arrow.space, arrow.encoder) for arrow in self.arrows if arrow.key == key]
        return tuple(self._lead(key, starts, target, spaces))

    def likenesses(
        self, columns: Collection[str], *, target: str | None, spaces: Collection[str] = ()
    ) -> tuple[Route, ...]:
        """List the routes from stored items that have vectors in the columns of some names."""
        homes = dict.fromkeys(column.space for column in self.columns if column.name in columns)
        return tuple(self._lead(LIKE, [(space, None) for space in homes], target, spaces))

    def from_vectors(self, name: str, *, target: str | None) -> tuple[Route, ...]:
        """List the routes from ready-made vectors of the space called ``name``."""
        ends = [end for end in self.ends if end.space.name == name and target in (None, end.key)]
        return tuple(Route(VECTOR, end.space, end) for end in ends)

    def end(self, key: str, space: Space) -> Column | Derived | None:
        """Return the vectors of a key in a space, stored or to be computed; None where there are none."""
        return next((end for end in self.ends if (end.key, end.space) == (key, space)), None)

    def path(self, start: Space, end: Space) -> tuple[Crossing, ...] | None:
        """Return the fewest crossings from one space to another, or None where there is no way."""
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
        """Say which arrow would be needed, where there is no route."""
        ends = self._ends(target)
        wanted = target or "anything stored"
        if not ends:
            stored = listed({column.key for column in self.columns}) or "nothing"
            return f"no {wanted} vectors are stored here (stored: {stored}): add some with an encoder of {wanted}"
        homes = listed({column.space.name for column in ends})
        reached = listed({arrow.space.name for arrow in self.arrows if arrow.key == key})
        have = f"{key} reaches {reached}" if reached else f"no encoder here embeds {key}"
        return f"no route from {key} to {wanted}: {have}, {wanted} lives in {homes}; missing arrow: {key} -> {homes}"

    def _ends(self, target: str | None, spaces: Collection[str] = ()) -> list[Column]:
        return [c for c in self.columns if self._answers(c, target, spaces)]

    def _computed(self, target: str | None, spaces: Collection[str] = ()) -> list[Derived]:
        return [d for d in self.derived if self._answers(d, target, spaces)]

    def _answers(self, end: Column | Derived, target: str | None, spaces: Collection[str]) -> bool:
        named = not spaces or end.space.name in spaces
        return target in (None, end.key) and named and end.space not in self.features


def _spaces(described: Iterable[Mapping[str, Any]]) -> tuple[Space, ...]:
    return tuple(Space(**space) for space in described)


def _length(route: Route) -> int:
    """Count the crossings on both sides."""
    return len(route.bridges) + (len(route.column.bridges) if isinstance(route.column, Derived) else 0)


def _reach(start: Space, crossings: Sequence[Crossing]) -> dict[Space, tuple[Crossing, ...]]:
    """Return the fewest crossings to every space that can be reached, nearest first, the start itself included."""
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
    """List the columns that bridges can make, by the fewest crossings, where none is stored."""
    stored = {(column.key, column.space) for column in columns}
    found: dict[tuple[str, Space], Derived] = {}
    for column in columns:
        for space, path in _reach(column.space, crossings).items():
            known = found.get((column.key, space))
            if (column.key, space) not in stored and (known is None or len(path) < len(known.bridges)):
                found[column.key, space] = Derived(column, path)
    yield from found.values()


def listed(names: Iterable[str]) -> str:
    """Write names in a fixed order.

    >>> listed({"b", "a"})
    'a, b'
    """
    return ", ".join(sorted(names))


def references(query: Query, composition: Composition) -> frozenset[str]:
    """Return the paths and URIs of a query that could be those of an item that is found."""
    names = ("before", "after") if composition.finds == "pair" else (composition.finds,)
    given = [each for name in names if name != "text" for each in values_of(query.media, name)]
    return frozenset(str(each) for each in given if isinstance(each, str | Path))
