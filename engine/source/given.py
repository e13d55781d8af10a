"""Items that need no reading from files: those made in Python, and those a collection already holds."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from quiver.engine.source.place import Place
from quiver.engine.source.record import LeftOut, Problem
from quiver.engine.storage.dataset import RESERVED, Table
from quiver.errors import BadData
from quiver.types import MEDIA, Item


@dataclass(frozen=True, slots=True)
class Given:
    """Items made in Python."""

    items: Sequence[Item]
    schema: pa.Schema
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @classmethod
    def of(cls, items: Sequence[Item]) -> "Given":
        """Infer the metadata columns of items.

        Raises:
            BadData: the values of one column do not share a type, or a column takes a reserved name.
        """
        names = dict.fromkeys(name for item in items for name in item.meta)
        fields = []
        for name in names:
            if name in RESERVED:
                raise BadData(f"metadata cannot be called {name!r}: that name is taken")
            try:
                fields.append(pa.field(name, pa.array([item.meta.get(name) for item in items]).type))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise BadData(f"metadata column {name!r}: {error}") from error
        return cls(tuple(items), pa.schema(fields))

    @property
    def total(self) -> int:
        """How many items."""
        return len(self.items)

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """Stream them; paths become absolute, so that they hold from any folder."""
        here = Place(os.getcwd(), "")
        for start in range(0, len(self.items), size):
            part = self.items[start : start + size]
            columns: dict[str, Any] = {"id": pa.array([item.id for item in part], pa.string())}
            for name in MEDIA:
                held = [None if (each := item.media.get(name)) is None else str(each) for item in part]
                references = pa.array(held, pa.string())
                columns[name] = references if name == "text" else here.resolve(references)
            for field_ in self.schema:
                columns[field_.name] = pa.array([item.meta.get(field_.name) for item in part], field_.type)
            yield pa.RecordBatch.from_pydict(columns)

    def problems(self) -> list[Problem]:
        """There are none: items are checked when they are made."""
        return []


@dataclass(frozen=True, slots=True)
class Stored:
    """What a collection already holds, to be given more vectors; its metadata is not read."""

    table: Table
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))

    @property
    def total(self) -> int:
        """How many items."""
        return self.table.count()

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """Stream ids and media references, of the version at the start."""
        yield from self.table.at(self.table.version).batches(["id", *MEDIA], size=size)

    def problems(self) -> list[Problem]:
        """There are none."""
        return []
