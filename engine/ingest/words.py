"""The words of items: the text and metadata that full-text search reads."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from quiver.engine.core.caption import searched
from quiver.engine.storage import full_text
from quiver.engine.storage.dataset import Table

#: A link; it ends before a space, a quote, an angle bracket, or a letter of another script.
_LINK = "[A-Za-z][A-Za-z0-9+.-]*://[!#-&(-;=?-~]*"
_ROWS = 65_536  # read at a time


def words(text: pa.ChunkedArray, meta: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Join the input of full-text search: the text and every metadata string, without links."""
    spoken = [part for part in (_strings(column) for column in (text, *meta)) if part is not None]
    # Nulls are filled, not skipped: pyarrow 26 loses the rows in which every column is null.
    return pc.binary_join_element_wise(*(pc.fill_null(part, "") for part in spoken), " ")


def _strings(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    if pa.types.is_list(column.type) and pa.types.is_string(column.type.value_type):
        column = pc.binary_join(column, " ")
    return pc.replace_substring_regex(column, _LINK, " ") if pa.types.is_string(column.type) else None


def index_words(table: Table) -> tuple[str, ...]:
    """Build or update the full-text index; returns a note for the user if an outdated index was rebuilt."""
    if not full_text.index(table):
        return ()
    rewrite(table)
    return ("the full-text index was rebuilt: it now finds words in Chinese, Japanese, Thai and similar scripts",)


def rewrite(table: Table) -> None:
    """Write the words of all items again where they differ, after a change of how they are made."""
    names = ["text", *searched(table.schema)]

    def change(dataset: Any) -> None:
        for batch in table.at(table.version).batches(["id", full_text.WORDS, *names], size=_ROWS):
            rows = pa.Table.from_batches([batch])
            new = words(rows["text"], [rows[name] for name in names[1:]])
            other = pc.fill_null(pc.not_equal(new, rows[full_text.WORDS]), True)
            if pc.any(other).as_py():
                table.merge(pa.table({"id": rows["id"], full_text.WORDS: new}).filter(other), insert=False)

    table.commit(change)
