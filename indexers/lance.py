"""An index inside a Lance dataset: on disk, larger than memory, and always as new as the dataset.

``build`` writes a dataset of its own; ``over`` and ``attach`` search a vector column of somebody else's, where row
numbers are Lance's row ids. Lance stops at the first partitions that fill k, so the fewer rows are allowed the more
partitions are asked for; it leaves out zero vectors under cosine, and gives infinite distances to rows it has not
looked at. Such answers are dropped, and a query answered short is answered by comparing every allowed row.
"""

import json
import math
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadCollection, BadData, BadSpec, MissingExtra, SpaceMismatch
from quiver.files import staged
from quiver.indexers import _check
from quiver.indexers._memory import PER_CENTROID, Memory
from quiver.indexers._rows import RowMap
from quiver.indexers._score import prepared, settled
from quiver.indexers._topk import Tile, best, measured, mend, ranked
from quiver.indexers._tune import Spend, rungs
from quiver.types import Floats, Rows, Space, Vectors

Kind = Literal["IVF_FLAT", "IVF_SQ", "IVF_PQ", "IVF_RQ", "IVF_HNSW_FLAT", "IVF_HNSW_SQ", "IVF_HNSW_PQ"]

#: Bytes per number of a code, by the end of a kind; of a row number, and of the links of a graph.
_CODES = {"FLAT": 4, "SQ": 1, "PQ": 0.25, "RQ": 0.625}
_ROW, _LINKS = 8, 200
_PARTITION = 4096  # rows of a partition, where Lance chooses
_WORKING = 200_000_000  # bytes it reads and sorts with
_REFINES = (1, 3, 10, 30)
_BATCH = 1 << 13  # vectors read at a time


@dataclass(frozen=True, slots=True)
class Params:
    """Search parameters.

    Attributes:
        nprobe: partitions to search; filters increase it.
        refine: candidates per hit that are rescored with the stored vectors.
        ef: length of the candidate list (IVF_HNSW kinds); None for Lance's choice.
        scan: up to so many rows that may be found are read and compared instead of looked for; by default what
            takes 4 ms either way (128 wide, local disk, one core).

    Raises:
        BadSpec: a parameter is not positive.
    """

    nprobe: int = 16
    refine: int = 4
    ef: int | None = None
    scan: int = 500

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and value < 1:
                raise BadSpec(f"lance {name} must be at least 1, not {value}")


def build(
    vectors: Vectors,
    *,
    kind: Kind = "IVF_RQ",
    partitions: int | None = None,
    nprobe: int = 16,
    refine: int = 4,
    ef: int | None = None,
    path: Path | None = None,
) -> "LanceIndex":
    """Write vectors to a dataset and index them.

    Args:
        vectors: the vectors to search.
        kind: Lance's name of the index type.
        partitions: number of partitions; None for Lance's choice.
        nprobe: see ``Params``, as the others.
        refine: see ``Params``.
        ef: see ``Params``.
        path: the dataset's folder, replaced if there; None for a temporary one that goes when the index does.

    Raises:
        BadSpec: Lance cannot build this kind.
        BadData: a vector is not finite, or a row number occurs twice.
    """
    params = Params(nprobe, refine, ef)
    _check.lengths(vectors)
    numbers = RowMap.of(vectors.rows)
    keep = _Folder() if path is None else None
    target = keep.path / "vectors.lance" if keep else Path(path or "")
    with staged(target, mark="_versions") as draft:
        _index(_write(vectors, params, draft), "vector", vectors.space, kind, partitions)
    return LanceIndex(_library().dataset(target), "vector", vectors.space, params, numbers, keep)


def open(path: Path, space: Space) -> "LanceIndex":
    """Open a dataset that ``build`` or ``save`` wrote.

    Raises:
        BadCollection: the folder is missing or not a Lance index of Quiver.
        SpaceMismatch: it holds vectors of another space.
    """
    try:
        dataset = _library().dataset(path)
        held = json.loads((dataset.schema.metadata or {})[b"quiver"])
        _check.agree(held, space, Path(path))
        rows = dataset.to_table(columns=["row"])["row"].to_numpy()
        return LanceIndex(dataset, "vector", space, Params(**held["params"]), RowMap.of(rows))
    except (BadSpec, OSError, ValueError, KeyError, TypeError) as error:
        raise BadCollection(f"{path} is not a Lance index of Quiver: {_first(error)}") from error


