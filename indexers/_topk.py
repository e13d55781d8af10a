"""The k best of many vectors, exactly: float32 products find the candidates, which are then settled.

Rows whose product is within twice its largest error of the k-th best are candidates (the bound is proven in
``_bounds``); they are scored again by ``_score``, and ordered by score, then by row number. So the answer does not
depend on tiles, batches, threads, the processor or the device.

Shapes: q queries, t vectors of a tile, c candidates, dim the width of the space.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quiver.indexers._bounds import FAINT, faint, gamma
from quiver.indexers._check import euclidean
from quiver.indexers._score import prepared, settled, settled_on
from quiver.types import Floats, Metric, Rows

#: Products held at a time: 16 MiB, near enough to the caches.
PRODUCTS = 1 << 22
_QUERIES = 256
_SPARE = 32  # candidates beyond k that usually save looking at the products again
#: Relative rounding of the factors, where torch was told to be less exact than float32.
_ROUNDING = {"highest": 0.0, "high": 2.0**-8, "medium": 2.0**-6}


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Some of the vectors searched.

    Attributes:
        rows: (t,) int64 row numbers.
        vectors: (t, dim) float32, on any device.
        lengths: (t,) float32 Euclidean lengths, on the same device.
        allowed: (t,) bool, which of them may be found; None for all.
    """

    rows: Rows
    vectors: Tensor
    lengths: Tensor
    allowed: Tensor | None = None


def width(queries: int) -> int:
    """Return how many vectors a tile should have when so many queries are asked together."""
    return max(1024, PRODUCTS // max(1, min(queries, _QUERIES)))


def tensor(array: NDArray[Any]) -> Tensor:
    """View an array as a tensor; torch warns of read-only memory, but nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


def measured(rows: Rows, vectors: Floats) -> Tile:
    """Make a tile of vectors whose lengths are not known yet."""
    return Tile(rows, tensor(vectors), tensor(euclidean(vectors)))


def best(metric: Metric, queries: Floats, tiles: Iterable[Tile], k: int) -> tuple[Floats, Rows]:
    """Find the k best rows of each query, lower row numbers first among equals.

    Args:
        metric: what larger is better means; l2 gives minus the squared distance.
        queries: (q, dim) float32, finite, writable.
        tiles: disjoint parts of the vectors.
        k: how many; tiles that allow fewer leave row -1 and score -inf at the end.

    Returns:
        scores (q, k) float32 and rows (q, k) int64.
    """
    blocks = [_Block(metric, queries[at : at + _QUERIES], k) for at in range(0, len(queries), _QUERIES)]
    for tile in tiles:
        for block in blocks:
            block.look(tile)
    return np.concatenate([block.scores for block in blocks]), np.concatenate([block.rows for block in blocks])


def ranked(query: NDArray[np.int64], scores: Floats, rows: Rows, shape: tuple[int, int]) -> tuple[Floats, Rows]:
    """Lay loose answers out as a table: best first, lower row first among equals, -inf and -1 where too few.

    Args:
        query: (c,) number of the query each answer belongs to.
        scores: (c,) its score.
        rows: (c,) its row number.
        shape: (q, k) of the table.
    """
    order = np.lexsort((rows, -scores, query))
    query = query[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    kept = rank < shape[1]
    table, names = np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
    table[query[kept], rank[kept]] = scores[order][kept]
    names[query[kept], rank[kept]] = rows[order][kept]
    return table, names


def untied(scores: Floats, rows: Rows) -> tuple[Floats, Rows]:
    """Order full tables that are all but ordered, lower row first among equals; (q, k) both, returned as they are else.

    The same table as ``ranked`` gives, without sorting all of it.
    """
    tied = (scores[:, 1:] == scores[:, :-1]) & (rows[:, 1:] > rows[:, :-1])
    right = tied | (scores[:, 1:] < scores[:, :-1])
    if not right.all():
        lines = np.flatnonzero(~right.all(axis=1))
        order = np.lexsort((rows[lines], -scores[lines]))
        scores[lines], rows[lines] = (np.take_along_axis(each[lines], order, 1) for each in (scores, rows))
    return scores, rows


def lacking(answer: tuple[Floats, Rows]) -> bool:
    """Tell whether any query was answered short."""
    return bool((answer[1][:, -1] < 0).any())


def mend(answer: tuple[Floats, Rows], how: Callable[[NDArray[np.bool_]], tuple[Floats, Rows]]) -> None:
    """Replace, in place, what queries that were answered short got: ``how`` is given the (q,) mask of them."""
    scores, rows = answer
    short = rows[:, -1] < 0
    if short.any():
        scores[short], rows[short] = how(short)


class _Block:
    """Queries asked together, and the best rows found so far."""

    def __init__(self, metric: Metric, queries: Floats, k: int) -> None:
        self.metric: Metric = metric
        self.exact = prepared(metric, queries)
        self.asked = torch.from_numpy(self.exact.astype(np.float32))
        self.length = torch.from_numpy(np.sqrt(np.square(self.exact).sum(1)).astype(np.float32))
        self.scores: Floats = np.full((len(queries), k), -np.inf, np.float32)
        self.rows: Rows = np.full((len(queries), k), -1, np.int64)

    def look(self, tile: Tile) -> None:
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

    def _candidates(self, tile: Tile) -> tuple[Tensor, Tensor]:
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

    def _product(self, tile: Tile) -> Tensor:
        """Return (q, t) float32 that orders the vectors as their scores do, -inf for those not allowed."""
        asked = self.asked.to(tile.vectors.device)
        if self.metric == "l2":  # without the query's own square, which changes no order
            product = torch.addmm(-tile.lengths.square(), asked, tile.vectors.T, alpha=2)
        elif self.metric == "dot":
            product = asked @ tile.vectors.T
        else:
            product = self._cosine(tile)
        return product if tile.allowed is None else product.masked_fill_(~tile.allowed, -torch.inf)

    def _cosine(self, tile: Tile) -> Tensor:
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

    def _slack(self, tile: Tile) -> Tensor:
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

    def _settle(self, tile: Tile, query: Tensor, position: Tensor) -> Floats:
        if tile.vectors.is_cuda:
            exact = torch.from_numpy(self.exact).to(tile.vectors.device)
            return settled_on(self.metric, exact[query], tile.vectors[position])
        held = tile.vectors.numpy()
        return settled(self.metric, self.exact, held, query=query.numpy(), place=position.numpy())
