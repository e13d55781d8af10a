"""Metadata columns of a collection during an add: create them, widen them if needed, and convert values to them.

All names and types are decided before anything is committed. A row with values that cannot be stored is a problem of
its own, and the rest goes on.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from quiver.engine.core.metadata import EXACT, check_names, common, convert, describe, described, is_exact_text
from quiver.engine.ingest.words import rewrite
from quiver.engine.source.record import Problem, first_reference
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.retype import is_empty, retype
from quiver.errors import BadData
from quiver.types import MEDIA


def agree(table: Table, schema: pa.Schema) -> list[str]:
    """Create the metadata columns of a source, and widen those that cannot store its values.

    Integers widen to floats, dates to timestamps, and incompatible types to text.

    Args:
        table: the collection.
        schema: metadata columns of the source, with types of ``quiver.engine.core.metadata``.

    Returns:
        A note for the user for each column whose type changed.

    Raises:
        BadData: a column name is invalid, or the types of a column cannot be combined; nothing is changed then.
    """
    notes: list[str] = []

    def change(_: object) -> None:
        notes[:] = _settle(table, schema)

    table.commit(change)
    return notes


def _settle(table: Table, schema: pa.Schema) -> list[str]:
    stored = {name: table.schema.field(name).type for name in table.meta}
    check_names(schema.names, stored=tuple(stored))
    wider: dict[str, pa.DataType] = {}
    notes: list[str] = []
    for new in schema:
        here = stored.get(new.name, new.type)
        if here == new.type or pt.is_null(new.type):
            continue
        if is_empty(table, new.name):
            wider[new.name] = new.type
            continue
        kind = _join(table, new.name, here, new.type)
        if kind != here:
            wider[new.name] = kind
            notes.append(_widened(here, kind, new))
        elif pt.is_string(here):
            notes.append(f"column {new.name} is a text column: {described(new)} of the new data are stored as text")
    fresh = [each for each in schema if each.name not in stored]
    notes += [
        f"column {each.name} has {described(each)}: it stores text, which keeps them exact and is compared as text"
        for each in fresh
        if is_exact_text(each)
    ]
    table.add_fields([each.remove_metadata() for each in fresh])
    retype(table, wider)
    if any(pt.is_string(kind) for kind in wider.values()):
        rewrite(table)  # full-text search reads text columns, and did not read the numbers
    return notes


def _join(table: Table, name: str, here: pa.DataType, new: pa.DataType) -> pa.DataType:
    if pt.is_struct(here) or pt.is_binary(here) or pt.is_map(here):
        raise BadData(f"metadata column {name} stores {here}, but the new data has {describe(new)}: rename it")
    kind = common(here, new)
    if pt.is_integer(here) and pt.is_floating(kind):
        beyond = f"`{name}` > {EXACT} OR `{name}` < -{EXACT}"
        if table.dataset.count_rows(beyond):
            return pa.string()
    return kind


def _widened(here: pa.DataType, kind: pa.DataType, new: pa.Field) -> str:
    if not pt.is_string(kind):
        return f"column {new.name} now stores {describe(kind)} instead of {describe(here)}"
    stored = "whole numbers above 2**53" if pt.is_integer(here) and pt.is_floating(new.type) else describe(here)
    return (
        f"column {new.name} stored {stored}, but the new data has {described(new)}: it now stores text, in which all"
        " values are exact, and which is compared as text"
    )


def fit(batch: pa.RecordBatch, schema: pa.Schema) -> tuple[pa.Table, dict[int, str]]:
    """Convert the columns of a source to the types of a collection.

    Args:
        batch: rows of a source; columns that the collection lacks stay as they are.
        schema: schema of the collection.

    Returns:
        The converted rows, and by row the reason why it cannot be stored.
    """
    bad = _bad_ids(batch.column("id"))
    columns = {}
    for name in batch.schema.names:
        values = pa.chunked_array([batch.column(name)])
        known = schema.get_field_index(name) >= 0
        columns[name] = _fitted(values, schema.field(name), bad) if known else values
    return pa.table(columns), bad


def admit(batch: pa.RecordBatch, schema: pa.Schema) -> tuple[pa.RecordBatch, list[Problem]]:
    """Return the rows of a batch that can be stored, in the types of a collection, and the reasons for the others."""
    fitted, bad = fit(batch, schema)
    whole = fitted.combine_chunks().to_batches()
    rows = whole[0] if whole else batch
    if not bad:
        return rows, []
    media: Mapping[str, pa.Array] = {name: batch.column(name) for name in MEDIA if name in batch.schema.names}
    ids = batch.column("id").to_pylist()
    problems = [Problem(ids[n] or "(no id)", first_reference(media, n) or "", why) for n, why in sorted(bad.items())]
    keep = np.ones(len(batch), bool)
    keep[list(bad)] = False
    return rows.filter(pa.array(keep)), problems


def _fitted(values: pa.ChunkedArray, field: pa.Field, bad: dict[int, str]) -> pa.ChunkedArray:
    try:
        return convert(values, field.type)
    except pa.ArrowInvalid:
        return _one_by_one(values, field, bad)


def _one_by_one(values: pa.ChunkedArray, field: pa.Field, bad: dict[int, str]) -> pa.ChunkedArray:
    parts = []
    for n in range(len(values)):
        try:
            parts.append(convert(values.slice(n, 1), field.type).combine_chunks())
        except pa.ArrowInvalid:
            told = f"{field.name} is {values[n].as_py()!r}, which a column of {describe(field.type)} cannot store"
            bad.setdefault(n, f"{told} exactly: store such values under another name")
            parts.append(pa.nulls(1, field.type))
    return pa.chunked_array(parts, field.type)


def _bad_ids(ids: pa.Array) -> dict[int, str]:
    """Return, by row, why its id is unusable."""
    bad = dict.fromkeys(_rows(pc.is_null(ids)), "it has no id")
    return bad | dict.fromkeys(_rows(pc.equal(ids, "")), "its id is empty")


def _rows(mask: pa.Array) -> list[int]:
    found: list[int] = pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()
    return found
