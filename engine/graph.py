"""The quiver itself: spaces are nodes, encoders and bridges are arrows, and a query is a path.

A route leads from something the user holds, along one encoder and any number of bridges, to a column of stored
vectors. Routes are values; nothing here loads a model or reads a vector.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quiver.engine.column import Column
from quiver.types import Space

#: What a query may start from besides the keys of media: a stored item, or ready-made vectors.
LIKE, VECTOR = "like", "vector"


@dataclass(frozen=True, slots=True)
class Arrow:
    """An encoder's arrow from a key into a space."""

    key: str
    space: Space
    encoder: str


@dataclass(frozen=True, slots=True)
class Crossing:
    """A bridge's arrow from a space into another."""

    source: Space
    target: Space
    encoder: str


@dataclass(frozen=True, slots=True)
class Route:
    """A path from what is held to a column of stored vectors.

    Attributes:
        held: a key of KEYS, ``like`` or ``vector``.
        start: the space the held thing is embedded in, or already lives in.
        column: the stored vectors it ends at.
        encoder: the spec of the encoder that embeds what is held; None where nothing has to be embedded.
        bridges: the crossings on the way, in order.
    """

    held: str
    start: Space
    column: Column
    encoder: str | None = None
    bridges: tuple[Crossing, ...] = ()

    def __str__(self) -> str:
        stops = [self.held, self.start.name, *(crossing.target.name for crossing in self.bridges)]
        return " -> ".join(stops) + f" ({self.column.key})"


@dataclass(frozen=True, slots=True)
class Graph:
    """Every arrow and every column of a collection."""

    arrows: tuple[Arrow, ...]
    crossings: tuple[Crossing, ...]
    columns: tuple[Column, ...]

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
        return cls(arrows, crossings, tuple(columns))

    def routes(self, held: str, *, target: str | None) -> tuple[Route, ...]:
        """List every legal route from a key to stored vectors of a target key, shortest first."""
        ends = self._ends(target)
        return tuple(
            Route(held, arrow.space, column, arrow.encoder, path)
            for arrow in self.arrows
            if arrow.key == held
            for column in ends
            if (path := self.path(arrow.space, column.space)) is not None
        )

    def likenesses(self, held: Collection[str], *, target: str | None) -> tuple[Route, ...]:
        """List the routes from stored items that have vectors in the columns called ``held``."""
        starts = {column.space for column in self.columns if column.name in held}
        return tuple(Route(LIKE, end.space, end) for end in self._ends(target) if end.space in starts)

    def from_vectors(self, name: str, *, target: str | None) -> tuple[Route, ...]:
        """List the routes from ready-made vectors of the space called ``name``."""
        return tuple(Route(VECTOR, end.space, end) for end in self._ends(target) if end.space.name == name)

    def path(self, start: Space, end: Space) -> tuple[Crossing, ...] | None:
        """Return the fewest crossings from one space to another, or None where there is no way."""
        frontier: list[tuple[Space, tuple[Crossing, ...]]] = [(start, ())]
        seen = {start}
        while frontier:
            space, path = frontier.pop(0)
            if space == end:
                return path
            for crossing in self.crossings:
                if crossing.source == space and crossing.target not in seen:
                    seen.add(crossing.target)
                    frontier.append((crossing.target, (*path, crossing)))
        return None

    def missing(self, held: str, *, target: str | None) -> str:
        """Say which arrow would be needed, where there is no route."""
        ends = self._ends(target)
        wanted = target or "anything stored"
        if not ends:
            stored = listed({column.key for column in self.columns}) or "nothing"
            return f"no {wanted} vectors are stored here (stored: {stored}): add some with an encoder of {wanted}"
        homes = listed({column.space.name for column in ends})
        reached = listed({arrow.space.name for arrow in self.arrows if arrow.key == held})
        have = f"{held} reaches {reached}" if reached else f"no encoder here embeds {held}"
        return f"no route from {held} to {wanted}: {have}, {wanted} lives in {homes}; missing arrow: {held} -> {homes}"

    def _ends(self, target: str | None) -> list[Column]:
        return [column for column in self.columns if target in (None, column.key)]


def listed(names: Iterable[str]) -> str:
    """Write names in a fixed order.

    >>> listed({"b", "a"})
    'a, b'
    """
    return ", ".join(sorted(names))
