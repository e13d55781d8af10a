"""The k best of vectors on a GPU, as exactly as ``_topk`` finds them on the CPU; by torch.

Shapes: q queries, t vectors of a tile, c candidates, dim the width of the space.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quiver.indexers._bounds import FAINT, faint, gamma
from quiver.indexers._score import Doubles, prepared, settled_on
from quiver.indexers._topk import ranked
from quiver.types import Floats, Metric, Rows

#: Products held at a time: 16 MiB.
_PRODUCTS = 1 << 22
_QUERIES = 256
_SPARE = 32  # candidates beyond k that usually save looking at the products again
#: Relative rounding of the factors, where torch was told to be less exact than float32.
_ROUNDING = {"highest": 0.0, "high": 2.0**-8, "medium": 2.0**-6}
#: Below this share of allowed rows they are gathered, above it the others are masked.
_GATHER = 0.25
_PAIRS = 1 << 17  # numbers scored at a time


def there() -> bool:
    """Tell whether torch sees a GPU."""
    return torch.cuda.is_available()


class Gpu:
    """Vectors on the GPU.

    Args:
        metric: how they are compared.
        rows: (n,) row numbers.
        data: (n, dim) float32.
        lengths: (n,) float32.
        device: of torch; the CPU gives the same answers.
    """

    def __init__(self, metric: Metric, rows: Rows, data: Floats, lengths: Floats, device: str = "cuda") -> None:
        self.metric: Metric = metric
        self.rows, self.device = rows, device
        self.data, self.lengths = tensor(data).to(device), tensor(lengths).to(device)

    def search(self, queries: Floats, k: int, positions: Rows | None) -> tuple[Floats, Rows]:
        """Find the k best rows of each query among all or some positions; as ``_topk.best``."""
        blocks = [_Block(self.metric, queries[at : at + _QUERIES], k) for at in range(0, len(queries), _QUERIES)]
        for tile in self._tiles(positions, max(1024, _PRODUCTS // min(len(queries), _QUERIES))):
            for block in blocks:
                block.look(tile)
        return np.concatenate([block.scores for block in blocks]), np.concatenate([block.rows for block in blocks])

    def score(self, asked: Doubles, positions: Rows) -> Floats:
        """Score (q, dim) queries that ``prepared`` gave against some positions: (q, m) float32."""
        scores = np.empty((len(asked), len(positions)), np.float32)
        ours = torch.from_numpy(asked).to(self.device)
        step = max(1, _PAIRS // self.data.shape[1])
        for at in range(0, len(positions), step):
            held = self.data[tensor(positions[at : at + step]).to(self.device)]
            for line, query in zip(scores, ours, strict=True):
                line[at : at + step] = settled_on(self.metric, query[None], held)
        return scores

    def _tiles(self, positions: Rows | None, size: int) -> Iterator["_Tile"]:
        if positions is not None and len(positions) <= _GATHER * len(self.rows):
            for at in range(0, len(positions), size):
                some = positions[at : at + size]
                here = tensor(some).to(self.device)
                yield _Tile(self.rows[some], self.data[here], self.lengths[here])
            return
        allowed = None
        if positions is not None:
            allowed = torch.zeros(len(self.rows), dtype=torch.bool, device=self.device)
            allowed[tensor(positions).to(self.device)] = True
        for at in range(0, len(self.rows), size):
            part = slice(at, at + size)
            kept = None if allowed is None else allowed[part]
            yield _Tile(self.rows[part], self.data[part], self.lengths[part], kept)


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """Some of the vectors: (t,) row numbers, (t, dim) float32, (t,) lengths, (t,) bool which may be found or None."""

    rows: Rows
    vectors: Tensor
    lengths: Tensor
    allowed: Tensor | None = None


def tensor(array: NDArray[Any]) -> Tensor:
    """View an array as a tensor; torch warns of read-only memory, but nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


