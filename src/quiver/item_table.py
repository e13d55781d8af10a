"""Items and questions of large tasks as columns, from which single ones are made when they are asked for.

Ten million rows with a path and a caption are about 1 GB of columns, and 16 GB of Python objects.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from quiver.task import Question
from quiver.types import KEYS, MEDIA, Item, Query, Rows

#: Rows turned into objects together.
BLOCK = 4096
#: Media of which each makes an item embeddable by itself; before and after do so together.
_SINGLE = MEDIA[:-2]


class ItemTable(Sequence[Item]):
    """Items as a table; an item is made when it is asked for.

    Args:
        table: columns ``id``, media by name, and metadata; null where an item lacks something.
    """

    def __init__(self, table: pa.Table) -> None:
        wide = [pa.field(each.name, pa.large_string()) if each.type == pa.string() else each for each in table.schema]
        self.table = table.cast(pa.schema(wide)).combine_chunks()  # 2 GB of paths and more in one piece
        self._media = [name for name in table.column_names if name in MEDIA]
        self._meta = [name for name in table.column_names if name not in ("id", *MEDIA)]

    @overload
    def __getitem__(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: slice) -> "ItemTable": ...

    def __getitem__(self, place: int | slice) -> "Item | ItemTable":
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        row = range(len(self))[place]
        return self._item(self.table.slice(row, 1).to_pylist()[0])

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Item]:
        for batch in self.table.to_batches(max_chunksize=BLOCK):
            for row in batch.to_pylist():
                yield self._item(row)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of lists

    def take(self, rows: Rows) -> "ItemTable":
        """Return some items, by place."""
        return ItemTable(self.table.take(pa.array(rows)))

    def column(self, name: str) -> pa.ChunkedArray | None:
        """Return a column of media or metadata; None if no item has it."""
        if name not in self.table.column_names or self.table[name].null_count == len(self):
            return None
        return self.table[name]

    def holds(self, key: str) -> NDArray[np.bool_]:
        """Say which items have a key of KEYS: (n,)."""
        names = ("before", "after") if key == "pair" else (key,)
        found = np.ones(len(self), bool)
        for name in names:
            column = self.column(name)
            found &= False if column is None else pc.is_valid(column).to_numpy()
        return found

    def digest(self) -> str:
        """Return a hexadecimal hash of all values."""
        found = hashlib.sha256()
        for name in sorted(self.table.column_names):
            for batch in self.table.select([name]).to_batches(max_chunksize=BLOCK):
                found.update(json.dumps([name, batch.column(0).to_pylist()], default=str).encode())
        return found.hexdigest()

    def _item(self, row: Mapping[str, Any]) -> Item:
        return Item(
            row["id"],
            {name: row[name] for name in MEDIA if name in self._media and row[name] is not None},
            {name: row[name] for name in self._meta if row[name] is not None},
        )


class TextQuestions(Sequence[Question]):
    """For each item with a text and something else, the question that asks for items by its text.

    All items of that text that have what is asked for are right answers.

    Args:
        items: of the task.
        target: a key of KEYS, asked of items that have it; of the others their first key but text.

    Attributes:
        rows: (q,) int64, the item that each question is made of.
        wanted: (q,) int64, the place in KEYS of what it asks for.
        alike: (q,) int64, equal where text and what is asked for are equal.
    """

    def __init__(self, items: ItemTable, target: str) -> None:
        self.items = items
        kinds = np.stack([items.holds(key) for key in KEYS])
        wanted = np.where(kinds[KEYS.index(target)], KEYS.index(target), 1 + kinds[1:].argmax(axis=0))
        self.rows = np.flatnonzero(kinds[0] & kinds[1:].any(axis=0))
        self.wanted = wanted[self.rows]
        text = items.column("text")
        codes = np.zeros(0, np.int64)
        if text is not None and len(self.rows):
            told = pc.take(text, pa.array(self.rows)).combine_chunks()
            codes = told.dictionary_encode().indices.to_numpy().astype(np.int64)
        self.alike = codes * len(KEYS) + self.wanted

    @cached_property
    def _groups(self) -> tuple[Rows, Rows]:
        """Questions in the order of ``alike``, and ``alike`` in that order."""
        order = np.argsort(self.alike, kind="stable")
        return order, self.alike[order]

    @overload
    def __getitem__(self, place: int) -> Question: ...

    @overload
    def __getitem__(self, place: slice) -> list[Question]: ...

    def __getitem__(self, place: int | slice) -> Question | list[Question]:
        if isinstance(place, slice):
            return self._made(np.arange(len(self))[place])
        return self._made(np.array([range(len(self))[place]]))[0]

    def __iter__(self) -> Iterator[Question]:
        for start in range(0, len(self), BLOCK):
            yield from self._made(np.arange(start, min(start + BLOCK, len(self))))

    def _made(self, numbers: Rows) -> list[Question]:
        """Make questions; those that are answered alike share their answers."""
        order, sorted_codes = self._groups
        table, rows = self.items.table, self.rows[numbers]
        ids, texts = (table[name].take(pa.array(rows)).to_pylist() for name in ("id", "text"))
        right: dict[int, dict[str, int]] = {}
        for code in np.unique(self.alike[numbers]).tolist():
            first, last = (np.searchsorted(sorted_codes, code, side) for side in ("left", "right"))
            right[code] = dict.fromkeys(table["id"].take(pa.array(self.rows[order[first:last]])).to_pylist(), 1)
        told = zip(ids, texts, self.wanted[numbers].tolist(), self.alike[numbers].tolist(), strict=True)
        return [
            Question(id=id, query=Query(media={"text": text}, target=KEYS[wanted]), relevant=right[code])
            for id, text, wanted, code in told
        ]

    def __len__(self) -> int:
        return len(self.rows)
