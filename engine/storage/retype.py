"""Change the type of a metadata column; row numbers, vectors and their indexes stay.

The values are written to a new column beside the old one, the two swap their names in one commit, and the old one is
dropped. Only the column itself is written. Readers go on with their version. A process that dies on
the way leaves a hidden column with a temporary name; the next change drops it.
"""

from collections.abc import Mapping
from functools import partial

import lance
import pyarrow as pa
import pyarrow.types as pt

from quiver.engine.core.metadata import TEMPORARY, common, convert
from quiver.engine.core.sql import absent, both, present
from quiver.engine.storage.dataset import Table

_NEW, _OLD = f"{TEMPORARY}new", f"{TEMPORARY}old"


def retype(table: Table, kinds: Mapping[str, pa.DataType]) -> None:
    """Change columns to other types that can store all their values.

    Args:
        table: the dataset; it shows the new types afterwards.
        kinds: the new types, by names of existing columns.

    Raises:
        ArrowInvalid: a value does not fit; then nothing has changed.
    """
    for name, kind in kinds.items():
        table.commit(partial(_retype, name=name, kind=kind))


def is_empty(table: Table, name: str) -> bool:
    """Whether a column has no value in any row, and so may take any type."""
    if pt.is_null(table.schema.field(name).type):
        return True
    return not table.dataset.count_rows(present(name))


def _retype(dataset: lance.LanceDataset, name: str, kind: pa.DataType) -> None:
    here = dataset.schema.field(name).type
    empty = not dataset.count_rows(present(name))
    kind = kind if empty else common(here, kind)  # another writer may have widened it meanwhile
    if here == kind:
        return
    left = [each for each in dataset.schema.names if each.startswith(TEMPORARY)]
    if left:
        dataset.drop_columns(left)
    if empty:
        dataset.add_columns(pa.schema([pa.field(_NEW, kind)]))
    else:
        _write(dataset, name, kind)
    version = dataset.version
    dataset.alter_columns({"path": name, "name": _OLD}, {"path": _NEW, "name": name})
    if dataset.version != version + 1:
        _adopt(dataset, name, kind)
    dataset.drop_columns([_OLD])


def _write(dataset: lance.LanceDataset, name: str, kind: pa.DataType) -> None:
    schema = pa.schema([pa.field(_NEW, kind)])

    def converted(batch: pa.RecordBatch) -> pa.RecordBatch:
        values = convert(pa.chunked_array([batch.column(0)]), kind)
        return pa.RecordBatch.from_arrays([values.combine_chunks()], schema=schema)

    dataset.add_columns(lance.batch_udf(output_schema=schema)(converted), read_columns=[name])


def _adopt(dataset: lance.LanceDataset, name: str, kind: pa.DataType) -> None:
    """Copy values that another writer put into the old column meanwhile."""
    late = dataset.to_table(columns=["id", _OLD], filter=both(present(_OLD), absent(name)))
    if len(late):
        values = convert(late[_OLD], kind)
        rows = pa.table({"id": late["id"], name: values})
        dataset.merge_insert("id").when_matched_update_all().execute(rows)
