"""Rows to write: source batches joined with the stored rows of the same ids.

Rows are looked up twice: before decoding, to skip stored items, and under the write lock just before the commit,
since another process may have written to them meanwhile. Everything here is columnar: a batch is compared and
assembled as Arrow columns, never row by row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from quiver.engine.core import caption
from quiver.engine.core.metadata import names_of
from quiver.engine.ingest.known import Known
from quiver.engine.ingest.words import words
from quiver.engine.source.record import first_reference
from quiver.engine.source.roots import same_place
from quiver.engine.storage.dataset import Table
from quiver.types import MEDIA, Floats

#: Vectors by column name: which rows of the batch have one, ascending, and (len(rows), dim) float32.
Filled = Mapping[str, tuple[Sequence[int], Floats]]


@dataclass(frozen=True)
class Piece:
    """Items of one batch that were read without error.

    Attributes:
        known: the batch beside the stored rows.
        hashes: content hash by position, of each item to keep; None where it has no media.
        filled: their new vectors.
        same: for each of ``hashes``, whether the item was stored with this content, so that only part of it was
            decoded.
    """

    known: Known
    hashes: Mapping[int, str | None]
    filled: Filled
    same: NDArray[np.bool_]


class Block:
    """Items waiting for one commit."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Clear the block after its commit."""
        self.ids: list[str] = []
        self._pieces: list[Piece] = []

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, known: Known, hashes: Mapping[int, str | None], filled: Filled) -> None:
        """Add the items of a batch that were read without error; ``Piece`` describes the arguments."""
        self._pieces.append(Piece(known, hashes, filled, known.same(hashes)))
        self.ids += [known.items[n].id for n in hashes]

    def changes(self, table: Table) -> "Changes":
        """Return the rows to write to the current version of a table."""
        changes = Changes(table.schema)
        for piece, known in zip(self._pieces, self._renewed(table), strict=True):
            changes.add(piece, known)
        return changes

    def _renewed(self, table: Table) -> list[Known]:
        """Look up batches again that were looked up in an older version; batches of one schema together."""
        fresh = [piece.known for piece in self._pieces]
        forms: dict[pa.Schema, list[int]] = {}
        for n, known in enumerate(fresh):
            if known.version != table.version:
                forms.setdefault(known.batch.schema, []).append(n)
        for members in forms.values():
            found, start = Known.look_up(table, pa.concat_tables([fresh[n].batch for n in members]), ()), 0
            for n in members:
                size = len(fresh[n].batch)
                part = found.slice(start, size)
                fresh[n], start = replace(part, cleared=fresh[n].cleared), start + size
        return fresh