def over(
    dataset: Any,
    column: str,
    space: Space,
    *,
    kind: Kind = "IVF_RQ",
    partitions: int | None = None,
) -> "LanceIndex":
    """Index a vector column of a dataset, replacing the index it has; see ``build`` and ``attach``."""
    _column(dataset, column, space)
    _index(dataset, column, space, kind, partitions)
    return attach(dataset, column, space)


def memory(space: Space, count: int, *, kind: Kind = "IVF_RQ", partitions: int | None = None) -> Memory:
    """Estimate the memory of an index for a number of vectors: cached codes, training and sorting."""
    codes = next(share for name, share in _CODES.items() if kind.endswith(name)) * space.dim + _ROW
    held = int(count * (codes + (_LINKS if "HNSW" in kind else 0)))
    parts = partitions or max(1, count // _PARTITION)
    return Memory(held, held + 2 * min(count, PER_CENTROID * parts) * space.dim * 4 + _WORKING)


def attach(dataset: Any, column: str, space: Space, *, params: Params | None = None) -> "LanceIndex":
    """Search a vector column of a dataset, by its index if it has one; row numbers are Lance's row ids.

    Rows whose vector is null are not part of the index. Rows written after the index was built are compared one by one.

    Args:
        dataset: a ``lance.LanceDataset``, at the version to search.
        column: a fixed-size list of ``space.dim`` float32.
        space: the space of its vectors.
        params: the search parameters.

    Raises:
        BadData: there is no such column.
        SpaceMismatch: its width is another, or its index was built for another metric.
    """
    _column(dataset, column, space)
    for held in _indices(dataset, column):
        metric = held.details.get("metric_type", space.metric).lower()
        if metric != space.metric:
            raise SpaceMismatch(
                f"index {held.name!r} of {dataset.uri} compares by {metric}, {space} by {space.metric}: rebuild it"
            )
    return LanceIndex(dataset, column, space, params or Params())


def _library() -> Any:
    try:
        import lance
    except ModuleNotFoundError as error:
        raise MissingExtra("pylance") from error
    return lance


def _first(error: Exception) -> str:
    """Return the message of a Lance error, without its source location."""
    return re.sub(r", /\S+:\d+:\d+$", "", str(error).split("\n")[0])


class _Folder:
    """A temporary folder that is removed with its last user."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="quiver-"))
        weakref.finalize(self, _vanish, self.path)


def _vanish(path: Path) -> None:
    """Remove a folder; again where a thread of Lance still wrote to it meanwhile."""
    for _ in range(5):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return


def _write(vectors: Vectors, params: Params, path: Path) -> Any:
    import pyarrow as pa

    lance, dim = _library(), vectors.space.dim
    header = json.dumps(_check.header(vectors.space, {"params": asdict(params)}))
    schema = pa.schema([("row", pa.int64()), ("vector", pa.list_(pa.float32(), dim))], {"quiver": header})

    def batches() -> Iterator[Any]:
        for at in range(0, len(vectors), _BATCH):
            flat = np.ascontiguousarray(vectors.data[at : at + _BATCH], np.float32).ravel()
            parts = [pa.array(vectors.rows[at : at + _BATCH]), pa.FixedSizeListArray.from_arrays(pa.array(flat), dim)]
            yield pa.record_batch(parts, schema=schema)

    # Stable ids count from 0 in the order written: they are positions.
    return lance.write_dataset(batches(), path, schema=schema, enable_stable_row_ids=True)


def _index(dataset: Any, column: str, space: Space, kind: Kind, partitions: int | None) -> None:
    if not dataset.count_rows(_present(column)):
        return  # nothing to train on, nothing to find
    parts = {"num_sub_vectors": _sub_vectors(space.dim)} if kind.endswith("PQ") else {}
    try:
        dataset.create_index(column, kind, metric=space.metric, num_partitions=partitions, replace=True, **parts)
    except (OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise BadSpec(f"lance {kind} cannot index {column!r} of {space}: {_first(error)}") from error


def _sub_vectors(dim: int) -> int:
    """Return the largest divisor of dim that makes a byte of 4 numbers or more, or 1."""
    return next(count for count in range(max(1, dim // 4), 0, -1) if dim % count == 0)


def _column(dataset: Any, column: str, space: Space) -> None:
    import pyarrow as pa

    if column not in dataset.schema.names:
        raise BadData(f"{dataset.uri} has no column {column!r}; it has {', '.join(dataset.schema.names)}")
    wanted, held = pa.list_(pa.float32(), space.dim), dataset.schema.field(column).type
    if not (pa.types.is_fixed_size_list(held) and (held.value_type, held.list_size) == (pa.float32(), space.dim)):
        raise SpaceMismatch(f"column {column!r} of {dataset.uri} has type {held}; {space} needs {wanted}")


def _indices(dataset: Any, column: str) -> list[Any]:
    """Return the descriptions of the indices on a vector column that know any row."""
    every = dataset.describe_indices()
    return [index for index in every if index.field_names == [column] and index.num_rows_indexed]


def _present(column: str) -> str:
    return f"`{column}` IS NOT NULL"


def _mask(ids: Rows) -> bytes:
    """Return row ids in the form Lance's scanner takes."""
    from lance.dataset import serialize_row_addrs

    return bytes(serialize_row_addrs(ids.tolist()))


@dataclass(frozen=True, eq=False)
class LanceIndex:
    """A vector column of a Lance dataset; ``build``, ``open``, ``over`` and ``attach`` make one.

    Attributes:
        dataset: the ``lance.LanceDataset``, fixed at one version.
        column: the name of the vector column.
        space: the space of its vectors.
        params: the search parameters.
        own: row numbers by Lance's row id, in a dataset of the index's own; None where row ids are the row numbers.
        keep: holds the dataset's temporary folder in place.
    """

    dataset: Any
    column: str
    space: Space
    params: Params
    own: RowMap | None = None
    keep: object = None

    @cached_property
    def numbers(self) -> RowMap:
        """Row numbers held; in a foreign dataset the column is read to find them, which searching does without."""
        if self.own is not None:
            return self.own
        found = self.dataset.scanner(columns=[], with_row_id=True, filter=_present(self.column)).to_table()
        return RowMap.of(found["_rowid"].to_numpy().astype(np.int64))

    @property
    def rows(self) -> Rows:
        """(n,) int64 row numbers in the order stored."""
        return self.numbers.rows

    @cached_property
    def nbytes(self) -> int:
        """Bytes on disk of vectors and index."""
        indices = sum(index.total_size_bytes for index in _indices(self.dataset, self.column))
        return len(self) * self.space.dim * 4 + self.rows.nbytes + int(indices)

    def __len__(self) -> int:
        return len(self.numbers)

    def tuned(self, params: Params) -> "LanceIndex":
        """Return the same index, to be searched with other parameters."""
        return replace(self, params=params)

    def search(self, queries: Floats, k: int, *, allow: Rows | None = None) -> tuple[Floats, Rows]:
        """Find the k best rows of each query; see ``quiver.protocols.Index``. Scores are those of stored vectors."""
        asked = _check.asked(queries, self.space, k)
        ids = None if allow is None else self._ids(_check.allowed(allow))
        most = len(self.own) if self.own is not None else self.dataset.count_rows()  # rows without a vector included
        count = most if ids is None else min(most, len(ids))
        k = min(k, count)
        if not k or not len(asked):
            return np.empty((len(asked), k), np.float32), np.empty((len(asked), k), np.int64)
        mask = None if ids is None else _mask(ids)
        if count <= max(self.params.scan, k * self.params.refine) or not self._indexed:
            scores, rows = self._compare(asked, k, mask)
        else:
            scores, rows = self._ask(asked, k, mask, most / count)
            mend((scores, rows), lambda short: self._compare(asked[short], k, mask))
        found = int((rows[0] >= 0).sum())  # short of k only where there are no more, and then for all queries alike
        return scores[:, :found], rows[:, :found]

    def ladders(self, k: int) -> list[list[Spend]]:
        """Return settings to try for k hits: ladders from cheap to expensive."""
        held = _indices(self.dataset, self.column)
        if not held:
            return [[{}]]
        os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")  # else it warns that it will leave them out
        stats = self.dataset.stats.index_stats(held[0].name)["indices"][0]
        kind, partitions = str(stats["index_type"]), int(stats["num_partitions"])
        if "HNSW" in kind:
            efs = rungs(1024, least=max(16, k))[::2]
            return [[{"nprobe": n, "refine": 2, "ef": ef} for ef in efs] for n in rungs(partitions)]
        refines = (1,) if kind == "IVF_FLAT" else _REFINES
        return [[{"nprobe": n, "refine": r} for n in rungs(partitions)] for r in refines]

    def save(self, path: Path) -> None:
        """Copy the dataset of an index that has its own.

        Raises:
            BadCollection: the index lives in a collection, and is saved with it.
        """
        if self.own is None:
            raise BadCollection(f"this index is a part of {self.dataset.uri}: copy that instead")
        if Path(path).resolve() == Path(self.dataset.uri).resolve():
            return
        with staged(Path(path), mark="_versions") as draft:
            shutil.copytree(self.dataset.uri, draft)

    @cached_property
    def _indexed(self) -> bool:
        return bool(_indices(self.dataset, self.column))

    def _ids(self, allow: Rows) -> Rows:
        return allow if self.own is None else self.own.locate(allow)

    def _ask(self, asked: Floats, k: int, mask: bytes | None, rarity: float) -> tuple[Floats, Rows]:
        """Ask Lance, for as many allowed rows as a search without a filter looks at.

        Growing with the square root of the rarity instead cost 5 points of recall@10 on tight clusters (20,000 x 64,
        a twentieth allowed), and Lance's own choice 15 on 100,000 SIFT vectors; both save a millisecond or two.
        """
        nearest = {
            "column": self.column,
            "q": asked,
            "k": k,
            "metric": self.space.metric,
            "minimum_nprobes": math.ceil(self.params.nprobe * rarity),
            "refine_factor": self.params.refine,
            "ef": None if self.params.ef is None else max(self.params.ef, k * self.params.refine),
        }
        found = self.dataset.scanner(
            columns=["_distance", self.column], with_row_id=True, nearest=nearest, row_addr_allowlist=mask
        ).to_table()
        kept = np.isfinite(found["_distance"].to_numpy())
        query, ids = found["query_index"].to_numpy().astype(np.int64), found["_rowid"].to_numpy().astype(np.int64)
        held = found[self.column].combine_chunks().flatten().to_numpy().reshape(-1, self.space.dim)
        own = prepared(self.space.metric, asked)
        scores = settled(self.space.metric, own, held, query=query[kept], place=np.flatnonzero(kept))
        return ranked(query[kept], scores, self._named(ids[kept]), (len(asked), k))

    def _named(self, ids: Rows) -> Rows:
        return ids if self.own is None else self.own.rows[ids]

    def _compare(self, asked: Floats, k: int, mask: bytes | None) -> tuple[Floats, Rows]:
        """Read the allowed vectors and score them all."""
        scanner = self.dataset.scanner(
            columns=[self.column], with_row_id=True, row_addr_allowlist=mask, batch_size=_BATCH
        )
        return best(self.space.metric, asked, map(self._tile, scanner.to_batches()), k)

    def _tile(self, batch: Any) -> Tile:
        column = batch.column(self.column)
        held: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
        ids = batch.column("_rowid").to_numpy().astype(np.int64)[held]
        return measured(self._named(ids), column.flatten().to_numpy().reshape(-1, self.space.dim))  # without nulls
