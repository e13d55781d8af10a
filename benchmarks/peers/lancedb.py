"""LanceDB: flat search, and four of its on-disk indexes."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from quiver.benchmarks.peers import Allowed, Given, Knobs, Shape, Variant, powers
from quiver.types import Floats, Rows

PACKAGES = ("lancedb",)
SHARED = True  # two readers of one folder see each other's changes
_COMMIT = 1 << 16  # rows per write
_PROBES = (4, 16, 64)


def variants(shape: Shape) -> tuple[Variant, ...]:
    """Return indexes with LanceDB's default number of partitions, and PQ with eight dimensions per code."""
    refined = tuple({"nprobes": n, "refine": r} for n, r in product(_PROBES, (4, 16)))
    walked = tuple({"nprobes": n, "ef": ef} for n, ef in ((2, 30), (4, 60), (8, 120), (16, 250)))
    found = (
        Variant("flat", {"config": None}, exact=True),
        Variant("IVF_FLAT", {"config": "IvfFlat"}, tuple({"nprobes": n} for n in powers(1, 64))),
        Variant("IVF_PQ", {"config": "IvfPq", "num_sub_vectors": _parts(shape.dim)}, refined),
        Variant("IVF_RQ", {"config": "IvfRq"}, refined),
        Variant("IVF_HNSW_SQ", {"config": "IvfHnswSq"}, walked),
    )
    return tuple(each for each in found if each.name != "IVF_RQ" or shape.dim % 8 == 0)


def _parts(dim: int) -> int:
    return next(dim // each for each in (8, 7, 4, 2, 1) if dim % each == 0)


def build(given: Given, variant: Variant) -> None:
    """Write a table, and index its vectors and its filter columns."""
    import lancedb
    import pyarrow as pa
    from lancedb import index

    shape = given.shape
    columns = [pa.field("row", pa.int64()), *(pa.field(name, pa.int64()) for name in given.columns)]
    schema = pa.schema([*columns, pa.field("vector", pa.list_(pa.float32(), shape.dim))])
    table = lancedb.connect(str(given.folder)).create_table("vectors", schema=schema)
    table.add(pa.RecordBatchReader.from_batches(schema, _batches(given, schema)))
    for name in given.columns:
        table.create_index(name, config=index.BTree())
    options = dict(variant.options)
    if config := options.pop("config"):
        table.create_index("vector", config=getattr(index, config)(distance_type=shape.metric, **options))


def _batches(given: Given, schema: Any) -> Any:
    import pyarrow as pa

    for at in range(0, given.shape.rows, _COMMIT):
        part = np.ascontiguousarray(given.vectors[at : at + _COMMIT])
        numbers = {"row": np.arange(at, at + len(part))}
        numbers |= {name: column[at : at + len(part)] for name, column in given.columns.items()}
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), given.shape.dim)
        yield pa.RecordBatch.from_arrays([*map(pa.array, numbers.values()), vectors], schema=schema)


def open(folder: Path, variant: Variant, shape: Shape) -> "Lance":
    """Open the table."""
    import lancedb

    return Lance(lancedb.connect(str(folder)).open_table("vectors"), shape, exact=variant.exact)


class Lance:
    """A LanceDB table."""

    def __init__(self, table: Any, shape: Shape, *, exact: bool) -> None:
        self.table = table
        self.shape = shape
        self.exact = exact
        self.knobs: Knobs = {}

    def tune(self, knobs: Knobs) -> None:
        """Set nprobes, refine_factor or ef."""
        self.knobs = knobs

    def search(self, queries: Floats, k: int) -> Rows:
        """Search, many queries as one batch."""
        return self._ask(queries, k, None)

    def narrowed(self, queries: Floats, k: int, allowed: Allowed) -> Rows:
        """Search with an SQL prefilter."""
        return self._ask(queries, k, f"{allowed.column} < {allowed.below}")

    def _ask(self, queries: Floats, k: int, where: str | None) -> Rows:
        query = self.table.search(queries, vector_column_name="vector").limit(k).select(["row", "_distance"])
        if where is not None:
            query = query.where(where, prefilter=True)
        if self.exact:
            query = query.bypass_vector_index().distance_type(self.shape.metric)
        if "nprobes" in self.knobs:
            query = query.nprobes(self.knobs["nprobes"])
        if "refine" in self.knobs:
            query = query.refine_factor(self.knobs["refine"])
        if "ef" in self.knobs:
            query = query.ef(self.knobs["ef"])
        found = query.to_arrow()
        rows = found["row"].to_numpy()
        at = found["query_index"].to_numpy() if "query_index" in found.column_names else np.zeros(len(rows), np.int64)
        out = np.full((len(queries), k), -1, np.int64)
        for n in range(len(queries)):
            mine = rows[at == n][:k]
            out[n, : len(mine)] = mine
        return out

    def add(self, rows: Rows, vectors: Floats) -> None:
        """Add vectors; new rows are scanned exactly until the table is optimised, which is not done here."""
        import pyarrow as pa

        names = [name for name in self.table.schema.names if name not in ("row", "vector")]
        numbers = {"row": rows, **{name: rows for name in names}}
        data = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors).reshape(-1)), self.shape.dim)
        self.table.add(pa.table({**numbers, "vector": data}))

    def delete(self, rows: Rows) -> None:
        """Delete rows."""
        self.table.delete(f"row IN ({', '.join(map(str, rows.tolist()))})")
