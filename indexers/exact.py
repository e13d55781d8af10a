"""Exact search, which compares every vector: the default for small collections and the reference for other indexes.

Scores are those of ``_score``: the same bits on every processor, alone or in a batch. Equal scores are ordered by row
number, lowest first. If a processor multiplies bytes faster than float32, and enough is asked of enough vectors, a copy
of a quarter of their size is searched first; a proven bound (``_bounds``) tells which rows have to be looked at in full
(``_scan``, and ``_lone`` for few queries). The README of this folder explains all of it on one page.

Torch multiplies the bytes, and searches vectors on a GPU. It is imported for these two only: small collections are
searched by numpy. Without torch, large ones are too, as exactly, and more slowly: over 300,000 x 512, one takes 45
instead of 19 ms, 8 take 155 instead of 57, and 256 take 0.75 instead of 0.26 s (CPU time of one thread, k = 10).
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from quiver.errors import BadCollection, BadSpec, optional
from quiver.files import write_arrays
from quiver.indexers import _check, _mapped
from quiver.indexers._rows import Recent, RowMap
from quiver.indexers._score import prepared, settled
from quiver.indexers._topk import Tile, best, width
from quiver.types import Floats, Rows, Space, Vectors

if TYPE_CHECKING:
    from quiver.indexers._allowed import Allowed
    from quiver.indexers._compact import Compact
    from quiver.indexers._gpu import Gpu
    from quiver.indexers._lone import Lone
    from quiver.indexers._scan import Scan

Device = Literal["auto", "cpu", "cuda"]

#: Below this share of allowed rows they are gathered, above it the others are masked: on two cores the two cost
#: the same at a quarter for one query, and at a half or more for a batch.
_GATHER = 0.25
_WORTH = 1 << 22  # numbers held, below which float32 products are as fast as the compact copy
_FEW = 1 << 19  # the same where a filter leaves so many of a larger index
_PATIENCE = 16  # queries answered without a compact copy: making it costs as much as that, and they may be the last
_PAIRS = 1 << 17  # numbers scored at a time
#: Version of the layout of a compact copy, as saved; as ``_compact`` says.
_LAYOUT = 3
#: Devices of drivers whose GPUs torch can use: where there are none, torch need not be asked.
_DRIVERS = ("nvidia[0-9]*", "kfd", "dxg")


def build(vectors: Vectors, *, device: Device = "auto") -> "ExactIndex":
    """Build an exact index; on the CPU it uses the given array without a copy, also if read-only or memory-mapped.

    Args:
        vectors: the vectors to search; their array must not change afterwards.
        device: ``cuda`` copies them to the GPU; ``auto`` does so where there is one, unless they are few.

    Raises:
        BadData: a vector is not finite, or a row number occurs twice.
        BadSpec: there is no such device.
    """
    data = np.ascontiguousarray(vectors.data, np.float32)
    lengths = _check.lengths(vectors)
    return _place(vectors.space, vectors.rows, data, lengths, device)


def open(path: Path, space: Space, *, device: Device = "auto") -> "ExactIndex":
    """Open what ``save`` wrote; on the CPU the file is memory-mapped.

    Raises:
        BadCollection: the file is missing or not an exact index.
        SpaceMismatch: it holds vectors of another space.
    """
    try:
        texts, arrays = _mapped.read(path)
        header = json.loads(texts.get("quiver", "{}"))
        _check.agree(header, space, path)
        rows, data, lengths = (arrays.pop(name) for name in ("rows", "data", "lengths"))
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise BadCollection(f"{path} is not an exact index: {error}") from error
    index = _place(space, rows, data, lengths, device)
    if header.get("compact") == _LAYOUT:
        index._past.saved = arrays
    return index


def _place(space: Space, rows: Rows, data: Floats, lengths: Floats, device: Device) -> "ExactIndex":
    gpu: Gpu | None = None
    if device == "cuda" or (device == "auto" and data.size >= _WORTH and _likely()):
        with optional():
            from quiver.indexers import _gpu
        if _gpu.there():
            gpu = _gpu.Gpu(space.metric, rows, data, lengths)
        elif device == "cuda":
            raise BadSpec("exact device=cuda: torch sees no GPU here; use device=cpu or auto")
    return ExactIndex(space, RowMap.of(rows), data, lengths, gpu)


@cache
def _torch() -> bool:
    """Tell whether torch is installed, without importing it."""
    return find_spec("torch") is not None


def _likely() -> bool:
    """Tell whether there may be a GPU that torch can use, without importing it."""
    devices = Path("/dev")
    return _torch() and (not devices.is_dir() or any(found for name in _DRIVERS for found in devices.glob(name)))


@dataclass(slots=True)
class _Past:
    """What was asked so far, what the last search took, how lone queries are answered, and a copy not yet read."""

    queries: int = 0
    last: "Scan | None" = None
    lone: "Lone | None" = None
    saved: dict[str, NDArray[Any]] | None = None
    making: threading.Lock = field(default_factory=threading.Lock)
    positions: Recent[Rows | None] = field(default_factory=Recent)
    allowed: "Recent[Allowed]" = field(default_factory=Recent)


@dataclass(frozen=True, eq=False)
class ExactIndex:
    """All vectors, in memory or memory-mapped; ``build`` and ``open`` make one.

    The compact copy is made when a few queries have been asked, or at once by asking for ``compact``; ``save`` keeps
    it where there is one.

    Attributes:
        space: the space of its vectors.
        numbers: their row numbers.
        data: (n, dim) float32.
        lengths: (n,) float32 Euclidean lengths.
        gpu: a copy of them on the GPU that searches go by; None for the CPU.
    """

    space: Space
    numbers: RowMap
    data: Floats
    lengths: Floats
    gpu: "Gpu | None" = None
    _past: _Past = field(default_factory=_Past, repr=False)

    @cached_property
    def compact(self) -> "Compact | None":
        """A copy in a quarter of the memory, which searches go by; None where numbers are too extreme for it.

        Raises:
            MissingExtra: torch, which makes it, is not installed.
        """
        with optional():
            from quiver.indexers._compact import compress, restore
            from quiver.indexers._gpu import tensor
        saved = self._past.saved
        if saved is not None:
            return restore(lambda name: tensor(saved[name]))
        return compress(self.space.metric, tensor(self.data), tensor(self.lengths)) if len(self) else None

    @property
    def last(self) -> "Scan | None":
        """What the last search took, None where it did not go by the compact copy."""
        return self._past.last

    @property
    def rows(self) -> Rows:
        """(n,) int64 row numbers in the order stored."""
        return self.numbers.rows

    @property
    def nbytes(self) -> int:
        """Bytes that vectors, lengths, row numbers, the compact copy, if made, and rows of recent filters take."""
        copy, saved = self._made(), (self._past.saved or {}).values()
        size = copy.nbytes if copy else sum(each.nbytes for each in saved)
        size += self._past.positions.nbytes + self._past.allowed.nbytes
        return self.data.nbytes + self.lengths.nbytes + self.rows.nbytes + size

    def __len__(self) -> int:
        return len(self.numbers)

    def search(self, queries: Floats, k: int, *, allow: Rows | None = None) -> tuple[Floats, Rows]:
        """Find the k best rows of each query; see ``quiver.protocols.Index``."""
        asked = _check.asked(queries, self.space, k)
        positions = None if allow is None else self._past.positions.of(allow, self._among)
        found = len(self) if positions is None else len(positions)
        k = min(k, found)
        if not k or not len(asked):
            return np.empty((len(asked), k), np.float32), np.empty((len(asked), k), np.int64)
        compact = self._copy(asked, k, found)
        if compact is not None:
            return self._scan(compact, asked, k, positions)
        self._past.last = None
        return self._compare(asked, k, positions)

    def _among(self, allow: Rows) -> Rows | None:
        positions = self.numbers.among(_check.allowed(allow))
        if positions is not None:
            positions.flags.writeable = False
        return positions

    def _made(self) -> "Compact | None":
        return self.__dict__.get("compact")

    def _copy(self, asked: Floats, k: int, found: int) -> "Compact | None":
        """Return the compact copy if it is the way to search, making it where that has become worthwhile."""
        if self.gpu or self.data.size < _WORTH or found * self.space.dim < _FEW or not _torch():
            return None
        past, compact = self._past, self._made()
        past.queries += len(asked)
        if compact is None and past.saved is None and past.queries < _PATIENCE:
            return None
        from quiver.indexers._query import swift
        from quiver.indexers._scan import fits

        if not fits(asked, k, found) or not (self._alone(asked, found) or swift(self.space.dim)):
            return None
        if compact is None and past.making.acquire(blocking=False):
            try:  # meanwhile other threads go on without
                compact = self.compact
            finally:
                past.making.release()
        return compact

    def _alone(self, asked: Floats, found: int) -> bool:
        """Tell whether each query is answered on its own."""
        from quiver.indexers._lone import able

        return able(len(asked), found, self.space.dim)

    def _compare(self, asked: Floats, k: int, positions: Rows | None) -> tuple[Floats, Rows]:
        if self.gpu is not None:
            return self.gpu.search(asked, k, positions)
        return best(self.space.metric, asked, self._tiles(positions, width(len(asked))), k)

    def _scan(self, compact: "Compact", asked: Floats, k: int, positions: Rows | None) -> tuple[Floats, Rows]:
        from quiver.indexers._gpu import tensor
        from quiver.indexers._lone import Lone
        from quiver.indexers._scan import Corpus, Scan, scan

        lone = self._past.lone = self._past.lone or Lone(self.space.metric, compact)
        allowed = None if positions is None else self._past.allowed.of(positions, lone.allowed)
        corpus = Corpus(self.space.metric, tensor(self.data), tensor(self.lengths), self.rows, compact, allowed)
        if self._alone(asked, len(self) if positions is None else len(positions)):
            answers = lone.search(corpus, asked, k)
            scores, rows = np.stack([each.scores for each in answers]), np.stack([each.rows for each in answers])
            lost, scored = np.array([not each.proven for each in answers]), sum(each.scored for each in answers)
        else:
            scores, rows, lost, scored = scan(corpus, asked, k)
        if lost.any():
            scores[lost], rows[lost] = self._compare(asked[lost], k, positions)
        self._past.last = Scan(len(self), len(asked), scored, int(lost.sum()))
        return scores, rows

    def score(self, queries: Floats, rows: Rows) -> Floats:
        """Score every query against the given rows.

        Args:
            queries: (q, dim) float32.
            rows: (m,) row numbers in any order.

        Returns:
            (q, m) float32, the same numbers that ``search`` gives.

        Raises:
            BadData: a row is not in the index.
        """
        asked = prepared(self.space.metric, _check.asked(queries, self.space, 1))
        positions = self.numbers.demand(rows)
        if self.gpu is not None:
            return self.gpu.score(asked, positions)
        scores = np.empty((len(asked), len(rows)), np.float32)
        step = max(1, _PAIRS // self.space.dim)
        for at in range(0, len(rows), step):
            held = self.data[positions[at : at + step]]
            for line, query in zip(scores, asked, strict=True):
                line[at : at + step] = settled(self.space.metric, query, held)
        return scores

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        copy = self._made()
        arrays = {"rows": self.rows, "data": self.data, "lengths": self.lengths}
        saved = {name: value.numpy() for name, value in copy.tensors().items()} if copy else self._past.saved or {}
        header = json.dumps(_check.header(self.space, {"compact": _LAYOUT} if saved else {}))
        write_arrays(Path(path), {**arrays, **saved}, header={"quiver": header})

    def _tiles(self, positions: Rows | None, size: int) -> Iterator[Tile]:
        if positions is not None and len(positions) <= _GATHER * len(self):
            for at in range(0, len(positions), size):
                some = positions[at : at + size]
                yield Tile(self.rows[some], self.data[some], self.lengths[some])
            return
        allowed = None if positions is None else self._mask(positions)
        for at in range(0, len(self), size):
            part = slice(at, at + size)
            kept = None if allowed is None else allowed[part]
            yield Tile(self.rows[part], self.data[part], self.lengths[part], kept)

    def _mask(self, positions: Rows) -> NDArray[np.bool_]:
        mask = np.zeros(len(self), bool)
        mask[positions] = True
        return mask
