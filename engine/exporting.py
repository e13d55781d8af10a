"""Exports: items and vectors as Parquet, npy or a FAISS index."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from quiver.engine.core.sql import Sql, present
from quiver.engine.storage.scanning import Scan
from quiver.errors import BadSpec
from quiver.files import staged
from quiver.indexers._faiss import first
from quiver.types import Floats

#: Formats by suffix.
SUFFIXES = (".parquet", ".npy", ".faiss")
_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        files: the files.
        items: number of items.
        space: the space of the vectors of an npy or FAISS file; None for Parquet.
    """

    files: tuple[str, ...]
    items: int
    space: str | None = None


def export(
    path: str | Path, scan: Callable[[Sequence[str] | None], Scan], spaces: Sequence[str], *, factory: str
) -> Exported:
    """Write a scan to a file: see ``Collection.export``.

    Args:
        path: the file.
        scan: returns a scan of all items with the vectors of some spaces, None for all.
        spaces: the named space, or none.
        factory: FAISS factory string.

    Raises:
        BadSpec: the suffix is unknown, or there is not one space.
    """
    target = Path(os.path.expanduser(path))
    if target.suffix.lower() not in SUFFIXES:
        raise BadSpec(f"{target}: an export is {', '.join(SUFFIXES)} by its suffix, not {target.suffix or 'none'}")
    if target.suffix.lower() == ".parquet":
        with staged(target) as fresh:
            return Exported((str(target),), _write_rows(fresh, scan(spaces or None), None))
    found = scan(spaces or None)
    if len(found.vectors) != 1:
        raise BadSpec(
            f"{target.suffix} takes the vectors of one space, and here are {len(found.vectors)}:"
            f" {', '.join(found.vectors) or 'none'}; name one with space="
        )
    ((name, column),) = found.vectors.items()
    where = present(column.name) if found.where is None else Sql(f"({found.where}) AND {present(column.name)}")
    only = Scan(found.table, found.names, found.vectors, where)
    beside = target.with_suffix(".parquet")
    if beside.exists() and not target.exists():  # not the table of an earlier export to this name
        raise BadSpec(f"{target}: its table would replace {beside}, which is there: move that, or choose another name")
    data: list[Floats] = []
    with staged(beside) as table:  # takes its place after the vectors, and not at all if they cannot be written
        count = _write_rows(table, only, (name, data))
        matrix = np.concatenate(data) if data else np.empty((0, column.space.dim), np.float32)
        if target.suffix.lower() == ".npy":
            with staged(target) as fresh, open(fresh, "wb") as file:
                np.save(file, matrix)
        else:
            _write_faiss(target, matrix, factory, column.space.metric)
    return Exported((str(target), str(beside)), count, column.space.name)


def _write_rows(path: Path, scan: Scan, apart: tuple[str, list[Floats]] | None) -> int:
    """Write rows as Parquet; the vectors of a space that is ``apart`` are appended to its list instead."""
    import pyarrow.parquet as pq

    kept = [each for each in scan.schema if apart is None or each.name != apart[0]]
    schema = pa.schema(kept)
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for batch in _batches(scan, apart):
            writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
            count += len(batch)
    return count


def _batches(scan: Scan, apart: tuple[str, list[Floats]] | None) -> Iterator[pa.RecordBatch]:
    for batch in scan.batches(_ROWS):
        if apart is None:
            yield batch
            continue
        name, data = apart
        values = batch.column(name)
        data.append(values.flatten().to_numpy().reshape(len(batch), -1))
        yield batch.drop_columns([name])


def _write_faiss(path: Path, data: Floats, factory: str, metric: str) -> None:
    """Build an index and write it; vectors of a cosine space get unit length, and are compared by inner product.

    Raises:
        BadSpec: FAISS refuses the factory string, or there are too few vectors for it.
    """
    import faiss

    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    if metric == "cosine":
        lengths = np.linalg.norm(data, axis=1, keepdims=True)
        data = np.ascontiguousarray(data / np.maximum(lengths, 1e-30), np.float32)
    try:
        index: Any = faiss.index_factory(data.shape[1], factory, kind)
        if not index.is_trained:
            index.train(data)
        index.add(data)
    except RuntimeError as error:
        raise BadSpec(f"FAISS cannot build factory={factory!r} of {len(data):,} vectors: {first(error)}") from error
    with staged(path) as fresh:
        faiss.write_index(index, str(fresh))
