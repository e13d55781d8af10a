"""Groups of rows by their value of a metadata column."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from quiver.engine.storage.dataset import Table
from quiver.errors import BadSpec
from quiver.types import Rows


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows and their groups; ``Groups.read`` makes one.

    Attributes:
        rows: (n,) row numbers, ascending.
        numbers: (n,) the group of each.
    """

    rows: Rows
    numbers: Rows

    @classmethod
    def read(cls, table: Table, column: str) -> "Groups":
        """Read the groups of a column; a row without a value is a group of its own.

        Raises:
            BadSpec: there is no such column, or its values are lists.
        """
        check(table, column)
        found = table.read([column])
        values = found[column].combine_chunks().dictionary_encode()
        numbers = values.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        alone = numbers < 0
        numbers[alone] = len(values.dictionary) + np.arange(alone.sum())
        rows = found["_rowid"].to_numpy().astype(np.int64)
        order = np.argsort(rows)
        return cls(rows[order], numbers[order])

    def of(self, rows: Rows) -> Rows:
        """Return the group of each given row."""
        return self.numbers[np.searchsorted(self.rows, rows)]

    def sizes(self, allow: Rows | None) -> dict[int, int]:
        """Return the number of matching rows of each group."""
        return self._sizes if allow is None else _count(self.of(allow))

    @cached_property
    def _sizes(self) -> dict[int, int]:
        return _count(self.numbers)


def _count(numbers: Rows) -> dict[int, int]:
    groups, counts = np.unique(numbers, return_counts=True)
    return dict(zip(groups.tolist(), counts.tolist(), strict=True))


def check(table: Table, column: str) -> None:
    """Check that items can be grouped by a column.

    Raises:
        BadSpec: there is no such column, or its values are lists.
    """
    _check_single(table, column, "group")


def order(table: Table, order_by: str) -> tuple[str, bool]:
    """Read ``order_by`` of a query: return the metadata column, and whether the largest value comes first.

    Raises:
        BadSpec: there is no such column, or its values are lists.
    """
    names = ("text", *table.meta)
    column, _, way = order_by.rpartition(" ")
    if order_by in names or way.lower() not in ("asc", "desc") or not column.strip():
        column, way = order_by, "asc"
    _check_single(table, column.strip(), "sort")
    return column.strip(), way.lower() == "desc"


def _check_single(table: Table, column: str, verb: str) -> None:
    names = ("text", *table.meta)
    if column not in names:
        raise BadSpec(
            f"there is no metadata column {column!r} to {verb} by; columns here: {', '.join(names) or 'none'}"
        )
    if "list" in str(table.schema.field(column).type):
        raise BadSpec(f"cannot {verb} by {column!r}: its values are lists; choose a column with single values")
