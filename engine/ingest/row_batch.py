"""Rows on their way to disk: what a source batch says, held against what is stored.

Everything here is columnar: a batch is compared and assembled as Arrow columns, never row by row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from quiver.engine.core.column import Column
from quiver.engine.ingest.words import words
from quiver.engine.source.record import first_reference
from quiver.engine.source.roots import same_place
from quiver.engine.storage.dataset import RESERVED, Table, quoted
from quiver.types import MEDIA, Floats, Item

#: Vectors by column name: which rows of the batch have one, ascending, and (len(rows), dim) float32.
Filled = Mapping[str, tuple[Sequence[int], Floats]]


@dataclass(frozen=True)
class Known:
    """A source batch beside the stored rows of the same ids.

    Attributes:
        batch: id, the media columns and metadata, in the table's types.
        stored: the same ids in the same order: media, sha256, metadata, and ``has <column>`` flags; null where not
            stored.
    """

    batch: pa.Table
    stored: pa.Table

    @classmethod
    def look_up(cls, table: Table, batch: pa.RecordBatch, columns: Sequence[Column]) -> "Known":
        """Read what the table holds of a batch's ids."""
        shared = [name for name in batch.schema.names if name in table.schema.names]
        ours = pa.table({name: batch[name].cast(table.schema.field(name).type) for name in shared})
        wanted = {name: name for name in ("id", "sha256", *MEDIA, *table.meta)}
        names = [column.name for column in columns if column.name in table.schema.names]
        wanted |= {f"has {name}": f"{name} IS NOT NULL" for name in names}
        where = f"id IN {quoted(ours['id'].to_pylist())}"
        found = table.dataset.scanner(columns=wanted, filter=where).to_table()
        order = pc.index_in(ours["id"], found["id"].combine_chunks())
        return cls(ours, found.take(order))

    @cached_property
    def items(self) -> list[Item]:
        """The batch as items, without metadata."""
        ids, media = self.batch["id"].to_pylist(), {name: self.batch[name].to_pylist() for name in MEDIA}
        return [
            Item(id, {name: values[n] for name, values in media.items() if values[n] is not None})
            for n, id in enumerate(ids)
        ]

    @cached_property
    def hashes(self) -> list[str | None]:
        """The stored content hashes."""
        hashes: list[str | None] = self.stored["sha256"].to_pylist()
        return hashes

    @cached_property
    def exists(self) -> NDArray[np.bool_]:
        """Which items are stored."""
        return self.stored["id"].is_valid().to_numpy()

    def slice(self, start: int, length: int) -> "Known":
        """Return a part of the batch."""
        return Known(self.batch.slice(start, length), self.stored.slice(start, length))

    def has(self, column: str) -> NDArray[np.bool_]:
        """Which items have a vector in a column."""
        if f"has {column}" not in self.stored.schema.names:
            return np.zeros(len(self.batch), dtype=bool)
        return pc.fill_null(self.stored[f"has {column}"], False).to_numpy()

    @property
    def meta(self) -> list[str]:
        """The metadata columns the source brings."""
        return [name for name in self.batch.schema.names if name not in RESERVED]

    def merged(self, name: str) -> pa.ChunkedArray:
        """Return a metadata column: the source's value, or the stored one where the source has none."""
        if name not in self.batch.schema.names:
            return self.stored[name]
        return pc.coalesce(self.batch[name], self.stored[name])

    def moved(self, hashes: Mapping[int, str | None]) -> NDArray[np.int64]:
        """Which items have the content that is stored, and their files in another place."""
        differs = np.zeros(len(self.batch), dtype=bool)
        for name in MEDIA[1:]:
            differs |= pc.fill_null(pc.not_equal(self.batch[name], self.stored[name]), False).to_numpy()
        rows = [n for n in np.flatnonzero(differs).tolist() if hashes.get(n) is not None]
        return np.array([n for n in rows if hashes[n] == self.hashes[n] and not self._stays(n)], dtype=np.int64)

    def _stays(self, row: int) -> bool:
        """Say whether the files of an item are where they were: a path through a link is the same place."""
        pairs = ((self.batch[name][row].as_py(), self.stored[name][row].as_py()) for name in MEDIA[1:])
        return all(new == old or (new and old and same_place(new, old)) for new, old in pairs)

    def differs(self) -> NDArray[np.bool_]:
        """Which items bring metadata that is not stored."""
        differs = np.zeros(len(self.batch), dtype=bool)
        for name in self.meta:
            new, old = self.batch[name], self.stored[name]
            same = _equal(new, old)
            differs |= pc.and_(new.is_valid(), pc.invert(pc.fill_null(same, False))).to_numpy()
        return differs


