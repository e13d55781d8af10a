"""A vector column: what was embedded, by which encoder, into which space; stored, or made of a stored one."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from quiver.errors import BadData, BadSpec
from quiver.types import Metric, Space

if TYPE_CHECKING:
    import pyarrow as pa

#: Characters of the name of a space.
_LONGEST = 200
#: The revision of a space of ready-made vectors.
GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Column:
    """One vector column of a collection.

    An item with an image and a caption has two vectors in the space of one CLIP, so a column stands for a key and a
    space together.

    Attributes:
        key: what was embedded.
        space: where to.
        encoder: the spec of the encoder, or None for vectors that were brought ready-made.
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
        """Itself: it is what is on disk."""
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
        """Read the description of a field; None where it is no vector column."""
        text = (field.metadata or {}).get(b"quiver")
        if text is None:
            return None
        stored = json.loads(text)
        return cls(stored["key"], Space(**stored["space"]), stored["encoder"])


@dataclass(frozen=True, slots=True)
class Crossing:
    """A bridge's arrow from a space into another."""

    source: Space
    target: Space
    encoder: str


@dataclass(frozen=True, slots=True)
class Derived:
    """Vectors that are not stored: those of a column, taken over bridges into another space when they are needed.

    Attributes:
        stored: the column they are made of.
        bridges: the crossings, in order; at least one.
    """

    stored: Column
    bridges: tuple[Crossing, ...]

    @property
    def key(self) -> str:
        """What was embedded."""
        return self.stored.key

    @property
    def space(self) -> Space:
        """Where the bridges end."""
        return self.bridges[-1].target

    @property
    def name(self) -> str:
        """What its index files are called."""
        return f"{self.stored.name}_to_{_slug(self.space)}"

    def __str__(self) -> str:
        return f"{self.key} in {self.space.name}, computed from {self.stored.space.name}"


def given_space(name: Any, dim: int, metric: Metric) -> Space:
    """Return the space of ready-made vectors.

    Raises:
        BadSpec: it cannot be called so, or there is no such metric.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST or not name.isprintable():
        raise BadSpec(f"a space has a name of at most {_LONGEST} characters that can be seen, not {name!r}")
    return Space(name, dim, metric, GIVEN)


def check_same(here: "pa.Field", new: "pa.Field") -> None:
    """See that new data goes into a column that is there.

    Raises:
        BadData: the column holds vectors of another space, or another type.
    """
    mine, other = Column.of(here), Column.of(new)
    if mine is not None and other is not None and mine.space != other.space:
        raise BadData(f"vectors of {_told(other.space)} do not go into {_told(mine.space)}: give them another space")
    if here.type != new.type:
        raise BadData(f"column {new.name} holds {here.type} here and {new.type} in the new data")


def check_name(new: Column | None, stored: Iterable[Column]) -> None:
    """See that no other space has the name of ready-made vectors, by which they are asked for.

    Raises:
        BadData: one has.
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
