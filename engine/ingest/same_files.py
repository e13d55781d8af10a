"""Recognise files that are stored under another id.

A table can give a file of a folder another id than it has in the collection, as when a table with a column ``id`` comes
later. The file is the same item all the same: it keeps its stored id, and the report says so. Otherwise it would be
there twice. An item is the same if all its files are the same, and its text too where both have one. It keeps its
stored text if the file comes without one.

Rows of a table and Items with ids of their own are the items that they say: several may share a file, as variants of a
product share a photo. They are added, and the report names the items that have the same files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from quiver.engine.core.sql import among, either
from quiver.engine.ingest.known import Known
from quiver.engine.source import Source, is_one_per_file
from quiver.engine.source.given import Stored
from quiver.engine.source.roots import real_file
from quiver.engine.storage.dataset import Table
from quiver.media import locate
from quiver.types import MEDIA

_FILES = MEDIA[1:]
_Key = tuple[str | None, ...]


@dataclass(slots=True)
class SameFiles:
    """The stored files of a collection, as an add began.

    Attributes:
        table: the collection at that version; None if nothing is to be recognised.
        keeps: whether recognised items keep their stored ids.
        count: number of recognised items.
        example: an unused id, and the stored id that the item keeps.
    """

    table: Table | None
    keeps: bool = True
    count: int = 0
    example: tuple[str, str] = ("", "")

    @classmethod
    def of(cls, table: Table, source: Source) -> "SameFiles":
        """Look at a collection as it is now; an empty one stores no files."""
        stored = bool(table.count()) and not isinstance(source, Stored)
        return cls(table.at(table.version) if stored else None, is_one_per_file(source))

    def keep_ids(self, rows: pa.RecordBatch, known: Known) -> pa.RecordBatch | None:
        """Return the rows with the stored ids of their files; None if no id changes.

        Args:
            rows: items of a source.
            known: what is stored under their ids.
        """
        new = np.flatnonzero(~known.exists).tolist()
        if self.table is None or not new:
            return None
        keys = _keys(rows.take(pa.array(new)))
        stored = self._stored(keys)
        if not stored:
            return None
        ids, texts = rows["id"].to_pylist(), rows["text"].to_pylist()
        before, taken = list(ids), set(ids)
        for n, key in zip(new, keys, strict=True):
            same = [each for each in stored.get(key, ()) if each[1] is None or texts[n] in (None, each[1])]
            if len(same) == 1 and same[0][0] not in taken:
                id, text = same[0]
                self.example = self.example if self.count else (ids[n], id)
                self.count += 1
                taken.add(id)
                if self.keeps:
                    ids[n], texts[n] = id, text if texts[n] is None else texts[n]
        if ids == before:
            return None
        for name, values in (("id", ids), ("text", texts)):
            rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values, pa.string()))
        return rows

    def _stored(self, keys: Sequence[_Key]) -> Mapping[_Key, list[tuple[str, str | None]]]:
        """Return ids and texts of the stored items with these files, by files."""
        conditions = [
            among(name, files)
            for place, name in enumerate(_FILES)
            if (files := {spelt for key in keys if (file := key[place]) for spelt in (file, _real(file))})
        ]
        found: dict[_Key, list[tuple[str, str | None]]] = {}
        if not conditions or self.table is None:
            return found
        rows = self.table.read(["id", *MEDIA], where=either(*conditions))
        for id, text, key in zip(rows["id"].to_pylist(), rows["text"].to_pylist(), _keys(rows), strict=True):
            found.setdefault(key, []).append((id, text))
        return found

    def notes(self) -> list[str]:
        """Return a note for the user, if any item was recognised."""
        if not self.count:
            return []
        given, stored = self.example
        if not self.keeps:
            items = "1 item has" if self.count == 1 else f"{self.count:,} items have"
            return [
                f"{items} the same files as an item with another id, such as {given} and {stored}: ids decide which"
                " items are the same, so both are there"
            ]
        many = "1 item is" if self.count == 1 else f"{self.count:,} items are"
        return [
            f"{many} stored under another id already, such as {stored} for {given}: the stored ids are kept; delete"
            " those items first to give them the new ids"
        ]


def _keys(rows: pa.RecordBatch | pa.Table) -> list[_Key]:
    """Return the files of each row, by their real paths."""
    columns = [[value and _real(value) for value in rows[name].to_pylist()] for name in _FILES]
    return list(zip(*columns, strict=True))


def _real(reference: str) -> str:
    """Return a reference with the links in its folder resolved; URIs stay."""
    if "://" in reference:
        return reference
    path, *rest = locate(reference)
    return real_file(path) if path == reference and rest == [0, None] else reference
