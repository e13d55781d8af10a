"""The k best of many vectors, exactly: float32 products find the candidates, float64 settles them.

A float32 product is off by no more than a bound that grows with the width (Higham 2002, section 3.1). Rows within
twice that bound of the k-th best product are candidates; they are scored again in float64, rounded to float32 and
ordered by score, then by row number. So the answer does not depend on tiles, batches, threads or the device.

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

from quiver.types import Floats, Metric, Rows

#: Products held at a time: 16 MiB, near enough to the caches.
PRODUCTS = 1 << 22
_QUERIES = 256
_SPARE = 32  # candidates beyond k that usually save looking at the products again
_PAIRS = 1 << 17  # float64 numbers gathered at a time: larger temporaries cost more in page faults than in sums
#: Relative rounding of the factors, where torch was told to be less exact than float32.
_ROUNDING = {"highest": 0.0, "high": 2.0**-9, "medium": 2.0**-6}


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
    data = tensor(vectors)
    return Tile(rows, data, torch.linalg.vector_norm(data, dim=1))


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


def pairs(metric: Metric, queries: Tensor, vectors: Tensor) -> Tensor:
    """Score query i against vector i: two (c, dim) tensors to (c,) float32, computed in float64."""
    asked, held = queries.double(), vectors.double()
    if metric == "l2":
        return (0 - (held - asked).square().sum(1)).float()  # 0 - 0 is 0, not -0
    dots = (held * asked).sum(1)
    if metric == "dot":
        return dots.float()
    lengths = torch.linalg.vector_norm(held, dim=1) * torch.linalg.vector_norm(asked, dim=1)
    return torch.where(lengths > 0, dots / lengths, 0.0).float()


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
        exact = torch.from_numpy(queries).double()
        length = torch.linalg.vector_norm(exact, dim=1, keepdim=True)
        if metric == "cosine":
            exact, length = exact / torch.where(length > 0, length, 1.0), torch.ones_like(length)
        self.exact, self.asked, self.length = exact, exact.float(), length[:, 0].float()
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
        else:
            product = asked @ tile.vectors.T
        if self.metric == "cosine":
            product *= torch.where(tile.lengths > 0, 1 / tile.lengths, 0.0)
        return product if tile.allowed is None else product.masked_fill_(~tile.allowed, -torch.inf)

    def _reached(self, device: torch.device) -> Tensor:
        """Return (q,) what a product must reach to change the answer so far."""
        worst = torch.from_numpy(self.scores[:, -1].copy())
        return (worst + self.length.square() if self.metric == "l2" else worst).to(device)

    def _slack(self, tile: Tile) -> Tensor:
        """Return (q,) twice the largest error a product may have."""
        unit = (tile.vectors.shape[1] + 8) * 2.0**-24 + _ROUNDING[torch.get_float32_matmul_precision()]
        length, longest = self.length.to(tile.vectors.device), tile.lengths.max()
        if self.metric == "l2":
            return 4 * unit * (length + longest).square()
        return 2 * unit * (length * longest if self.metric == "dot" else length)

    def _settle(self, tile: Tile, query: Tensor, position: Tensor) -> Floats:
        exact, parts = self.exact.to(tile.vectors.device), []
        step = max(1, _PAIRS // tile.vectors.shape[1])
        for asked, held in zip(query.split(step), position.split(step), strict=True):
            parts.append(pairs(self.metric, exact[asked], tile.vectors[held]).cpu().numpy())
        return np.concatenate(parts)
