"""A source batch beside the stored rows of the same ids, compared as Arrow columns, never row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from quiver.engine.core.column import Column
from quiver.engine.core.metadata import RESERVED, as_stored
from quiver.engine.core.sql import among, present
from quiver.engine.source.roots import same_place
from quiver.engine.storage.dataset import Table
from quiver.types import MEDIA, Item


@dataclass(frozen=True)
class Known:
    """A source batch beside the stored rows of the same ids.

    Attributes:
        batch: id, the media columns and metadata, in the table's types.
        stored: the same ids in the same order: media, sha256, metadata, and ``has <column>`` flags; null where not
            stored.
        version: version of the table that was looked up.
        cleared: by metadata column, the mask of rows whose stored value is cleared; only columns with such rows.
    """

    batch: pa.Table
    stored: pa.Table
    version: int
    cleared: Mapping[str, pa.Array] = field(default_factory=dict)

    @classmethod
    def look_up(cls, table: Table, batch: pa.RecordBatch | pa.Table, columns: Sequence[Column]) -> "Known":
        """Read the stored rows of a batch's ids."""
        shared = [name for name in batch.schema.names if name in table.schema.names]
        ours = as_stored(pa.table({name: batch[name] for name in shared}), table.schema)
        wanted = {name: f"`{name}`" for name in ("id", "sha256", *MEDIA, *table.meta)}
        names = [column.name for column in columns if column.name in table.schema.names]
        wanted |= {f"has {name}": present(name) for name in names}
        where = among("id", ours["id"].to_pylist())
        found = table.table(wanted, where)
        order = pc.index_in(ours["id"], found["id"].combine_chunks())
        stored = found.take(order)
        return cls(_with_texts(ours, stored), stored, table.version)

    @cached_property
    def items(self) -> list[Item]:
        """The batch as items, without metadata."""
        return items_of(self.batch)

    @cached_property
    def hashes(self) -> list[str | None]:
        """The stored content hashes."""
        hashes: list[str | None] = self.stored["sha256"].to_pylist()
        return hashes

    @cached_property
    def exists(self) -> NDArray[np.bool_]:
        """Mask of the stored items."""
        return self.stored["id"].is_valid().to_numpy()

    def slice(self, start: int, length: int) -> "Known":
        """Return a part of the batch."""
        return Known(self.batch.slice(start, length), self.stored.slice(start, length), self.version)

    def same(self, hashes: Mapping[int, str | None]) -> NDArray[np.bool_]:
        """Mask of the given items, by position, whose stored content hash is the current one."""
        return np.array([self.exists[n] and _agree(hashes[n], self.hashes[n]) for n in hashes], dtype=bool)

    def with_media(self, found: Mapping[int, Mapping[str, str]]) -> "Known":
        """Return the batch with changed references of items whose content is of another medium than their names say."""
        if not found:
            return self
        batch = self.batch
        for name in MEDIA[1:]:
            values = batch[name].to_pylist()
            for n, media in found.items():
                values[n] = media.get(name)
            batch = batch.set_column(batch.schema.get_field_index(name), name, pa.array(values, batch[name].type))
        return replace(self, batch=batch)

    def has(self, column: str) -> NDArray[np.bool_]:
        """Mask of the items with a vector in a column."""
        if f"has {column}" not in self.stored.schema.names:
            return np.zeros(len(self.batch), dtype=bool)
        return pc.fill_null(self.stored[f"has {column}"], False).to_numpy()

    @property
    def meta(self) -> list[str]:
        """The metadata columns of the source."""
        return [name for name in self.batch.schema.names if name not in RESERVED]

    def merged(self, name: str) -> pa.ChunkedArray:
        """Return a metadata column: the value of the source, or the stored value if the source has none."""
        if name not in self.batch.schema.names:
            return self.stored[name]
        merged = pc.coalesce(self.batch[name], self.stored[name])
        if name in self.cleared:
            merged = pc.if_else(self.cleared[name], pa.scalar(None, merged.type), merged)
        return merged

    def moved(self, hashes: Mapping[int, str | None]) -> NDArray[np.int64]:
        """Mask of the items with unchanged content whose files have moved."""
        differs = np.zeros(len(self.batch), dtype=bool)
        for name in MEDIA[1:]:
            differs |= pc.fill_null(pc.not_equal(self.batch[name], self.stored[name]), False).to_numpy()
        rows = [n for n in np.flatnonzero(differs).tolist() if hashes.get(n) is not None]
        return np.array([n for n in rows if hashes[n] == self.hashes[n] and not self._stays(n)], dtype=np.int64)

    @cached_property
    def other_media(self) -> NDArray[np.bool_]:
        """Mask of the items that name a text or a file which is not the stored one."""
        other = np.zeros(len(self.batch), dtype=bool)
        for name in MEDIA:
            other |= _changed(self.batch[name], self.stored[name])
        return other

    def _stays(self, row: int) -> bool:
        """Whether the files of an item are at the same place; a path through a link is the same place."""
        pairs = ((self.batch[name][row].as_py(), self.stored[name][row].as_py()) for name in MEDIA[1:])
        return all(new == old or (new and old and same_place(new, old)) for new, old in pairs)

    def differs(self) -> NDArray[np.bool_]:
        """Mask of the items with metadata that differs from the stored metadata."""
        differs = np.zeros(len(self.batch), dtype=bool)
        for name in self.meta:
            differs |= _changed(self.batch[name], self.stored[name])
            if name in self.cleared:
                differs |= pc.and_(self.stored[name].is_valid(), self.cleared[name]).to_numpy()
        return differs


def _with_texts(batch: pa.Table, stored: pa.Table) -> pa.Table:
    """Give items without a text their stored text, as metadata stays where a source has none.

    So a folder that is added after its table of captions erases none. An item with other kinds of files than the
    stored one, or with none, is another thing of the same id, and takes nothing over.
    """
    alike, files = batch["text"].is_null(), None
    for name in MEDIA[1:]:
        new, old = batch[name].is_valid(), stored[name].is_valid()
        alike = pc.and_(alike, pc.equal(new, old))
        files = new if files is None else pc.or_(files, new)
    taken = pc.and_(alike, files)
    if not pc.any(pc.and_(taken, stored["text"].is_valid())).as_py():
        return batch
    text = pc.if_else(taken, stored["text"], batch["text"])
    return batch.set_column(batch.schema.get_field_index("text"), "text", text)


def items_of(batch: pa.Table | pa.RecordBatch) -> list[Item]:
    """Return rows with ids and media columns as items, without metadata."""
    ids, media = batch["id"].to_pylist(), {name: batch[name].to_pylist() for name in MEDIA}
    return [
        Item(id, {name: values[n] for name, values in media.items() if values[n] is not None})
        for n, id in enumerate(ids)
    ]


def _changed(new: pa.ChunkedArray, old: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return a mask of the rows with a new value that is not the stored one."""
    return pc.and_(new.is_valid(), pc.invert(pc.fill_null(_equal(new, old), False))).to_numpy()


def _equal(new: pa.ChunkedArray, old: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_null(new.type):
        return pa.chunked_array([pa.nulls(len(new), pa.bool_())])
    if pa.types.is_nested(new.type):
        return pa.chunked_array([pa.array([a == b for a, b in zip(new.to_pylist(), old.to_pylist(), strict=True)])])
    same = pc.equal(new, old)
    return pc.or_(same, pc.and_(pc.is_nan(new), pc.is_nan(old))) if pa.types.is_floating(new.type) else same


def _agree(new: str | None, stored: str | None) -> bool:
    return new is None or stored is None or new == stored
