"""Cache of ids, media and metadata: read on first access, kept in memory if that pays off, and never stale.

The files of a fragment never change, so cached data of a fragment is valid while its file names are the same. Single
rows are read from disk; a frequently accessed fragment is read whole if there is room.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from quiver.engine.core.sql import numbered
from quiver.engine.storage.dataset import Fragment, Table, fragment_of
from quiver.types import MEDIA, Rows

#: Size of the cache in bytes.
BYTES = 256 << 20
#: A lookup on disk takes as long as reading this many rows in sequence: 3 ms, against 0.25 us per row of ten columns.
LOOK_ROWS = 8192
#: Lookups of more rows than this count as several accesses.
_TOGETHER = 512
#: Up to this many values are converted to Python one by one, which is faster.
_SINGLY = 16
#: Access count of a fragment that does not fit.
_NEVER = -(1 << 62)


@dataclass(frozen=True, slots=True)
class View:
    """Readable columns and fragments at one version.

    Attributes:
        version: the version.
        names: the metadata columns.
        fragments: the fragments, by their number.
    """

    version: int
    names: tuple[str, ...]
    fragments: Mapping[int, Fragment]

    @classmethod
    def of(cls, table: Table) -> "View":
        """Describe the current version of a table."""
        names = table.meta
        return cls(table.version, names, table.fragments("id", *MEDIA, *names))

    @property
    def columns(self) -> tuple[str, ...]:
        """All read columns."""
        return ("id", *MEDIA, *self.names)


#: Values of a row by column, without nulls.
Known = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Part:
    """A fragment in memory.

    Attributes:
        files: names of its files.
        names: its cached metadata columns.
        rows: row numbers, ascending.
        columns: its columns, without columns that are null in every row.
        nbytes: memory of the columns.
    """

    files: str
    names: tuple[str, ...]
    rows: Rows
    columns: Mapping[str, pa.Array]
    nbytes: int

    def read(self, rows: Rows, names: Sequence[str]) -> list[Known] | None:
        """Return the values of some rows, ascending; None if one was already deleted at the time of reading."""
        places = np.searchsorted(self.rows, rows)
        if len(self.rows) <= places[-1] or (self.rows[places] != rows).any():
            return None
        known: list[Known] = [{} for _ in rows]
        for name in names:
            if (column := self.columns.get(name)) is None:
                continue
            for each, value in zip(known, _values(column, places), strict=True):
                if value is not None:
                    each[name] = value
        return known

    def id(self, row: int) -> str | None:
        """Return the id of a row; None if it was already deleted at the time of reading."""
        place = row - self.first
        if self.gaps:
            place = int(np.searchsorted(self.rows, row))
            if place < len(self.rows) and self.rows[place] != row:
                return None
        if not 0 <= place < len(self.rows):
            return None
        found: str = self.columns["id"][place].as_py()
        return found

    @cached_property
    def first(self) -> int:
        """The first row."""
        return int(self.rows[0])

    @cached_property
    def gaps(self) -> bool:
        """Whether rows are missing between the first and the last."""
        return int(self.rows[-1]) - self.first != len(self.rows) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Roll:
    """The ids of all fragments in memory, for lookup by address; ``Roll.of`` makes one.

    Attributes:
        starts: start position of each fragment's ids, by its number.
        spans: number of positions of each fragment, 0 if it is not in memory.
        ids: ids by position; null for deleted rows.
    """

    starts: Rows
    spans: Rows
    ids: pa.Array

    @classmethod
    def of(cls, parts: Mapping[int, Part]) -> "Roll":
        """Join fragments, by their number."""
        starts, spans = np.zeros((2, max(parts, default=-1) + 1), np.int64)
        every, start = [pa.nulls(0, pa.string())], 0
        for number, part in parts.items():
            ids, offsets = part.columns["id"], part.rows - (number << 32)
            starts[number], spans[number] = start, int(offsets[-1]) + 1
            if spans[number] != len(ids):
                places = np.full(spans[number], -1)
                places[offsets] = np.arange(len(ids))
                ids = ids.take(pa.array(places, mask=places < 0))
            every.append(ids)
            start += len(ids)
        return cls(starts, spans, pa.concat_arrays(every))

    def read(self, rows: Rows) -> list[str] | None:
        """Return the id of each row; None if one is missing."""
        home, place = fragment_of(rows), rows & 0xFFFFFFFF
        if home.max() >= len(self.starts) or (place >= self.spans[home]).any():
            return None
        found = self.ids.take(pa.array(place + self.starts[home]))
        ids: list[str] | None = None if found.null_count else found.to_pylist()
        return ids


def _values(column: pa.Array, places: Rows) -> list[Any]:
    if len(places) <= _SINGLY:
        return [column[place].as_py() for place in places.tolist()]
    values: list[Any] = column.take(pa.array(places)).to_pylist()
    return values


class Shelf:
    """Cached items of a table."""

    def __init__(self, table: Table, *, room: int = BYTES) -> None:
        self.table = table
        self.room = room
        self._parts: dict[int, Part] = {}
        self._looks: dict[str, int] = {}
        self._roll: Roll | None = None
        self._version = -1
        self._lock = Lock()

    def ids(self, view: View, rows: Rows) -> list[str]:
        """Return the ids of some rows, in their order."""
        with self._lock:
            self._tidy(view)
            found = self._held(rows) if view.version == self._version else None
        if found is None:
            known = self._known(view, rows, ("id",))
            found = [known[row]["id"] for row in rows.tolist()]
        return found

    def _held(self, rows: Rows) -> list[str] | None:
        """Return the ids of rows from memory; None if one is missing."""
        if len(rows) > _SINGLY:
            if self._roll is None:
                self._roll = Roll.of(self._parts)
            return self._roll.read(rows)
        found = []
        for row in rows.tolist():
            part = self._parts.get(row >> 32)
            if part is None or (id := part.id(row)) is None:
                return None
            found.append(id)
        return found

    def items(self, view: View, rows: Rows) -> dict[int, dict[str, Any]]:
        """Return id, media and metadata of rows, by row number."""
        meta = ("text", *view.names)
        return {
            row: {
                "id": known["id"],
                "media": {name: known[name] for name in MEDIA if name in known},
                "meta": {name: known[name] for name in meta if name in known},
            }
            for row, known in self._known(view, rows, view.columns).items()
        }

    def values(self, view: View, rows: Rows, column: str) -> list[Any]:
        """Return the values of a column, in the order of the rows; None where there is none."""
        known = self._known(view, rows, (column,))
        return [known[row].get(column) for row in rows.tolist()]

    def _known(self, view: View, rows: Rows, columns: Sequence[str]) -> dict[int, Known]:
        """Read some columns of rows, from memory if cached."""
        wanted = np.unique(rows)
        if not len(wanted):
            return {}
        home, absent = fragment_of(wanted), []
        known: dict[int, Known] = {}
        with self._lock:
            self._tidy(view)
            for number in np.unique(home).tolist():
                mine = wanted[home == number]
                part = self._part(view, number, len(mine))
                found = None if part is None else part.read(mine, columns)
                if found is None:
                    absent.append(number)
                else:
                    known |= zip(mine.tolist(), found, strict=True)
        return known | self._fetch(view, wanted[np.isin(home, absent)], columns)

    def _fetch(self, view: View, rows: Rows, columns: Sequence[str]) -> dict[int, Known]:
        """Read some columns of rows from disk."""
        if not len(rows):
            return {}
        handles = [view.fragments[number].handle for number in np.unique(fragment_of(rows)).tolist()]
        found = self.table.read(columns, where=numbered(rows.tolist()), fragments=handles).to_pylist()
        return {row["_rowid"]: {name: row[name] for name in columns if row[name] is not None} for row in found}

    def _tidy(self, view: View) -> None:
        """Drop data replaced by a newer version."""
        if view.version > self._version:
            files = {fragment.files for fragment in view.fragments.values()}
            self._parts = {
                n: part for n, part in self._parts.items() if part.names == view.names and part.files in files
            }
            self._roll = None
            self._looks = {name: looks for name, looks in self._looks.items() if name in files}
            self._version = view.version

    def _part(self, view: View, number: int, rows: int) -> Part | None:
        """Return a fragment if it is in memory or worth reading whole; otherwise None."""
        part, fragment = self._parts.get(number), view.fragments[number]
        if part is not None or view.version < self._version:
            return part if part is not None and (part.files, part.names) == (fragment.files, view.names) else None
        looks = self._looks[fragment.files] = self._looks.get(fragment.files, 0) + 1 + rows // _TOGETHER
        if looks * LOOK_ROWS < fragment.handle.count_rows():
            return None
        part = self._load(view, fragment)
        if part is None:
            self._looks[fragment.files] = _NEVER
        else:
            self._parts[number] = part
            self._roll = None
        return part

    def _load(self, view: View, fragment: Fragment) -> Part | None:
        """Read a fragment, unless it is larger than the remaining room."""
        room = self.room - sum(part.nbytes for part in self._parts.values())
        batches, nbytes = [], 0
        for batch in self.table.stream(view.columns, fragment):
            nbytes += batch.nbytes
            if nbytes > room:
                return None
            batches.append(batch)
        whole = pa.Table.from_batches(batches).combine_chunks()
        columns = {name: whole[name].chunk(0) for name in view.columns if whole[name].null_count < len(whole)}
        rows = whole["_rowid"].to_numpy().astype(np.int64)
        return Part(fragment.files, view.names, rows, columns, nbytes)