class Changes:
    """Rows to insert or replace, and columns to fill in rows that stay, for the schema and rows of one version.

    Attributes:
        embedded: items that get vectors.
        touched: items whose metadata alone change.
        unchanged: items without changes.
        moved: items whose files have moved.
        renewed: stored items with new content.
        replaced: those with content from another file: id, file before, file now.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._whole: list[pa.Table] = []
        self._parts: dict[tuple[str, ...], list[pa.Table]] = {}
        self.embedded = 0
        self.unchanged = 0
        self.touched = 0
        self.moved = 0
        self.replaced: list[tuple[str, str, str]] = []
        self.renewed = 0

    def add(self, piece: Piece, known: Known) -> None:
        """Add a piece, compared with the rows stored now.

        If an item was stored with the same content when it was decoded, and is not any more, another writer deleted or
        replaced it meanwhile. That change is treated as the later one: only the metadata of such a row are set.
        """
        keep, same = np.fromiter(piece.hashes, dtype=np.int64, count=len(piece.hashes)), known.same(piece.hashes)
        stay = keep[same | (piece.same & known.exists[keep])]
        touched = np.zeros(len(known.batch), dtype=bool)
        embedded = touched.copy()
        written = np.setdiff1d(keep, keep[piece.same & ~same])
        for name, (rows, data) in piece.filled.items():
            if name in self.schema.names:
                embedded[np.intersect1d(written, np.asarray(rows, np.int64))] = True
                self._fill(known, name, np.intersect1d(keep[same], rows), (rows, data))
        touched |= self._describe(known, stay)
        self._adopt(known, keep[same], piece.hashes)
        touched |= self._name(known, keep[same], piece.hashes)
        moved = self._move(known, np.intersect1d(keep[same], known.moved(piece.hashes)))
        self._whole_rows(known, keep[~same & ~piece.same], piece.hashes, piece.filled)
        self.embedded += int(embedded.sum())
        self.touched += int((touched & ~embedded & ~moved)[stay].sum())
        self.unchanged += int((~touched & ~embedded & ~moved)[np.union1d(stay, keep[piece.same])].sum())

    def _fill(self, known: Known, name: str, rows: NDArray[np.int64], filled: tuple[Sequence[int], Floats]) -> None:
        if len(rows):
            vectors = spread(filled, rows, self.schema.field(name).type)
            self._part(pa.table({"id": known.batch["id"].take(rows), name: vectors}))

    def _describe(self, known: Known, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        differs = known.differs()
        changed = rows[differs[rows]]
        if len(changed):
            columns = {"id": known.batch["id"], **{name: known.merged(name) for name in known.meta}}
            columns["words"] = words(known.stored["text"], [known.merged(n) for n in caption.searched(self.schema)])
            self._part(pa.table(columns).take(changed))
        return differs

    def _move(self, known: Known, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Take over the new paths of moved files."""
        moved = np.zeros(len(known.batch), dtype=bool)
        moved[rows] = True
        self.moved += len(rows)
        if len(rows):
            self._part(pa.table({name: known.batch[name] for name in ("id", *MEDIA[1:])}).take(rows))
        return moved

    def _adopt(self, known: Known, rows: NDArray[np.int64], hashes: Mapping[int, str | None]) -> None:
        """Set media and hash of rows that were stored without media, such as those of ready-made vectors."""
        bare = [n for n in rows.tolist() if known.hashes[n] is None and hashes[n] is not None]
        if bare:
            columns = {name: known.batch[name] for name in ("id", *MEDIA)}
            hashed = pa.array([hashes[n] for n in bare], pa.string())
            self._part(pa.table(columns).take(bare).append_column("sha256", hashed))

    def _name(self, known: Known, rows: NDArray[np.int64], hashes: Mapping[int, str | None]) -> NDArray[np.bool_]:
        """Set texts and files that are named beside ready-made vectors anew, of rows whose content nobody has read."""
        named = np.zeros(len(known.batch), dtype=bool)
        unread = [n for n in rows[known.other_media[rows]].tolist() if hashes[n] is None and known.hashes[n] is None]
        named[unread] = True
        if unread:
            columns = {"id": known.batch["id"]}
            columns |= {name: pc.coalesce(known.batch[name], known.stored[name]) for name in MEDIA}
            columns["words"] = words(columns["text"], [known.merged(n) for n in caption.searched(self.schema)])
            self._part(pa.table(columns).take(unread))
        return named

    def _whole_rows(
        self, known: Known, rows: NDArray[np.int64], hashes: Mapping[int, str | None], filled: Filled
    ) -> None:
        if not len(rows):
            return
        self._compare(known, rows[known.exists[rows]])
        meta = {name: known.merged(name).take(rows) for name in names_of(self.schema)}
        meta |= self._without_told(known, rows)
        columns: dict[str, Any] = {name: known.batch[name].take(rows) for name in ("id", *MEDIA)}
        columns["sha256"] = pa.array([hashes[n] for n in rows.tolist()], pa.string())
        columns["words"] = words(columns["text"], [meta[name] for name in caption.searched(self.schema)])
        columns |= meta
        for each in self.schema:
            if each.name not in columns:
                empty = ((), np.empty((0, 1), np.float32))
                columns[each.name] = spread(filled.get(each.name, empty), rows, each.type)
        self._whole.append(pa.table([columns[name] for name in self.schema.names], schema=self.schema))

    def _without_told(self, known: Known, rows: NDArray[np.int64]) -> dict[str, pa.ChunkedArray]:
        """Return the caption columns of rows with new content, without the captions that models told of the old."""
        left, none = {}, pa.scalar(None, pa.string())
        for column, by in caption.columns_of(self.schema).items():
            texts, origins = (known.stored[name].take(rows).to_pylist() for name in (column, by))
            told = pa.array([caption.is_told(text, origin) for text, origin in zip(texts, origins, strict=True)])
            for name in (column, by):
                new = known.batch[name].take(rows) if name in known.batch.schema.names else pa.nulls(len(rows))
                left[name] = pc.coalesce(new.cast(pa.string()), pc.if_else(told, none, known.stored[name].take(rows)))
        return left

    def _compare(self, known: Known, rows: NDArray[np.int64]) -> None:
        """Record stored items with new content, and those with content from another file."""
        self.renewed += len(rows)
        for n in rows.tolist():
            old, new = (
                first_reference({name: table[name] for name in MEDIA}, n) for table in (known.stored, known.batch)
            )
            if old and new and old != new and not same_place(old, new):
                self.replaced.append((known.items[n].id, old, new))

    def _part(self, part: pa.Table) -> None:
        self._parts.setdefault(tuple(part.schema.names), []).append(part)

    @property
    def steps(self) -> list[tuple[pa.Table, bool]]:
        """What to write in turn: rows, and whether they are whole, so that those which do not exist are inserted."""
        whole = [pa.concat_tables(self._whole, promote_options="default")] if self._whole else []
        parts = [pa.concat_tables(parts) for parts in self._parts.values()]
        return [(_last_of_each(rows), True) for rows in whole] + [(_last_of_each(rows), False) for rows in parts]


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
