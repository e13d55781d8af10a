"""A vector column: what was embedded, by which encoder, into which space."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from quiver.types import Space

if TYPE_CHECKING:
    import pyarrow as pa


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
        slug = "".join(c if c.isalnum() else "_" for c in self.space.name)
        return f"vec_{self.key}_{slug}_{self.space.revision[:8]}"

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