def _equal(new: pa.ChunkedArray, old: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_nested(new.type):
        return pa.chunked_array([pa.array([a == b for a, b in zip(new.to_pylist(), old.to_pylist(), strict=True)])])
    return pc.equal(new, old)


class Block:
    """Rows waiting for one commit."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.reset()

    def reset(self) -> None:
        """Forget everything: the commit is done."""
        self.ids: list[str] = []
        self._whole: list[pa.Table] = []
        self._parts: dict[tuple[str, ...], list[pa.Table]] = {}
        self.embedded = 0
        self.unchanged = 0
        self.touched = 0
        self.moved = 0
        self.replaced: list[tuple[str, str, str]] = []
        self.renewed = 0

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, known: Known, hashes: Mapping[int, str | None], filled: Filled) -> None:
        """Take in the items of a batch that were read without fault.

        Args:
            known: the batch and what is stored of it.
            hashes: content hash by position, for each item to keep; None where it has no media.
            filled: their new vectors.
        """
        keep = np.fromiter(hashes, dtype=np.int64, count=len(hashes))
        same = np.array([known.exists[n] and _agree(hashes[n], known.hashes[n]) for n in hashes], dtype=bool)
        self.ids += [known.items[n].id for n in hashes]
        touched = np.zeros(len(known.batch), dtype=bool)
        embedded = touched.copy()
        for name, (rows, data) in filled.items():
            embedded[list(rows)] = True
            self._fill(known, name, np.intersect1d(keep[same], rows), (rows, data))
        touched |= self._describe(known, keep[same])
        self._adopt(known, keep[same], hashes)
        moved = self._move(known, np.intersect1d(keep[same], known.moved(hashes)))
        self._whole_rows(known, keep[~same], hashes, filled)
        self.embedded += int(embedded[keep].sum())
        self.touched += int((touched & ~embedded & ~moved)[keep[same]].sum())
        self.unchanged += int((~touched & ~embedded & ~moved)[keep[same]].sum())

    def _fill(self, known: Known, name: str, rows: NDArray[np.int64], filled: tuple[Sequence[int], Floats]) -> None:
        if len(rows):
            vectors = spread(filled, rows, self.schema.field(name).type)
            self._part(pa.table({"id": known.batch["id"].take(rows), name: vectors}))

    def _describe(self, known: Known, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        differs = known.differs()
        changed = rows[differs[rows]]
        if len(changed):
            columns = {"id": known.batch["id"], **{name: known.merged(name) for name in known.meta}}
            columns["words"] = words(known.stored["text"], [known.merged(n) for n in self._meta()])
            self._part(pa.table(columns).take(changed))
        return differs

    def _move(self, known: Known, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Take over the places of files that are elsewhere now."""
        moved = np.zeros(len(known.batch), dtype=bool)
        moved[rows] = True
        self.moved += len(rows)
        if len(rows):
            self._part(pa.table({name: known.batch[name] for name in ("id", *MEDIA[1:])}).take(rows))
        return moved

    def _adopt(self, known: Known, rows: NDArray[np.int64], hashes: Mapping[int, str | None]) -> None:
        """Give rows that came without media, as ready-made vectors do, the media and hash that are now known."""
        bare = [n for n in rows.tolist() if known.hashes[n] is None and hashes[n] is not None]
        if bare:
            columns = {name: known.batch[name] for name in ("id", *MEDIA)}
            hashed = pa.array([hashes[n] for n in bare], pa.string())
            self._part(pa.table(columns).take(bare).append_column("sha256", hashed))

    def _meta(self) -> list[str]:
        return [f.name for f in self.schema if f.name not in RESERVED and Column.of(f) is None]

    def _whole_rows(
        self, known: Known, rows: NDArray[np.int64], hashes: Mapping[int, str | None], filled: Filled
    ) -> None:
        if not len(rows):
            return
        self._compare(known, rows[known.exists[rows]])
        meta = {name: known.merged(name).take(rows) for name in self._meta()}
        columns: dict[str, Any] = {name: known.batch[name].take(rows) for name in ("id", *MEDIA)}
        columns["sha256"] = pa.array([hashes[n] for n in rows.tolist()], pa.string())
        columns["words"] = words(columns["text"], list(meta.values()))
        columns |= meta
        for field in self.schema:
            if field.name not in columns:
                empty = ((), np.empty((0, 1), np.float32))
                columns[field.name] = spread(filled.get(field.name, empty), rows, field.type)
        self._whole.append(pa.table([columns[name] for name in self.schema.names], schema=self.schema))

    def _compare(self, known: Known, rows: NDArray[np.int64]) -> None:
        """Note stored items that get other content, and those that get it from another file."""
        self.renewed += len(rows)
        for n in rows.tolist():
            old, new = (
                first_reference({name: table[name] for name in MEDIA}, n) for table in (known.stored, known.batch)
            )
            if old and new and old != new and not same_place(old, new):
                self.replaced.append((known.items[n].id, old, new))

    def _part(self, part: pa.Table) -> None:
        self._parts.setdefault(tuple(part.schema.names), []).append(part)

    def whole(self) -> pa.Table | None:
        """Return the rows to insert or replace."""
        if not self._whole:
            return None
        return _last_of_each(pa.concat_tables(self._whole, promote_options="default"))

    def parts(self) -> list[pa.Table]:
        """Return the columns to fill in rows that stay, a table for each set of columns."""
        return [_last_of_each(pa.concat_tables(parts)) for parts in self._parts.values()]


def _agree(new: str | None, stored: str | None) -> bool:
    return new is None or stored is None or new == stored


def _last_of_each(rows: pa.Table) -> pa.Table:
    """Keep the last row of each id: a merge refuses a source that names one id twice."""
    ids = rows["id"].to_pylist()
    last = {id: n for n, id in enumerate(ids)}
    return rows if len(last) == len(ids) else rows.take(sorted(last.values()))


def spread(filled: tuple[Sequence[int], Floats], rows: NDArray[np.int64], kind: pa.DataType) -> pa.Array:
    """Lay vectors out over rows: a fixed-size-list column, null where a row has none."""
    held = np.asarray(filled[0], dtype=np.int64)
    present = np.isin(rows, held)
    if not present.any():
        return pa.nulls(len(rows), kind)
    laid = np.zeros((len(rows), kind.list_size), dtype=np.float32)
    laid[present] = filled[1][np.searchsorted(held, rows[present])]
    return pa.FixedSizeListArray.from_arrays(pa.array(laid.ravel()), type=kind, mask=pa.array(~present))
