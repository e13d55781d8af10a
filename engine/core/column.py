"""Vector columns: key, space and encoder of vectors that are stored, or computed from a stored column by bridges."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from quiver.errors import BadData, BadSpec
from quiver.types import Metric, Space

if TYPE_CHECKING:
    import pyarrow as pa

#: Longest name of a space, in characters.
_LONGEST = 200
#: The revision of a space of ready-made vectors.
GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Column:
    """One vector column of a collection.

    An item with an image and a caption has two vectors in the space of one CLIP model, so a column belongs to a key and
    a space together.

    Attributes:
        key: the embedded medium or media, a name of KEYS.
        space: the space of the vectors.
        encoder: spec of the encoder; None for ready-made vectors.
    """

    key: str
    space: Space
    encoder: str | None

    @property
    def name(self) -> str:
        """Its name in the dataset."""
        return f"vec_{self.key}_{_slug(self.space)}"

    @property
    def stored(self) -> "Column":
        """The column itself, since it is stored."""
        return self

    def __str__(self) -> str:
        return f"{self.key} in {self.space.name}"

    def field(self) -> "pa.Field":
        """Return the Arrow field, with this description as its metadata."""
        import pyarrow as pa

        return pa.field(
            self.name, pa.list_(pa.float32(), self.space.dim), metadata={"quiver": json.dumps(asdict(self))}
        )

    @classmethod
    def of(cls, field: "pa.Field") -> "Column | None":
        """Read the description of a field; None if it is not a vector column."""
        text = (field.metadata or {}).get(b"quiver")
        if text is None:
            return None
        stored = json.loads(text)
        return cls(stored["key"], Space(**stored["space"]), stored["encoder"])


@dataclass(frozen=True, slots=True)
class Crossing:
    """A bridge's arrow from one space into another."""

    source: Space
    target: Space
    encoder: str


@dataclass(frozen=True, slots=True)
class Derived:
    """A computed column: a stored column, mapped over bridges into another space on demand.

    Attributes:
        stored: the stored column.
        bridges: the crossings, in order; at least one.
    """

    stored: Column
    bridges: tuple[Crossing, ...]

    @property
    def key(self) -> str:
        """Key of the stored column."""
        return self.stored.key

    @property
    def space(self) -> Space:
        """Space at the end of the bridges."""
        return self.bridges[-1].target

    @property
    def name(self) -> str:
        """Name of its folder of index files."""
        return f"{self.stored.name}_to_{_slug(self.space)}"

    def __str__(self) -> str:
        return f"{self.key} in {self.space.name}, computed from {self.stored.space.name}"


def given_space(name: Any, dim: int, metric: Metric) -> Space:
    """Return the space of ready-made vectors.

    Raises:
        BadSpec: the name is not allowed, or the metric is unknown.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST or not name.isprintable():
        raise BadSpec(f"the name of a space has 1 to {_LONGEST} visible characters, not {name!r}")
    return Space(name, dim, metric, GIVEN)


def check_same(here: "pa.Field", new: "pa.Field") -> None:
    """Check that new vectors fit an existing column.

    Raises:
        BadData: the column has vectors of another space or type.
    """
    mine, other = Column.of(here), Column.of(new)
    if mine is not None and other is not None and mine.space != other.space:
        raise BadData(f"vectors of {_told(other.space)} do not go into {_told(mine.space)}: give them another space")
    if here.type != new.type:
        raise BadData(f"column {new.name} has the type {here.type} here and {new.type} in the new data")


def check_name(new: Column | None, stored: Iterable[Column]) -> None:
    """Check that the name of a space of ready-made vectors is unique, since queries refer to it by name.

    Raises:
        BadData: another space has this name.
    """
    if new is None or new.encoder is not None:
        return
    for here in stored:
        if here.space.name == new.space.name and here.space != new.space:
            raise BadData(f"vectors of {_told(new.space)} do not go into {_told(here.space)}: give them another space")


def _told(space: Space) -> str:
    made = "ready-made" if space.revision == GIVEN else f"revision {space.revision[:8]}"
    return f"the space {space.name!r} ({space.dim} wide, {space.metric}, {made})"


@cache
def _slug(space: Space) -> str:
    return "".join(c if c.isalnum() else "_" for c in space.name) + f"_{space.revision[:8]}"
