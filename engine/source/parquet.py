"""Parquet files: stored types are converted to the types of metadata columns; structs are flattened one level."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from quiver.engine.core.metadata import as_text, plain
from quiver.engine.core.metadata import convert as converted
from quiver.engine.source.delimited import Report
from quiver.errors import BadData

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ROWS = 16384  # decoded at a time


def plain_type(kind: "pa.DataType") -> "pa.DataType | None":
    """Return the metadata type for a stored type, or None if there is none.

    Lists of numbers are left out, because in a stored table they are usually vectors.
    """
    import pyarrow as pa

    found = plain(kind)
    return None if found in (pa.list_(pa.int64()), pa.list_(pa.float64())) else found


def typed(stored: "pa.Schema") -> "pa.Schema":
    """Return the columns of a stored table that can be metadata, with their types there."""
    import pyarrow as pa

    kinds = [(field, plain_type(field.type)) for field in stored]
    return pa.schema(
        [
            as_text(field.name, "whole numbers of 64 bits without a sign")
            if pa.types.is_uint64(field.type)
            else pa.field(field.name, kind)
            for field, kind in kinds
            if kind is not None
        ]
    )


def open_file(path: str) -> "pq.ParquetFile":
    """Open a Parquet file.

    Raises:
        BadData: it is not a Parquet file, or it is truncated.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, memory_map=True)
    except pa.ArrowInvalid as error:
        raise BadData(f"{path} is not a complete Parquet file: {error}") from error


def scan(path: str) -> tuple["pa.Schema", int, tuple[str, ...]]:
    """Return the columns that can be metadata, the number of rows, and notes on columns that are left out."""
    with open_file(path) as file:
        stored = file.schema_arrow.empty_table().flatten().schema
        names = stored.names
        if twice := [name for place, name in enumerate(names) if name in names[:place]]:
            raise BadData(f"{path}: two columns are named {twice[0]!r}: rename one of them")
        types = {field.name: plain_type(field.type) for field in stored}
        kept = typed(stored)
        notes = tuple(
            f"column {field.name} is left out: metadata cannot have the type {field.type}"
            for field in stored
            if types[field.name] is None
        )
        return kept, file.metadata.num_rows, notes


def read(path: str, schema: "pa.Schema", report: Report) -> Iterator["pa.RecordBatch"]:
    """Yield the named columns with the given types; a stored file has no bad rows, so none is reported."""
    with open_file(path) as file:
        yield from (convert(batch, schema) for batch in file.iter_batches(_ROWS, columns=schema.names))


def convert(batch: "pa.RecordBatch", schema: "pa.Schema") -> "pa.RecordBatch":
    """Cast the columns of a stored batch to those of a schema."""
    import pyarrow as pa

    table = pa.Table.from_batches([batch]).flatten()
    arrays = [converted(table.column(f.name), f.type).combine_chunks() for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