class _Block:
    """Queries asked together, and the best rows found so far."""

    def __init__(self, metric: Metric, queries: Floats, k: int) -> None:
        self.metric: Metric = metric
        self.exact = prepared(metric, queries)
        self.asked = torch.from_numpy(self.exact.astype(np.float32))
        self.length = torch.from_numpy(np.sqrt(np.square(self.exact).sum(1)).astype(np.float32))
        self.scores: Floats = np.full((len(queries), k), -np.inf, np.float32)
        self.rows: Rows = np.full((len(queries), k), -1, np.int64)

    def look(self, tile: _Tile) -> None:
        """Take in what a tile has to offer."""
        if not len(tile.rows):
            return
        query, position = self._candidates(tile)
        found = self._settle(tile, query, position)
        old_query, old_rank = np.nonzero(self.rows >= 0)
        self.scores, self.rows = ranked(
            np.concatenate([old_query, query.cpu().numpy()]),
            np.concatenate([self.scores[old_query, old_rank], found]),
            np.concatenate([self.rows[old_query, old_rank], tile.rows[position.cpu().numpy()]]),
            self.scores.shape,
        )

    def _candidates(self, tile: _Tile) -> tuple[Tensor, Tensor]:
        """Return (c,) query numbers and (c,) positions in the tile that may be among the k best."""
        product = self._product(tile)
        k, size = min(self.scores.shape[1], len(tile.rows)), len(tile.rows)
        top = product.topk(min(k + _SPARE, size), dim=1)
        floor = torch.maximum(top.values[:, k - 1], self._reached(product.device)) - self._slack(tile)
        near = (top.values >= floor[:, None]) & top.values.isfinite()
        # Where even the last of the spare ones is near, there may be more: ties, or vectors much alike.
        crowded = near[:, -1] if top.values.shape[1] < size else torch.zeros_like(near[:, -1])
        query, rank = (near & ~crowded[:, None]).nonzero(as_tuple=True)
        position = top.indices[query, rank]
        if not crowded.any():
            return query, position
        again = crowded.nonzero()[:, 0]
        wide = product[again]
        line, place = ((wide >= floor[again, None]) & wide.isfinite()).nonzero(as_tuple=True)
        return torch.cat([query, again[line]]), torch.cat([position, place])

    def _product(self, tile: _Tile) -> Tensor:
        """Return (q, t) float32 that orders the vectors as their scores do, -inf for those not allowed."""
        asked = self.asked.to(tile.vectors.device)
        if self.metric == "l2":  # without the query's own square, which changes no order
            product = torch.addmm(-tile.lengths.square(), asked, tile.vectors.T, alpha=2)
        elif self.metric == "dot":
            product = asked @ tile.vectors.T
        else:
            product = self._cosine(tile)
        return product if tile.allowed is None else product.masked_fill_(~tile.allowed, -torch.inf)

    def _cosine(self, tile: _Tile) -> Tensor:
        """Return (q, t) float32 products with vectors of unit length."""
        lengths = tile.lengths
        if bool(((lengths > 0) & (lengths < FAINT)).any()):  # products of float32 would underflow
            vectors = tile.vectors.double()
            exact = torch.from_numpy(self.exact).to(vectors.device)
            size = torch.linalg.vector_norm(vectors, dim=1)
            return (exact @ (vectors / torch.where(size > 0, size, 1.0)[:, None]).T).float()
        product = self.asked.to(tile.vectors.device) @ tile.vectors.T
        product *= torch.where(lengths > 0, 1 / lengths, 0.0)
        return product

    def _reached(self, device: torch.device) -> Tensor:
        """Return (q,) what a product must reach to change the answer so far."""
        worst = torch.from_numpy(self.scores[:, -1].copy())
        return (worst + self.length.square() if self.metric == "l2" else worst).to(device)

    def _slack(self, tile: _Tile) -> Tensor:
        """Return (q,) twice the largest error a product may have: 2 E of ``_bounds``."""
        width = tile.vectors.shape[1]
        unit = gamma(width + 8) + _ROUNDING[torch.get_float32_matmul_precision()]
        length, longest = self.length.to(tile.vectors.device), tile.lengths.max()
        if self.metric == "cosine":
            return 2 * unit * length
        lost = 4 * faint(width) * (1 + length + longest)
        if self.metric == "l2":
            return 4 * unit * (length + longest).square() + lost
        return 2 * unit * length * longest + lost

    def _settle(self, tile: _Tile, query: Tensor, position: Tensor) -> Floats:
        exact, parts = torch.from_numpy(self.exact).to(tile.vectors.device), [np.empty(0, np.float32)]
        step = max(1, _PAIRS // tile.vectors.shape[1])
        for asked, held in zip(query.split(step), position.split(step), strict=True):
            parts.append(settled_on(self.metric, exact[asked], tile.vectors[held]))
        return np.concatenate(parts)
