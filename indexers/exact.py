"""Every vector is compared: the default for small collections, and what every other index is measured against.

Answers are those of float64 arithmetic rounded to float32; among equal scores the lower row number comes first.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from quiver.errors import BadCollection, BadSpec
from quiver.indexers import _check
from quiver.indexers._file import staged
from quiver.indexers._rows import RowMap
from quiver.indexers._topk import Tile, best, pairs, tensor, width
from quiver.types import Floats, Rows, Space, Vectors

Device = Literal["auto", "cpu", "cuda"]

#: Below this share of allowed rows they are gathered, above it the others are masked: on two cores the two cost
#: the same at a quarter for one query, and at a half or more for a batch.
_GATHER = 0.25
_PAIRS = 1 << 17  # float32 numbers scored at a time


def build(vectors: Vectors, *, device: Device = "auto") -> "ExactIndex":
    """Make vectors searchable; on the CPU their array is used where it lies, read-only or memory-mapped alike.

    Args:
        vectors: what to search; their array must not change afterwards.
        device: ``cuda`` copies them to the GPU; ``auto`` does so where there is one.

    Raises:
        BadData: a vector is not finite, or a row number occurs twice.
        BadSpec: there is no such device.
    """
    data = np.ascontiguousarray(vectors.data, np.float32)
    lengths = _check.lengths(vectors)
    return _place(vectors.space, vectors.rows, tensor(data), torch.from_numpy(lengths), device)


def open(path: Path, space: Space, *, device: Device = "auto") -> "ExactIndex":
    """Open what ``save`` wrote; on the CPU the file is memory-mapped.

    Raises:
        BadCollection: the file is missing or not an exact index.
        SpaceMismatch: it holds vectors of another space.
    """
    try:
        with safe_open(path, framework="pt") as file:
            _check.agree(json.loads((file.metadata() or {}).get("quiver", "{}")), space, path)
            rows, data, lengths = (file.get_tensor(name) for name in ("rows", "data", "lengths"))
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise BadCollection(f"{path} is not an exact index: {error}") from error
    return _place(space, rows.numpy(), data, lengths, device)


def _place(space: Space, rows: Rows, data: Tensor, lengths: Tensor, device: Device) -> "ExactIndex":
    if device == "cuda" and not torch.cuda.is_available():
        raise BadSpec("exact device=cuda: torch sees no GPU here; use device=cpu or auto")
    where = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return ExactIndex(space, RowMap.of(rows), data.to(where), lengths.to(where))


@dataclass(frozen=True, eq=False)
class ExactIndex:
    """All vectors, in memory or memory-mapped; ``build`` and ``open`` make one.

    Attributes:
        space: the space of its vectors.
        numbers: their row numbers.
        data: (n, dim) float32.
        lengths: (n,) float32 Euclidean lengths.
    """

    space: Space
    numbers: RowMap
    data: Tensor
    lengths: Tensor

    @property
    def rows(self) -> Rows:
        """(n,) int64 row numbers in the order stored."""
        return self.numbers.rows

    @property
    def nbytes(self) -> int:
        """Bytes that vectors, lengths and row numbers take."""
        return self.data.nbytes + self.lengths.nbytes + self.rows.nbytes

    def __len__(self) -> int:
        return len(self.numbers)

    def search(self, queries: Floats, k: int, *, allow: Rows | None = None) -> tuple[Floats, Rows]:
        """Find the k best rows of each query; see ``quiver.protocols.Index``."""
        asked = _check.asked(queries, self.space, k)
        positions = None if allow is None else np.sort(self.numbers.locate(_check.allowed(allow)))
        k = min(k, len(self) if positions is None else len(positions))
        if not k or not len(asked):
            return np.empty((len(asked), k), np.float32), np.empty((len(asked), k), np.int64)
        return best(self.space.metric, asked, self._tiles(positions, width(len(asked))), k)

    def score(self, queries: Floats, rows: Rows) -> Floats:
        """Score every query against the given rows.

        Args:
            queries: (q, dim) float32.
            rows: (m,) row numbers in any order.

        Returns:
            (q, m) float32, the same numbers that ``search`` gives.

        Raises:
            BadData: a row is not held.
        """
        asked = torch.from_numpy(_check.asked(queries, self.space, 1))
        positions = torch.from_numpy(self.numbers.demand(rows)).to(self.data.device)
        scores = np.empty((len(asked), len(rows)), np.float32)
        step = max(1, _PAIRS // self.space.dim)
        for at in range(0, len(rows), step):
            held = self.data[positions[at : at + step]]
            for line, query in zip(scores, asked.to(held.device), strict=True):
                line[at : at + step] = pairs(self.space.metric, query[None], held).cpu().numpy()
        return scores

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        header = json.dumps(_check.header(self.space, {}))
        tensors = {"rows": torch.from_numpy(self.rows.copy()), "data": self.data, "lengths": self.lengths}
        with staged(Path(path)) as draft:
            save_file({name: value.cpu() for name, value in tensors.items()}, draft, {"quiver": header})

    def _tiles(self, positions: Rows | None, size: int) -> Iterator[Tile]:
        if positions is not None and len(positions) <= _GATHER * len(self):
            for at in range(0, len(positions), size):
                some = positions[at : at + size]
                here = torch.from_numpy(some).to(self.data.device)
                yield Tile(self.rows[some], self.data[here], self.lengths[here])
            return
        allowed = None if positions is None else self._mask(positions)
        for at in range(0, len(self), size):
            part = slice(at, at + size)
            kept = None if allowed is None else allowed[part]
            yield Tile(self.rows[part], self.data[part], self.lengths[part], kept)

    def _mask(self, positions: Rows) -> Tensor:
        mask = torch.zeros(len(self), dtype=torch.bool)
        mask[torch.from_numpy(positions)] = True
        return mask.to(self.data.device)
