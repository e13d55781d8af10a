"""Bodies as Arrow streams: vectors of searches and of items without JSON, and answers as tables.

A stream is read whole, within the limit of a body. Its schema may have a note of JSON, under the key ``quiver``: the
words that its rows share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from quiver.engine.execution import output
from quiver.engine.execution.plan import Result
from quiver.engine.server.answers import Links
from quiver.engine.server.asked import Asked
from quiver.engine.server.problems import Problem
from quiver.types import Floats, Hit

#: Where a schema has the words that its rows share, and the column of vectors.
NOTE, VECTOR = b"quiver", "vector"


def read(body: bytes, most: int) -> tuple[pa.Table, dict[str, Any]]:
    """Read a stream, and the note of its schema.

    Args:
        body: the bytes.
        most: largest number of rows.

    Raises:
        Problem: it is no Arrow stream, is empty, or has too many rows.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
            table = _table(stream, most)
            table.validate(full=True)
        note = msgspec.json.decode((table.schema.metadata or {}).get(NOTE, b"{}"))
    except (pa.ArrowException, OSError, msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Problem(400, f"the body is no Arrow stream: {str(error)[:200]}", kind="bad-arrow") from None
    if not isinstance(note, dict):
        raise Problem(422, "the note of the schema is a JSON object", kind="bad-body")
    if not len(table):
        raise Problem(422, "an Arrow stream has at least one row", kind="bad-body")
    if len(set(table.schema.names)) < len(table.schema.names):
        raise Problem(422, "the columns of an Arrow stream have different names", kind="bad-body")
    return table, note


def _table(stream: pa.RecordBatchReader, most: int) -> pa.Table:
    batches, rows = [], 0
    for batch in stream:
        rows += len(batch)
        if rows > most:
            raise Problem(422, f"a request has at most {most:,} rows: send less at once", limit=most)
        batches.append(batch)
    return pa.Table.from_batches(batches, stream.schema)


def vectors(table: pa.Table) -> Floats:
    """Return the column ``vector``: (n, dim) float32.

    Raises:
        Problem: there is none, or its rows differ in length.
    """
    wrong = Problem(
        422, f"the column {VECTOR!r} is a fixed-size list of float32, with a value in each row", kind="bad-body"
    )
    if VECTOR not in table.schema.names:
        raise wrong
    column = table[VECTOR].combine_chunks()
    kind = column.type
    if not pa.types.is_fixed_size_list(kind) or not pa.types.is_floating(kind.value_type) or column.null_count:
        raise wrong
    flat = column.flatten()
    if flat.null_count or not kind.list_size:
        raise wrong
    return flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(len(table), kind.list_size)


def answer(results: Sequence[Result], asked: Sequence[Asked], links: Links) -> bytes:
    """Return answers as a stream: ``query`` (the place of the query), id, score, media as links, metadata by type.

    The note of the schema has ``version`` and ``partial`` of each query.
    """
    hits: list[Hit] = []
    places: list[int] = []
    types: dict[str, pa.DataType] = {}
    for place, (result, one) in enumerate(zip(results, asked, strict=True)):
        known = getattr(result.hits, "types", {})
        types |= {name: kind for name, kind in known.items() if _wanted(name, one)}
        found = [_shown(hit, one, links) for hit in result.hits]
        hits += found
        places += [place] * len(found)
    table = output.to_arrow(hits, types)  # one for all: a table for each answer takes longer than the search
    names = ["meta_query" if name == "query" else name for name in table.schema.names]
    table = table.rename_columns(names).add_column(0, "query", pa.array(places, pa.int64()))
    told = [{"version": each.plan.version, "partial": each.partial, "notes": each.plan.notes} for each in results]
    return write(table, {"queries": told})


def _wanted(column: str, asked: Asked) -> bool:
    return asked.meta is True or (asked.meta is not False and column in asked.meta)


def _shown(hit: Hit, asked: Asked, links: Links) -> Hit:
    """Return a hit with links instead of paths, and the metadata that were asked for."""
    meta = hit.meta if asked.meta is True else {name: hit.meta[name] for name in hit.meta if _wanted(name, asked)}
    return replace(hit, media=links.media(hit.id, hit.media), meta=meta)


def write(table: pa.Table, note: Mapping[str, Any]) -> bytes:
    """Return a table as a stream, with a note in its schema."""
    held = pa.BufferOutputStream()
    noted = table.replace_schema_metadata({NOTE: msgspec.json.encode(note)})
    with pa.ipc.new_stream(held, noted.schema) as stream:
        stream.write_table(noted)
    found: bytes = held.getvalue().to_pybytes()
    return found
