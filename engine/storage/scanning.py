"""Scans: chosen columns of the items of one version, in batches, with vectors under the names of their spaces."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from quiver.engine.core.column import Column
from quiver.engine.core.sql import Sql, present
from quiver.engine.storage.dataset import Table
from quiver.errors import BadSpec
from quiver.types import MEDIA
from quiver.wording import unknown


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan to be run.

    Attributes:
        table: the collection at a fixed version.
        names: name of each column in the batches, by stored name.
        vectors: the columns of vectors, by name in the batches.
        where: condition, or None.
    """

    table: Table
    names: Mapping[str, str]
    vectors: Mapping[str, Column]
    where: Sql | None

    @classmethod
    def of(cls, table: Table, columns: Sequence[str] | None, where: Sql | None, spaces: Sequence[str] | None) -> "Scan":
        """Check the columns and spaces of a scan.

        Args:
            table: the collection at a fixed version.
            columns: columns to read; None for all that have values.
            where: condition, or None.
            spaces: names of spaces to read; None for all.

        Raises:
            BadSpec: a column or space does not exist.
        """
        known = ["id", *MEDIA, *table.meta]
        for name in columns or ():
            if name not in known:
                raise BadSpec(unknown("scan", name, known))
        filled = [name for name in MEDIA if columns is None and table.any(present(name))]
        chosen = list(columns) if columns is not None else ["id", *filled, *table.meta]
        vectors = _vectors(table.columns, spaces)
        return cls(table, {**{n: n for n in chosen}, **{v.name: n for n, v in vectors.items()}}, vectors, where)

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most ``size`` rows; none if no row matches."""
        for batch in self.table.batches(list(self.names), where=self.where, size=size):
            yield batch.rename_columns([self.names[name] for name in batch.schema.names])

    def first(self, count: int) -> pa.Table:
        """Return the first rows."""
        found = self.table.table(list(self.names), self.where, limit=count)
        return found.rename_columns([self.names[name] for name in found.schema.names])

    @property
    def schema(self) -> pa.Schema:
        """The columns of the batches."""
        stored = self.table.schema
        return pa.schema([(name, stored.field(own).type) for own, name in self.names.items()])


def _vectors(columns: Sequence[Column], spaces: Sequence[str] | None) -> dict[str, Column]:
    """Return the columns of vectors of some spaces, by the name of their space."""
    known = Counter(column.space.name for column in columns)
    for name in spaces or ():
        if name not in known:
            raise BadSpec(f"there is no space {name!r} here; spaces here: {', '.join(sorted(known)) or 'none'}")
    wanted = [column for column in columns if spaces is None or column.space.name in spaces]
    return {
        column.space.name if known[column.space.name] == 1 else f"{column.space.name} ({column.key})": column
        for column in wanted
    }
