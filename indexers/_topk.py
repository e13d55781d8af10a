"""The k best of many vectors, exactly: float32 products find the candidates, which are then settled.

Rows whose product is within twice its largest error of the k-th best are candidates (the bound is proven in
``_bounds``); they are scored again by ``_score``, and ordered by score, then by row number. So the answer does not
depend on tiles, batches, threads or the processor. ``_gpu`` does the same for vectors on a GPU.

Shapes: q queries, t vectors of a tile, c candidates, dim the width of the space.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quiver.indexers._bounds import FAINT, faint, gamma
from quiver.indexers._check import euclidean
from quiver.indexers._score import Doubles, prepared, settled
from quiver.types import Floats, Metric, Rows

#: Rows of a tile: enough for a call of numpy to pay, few enough for its products to stay in the caches.
_ROWS, _PRODUCTS = 1 << 14, 1 << 19
_QUERIES = 256
_SPARE = 64  # candidates of a query, beyond a few times k, that cost less than to narrow them down
_BLOCK = 32  # products whose largest stands for them when the k-th largest is bounded from below
_LEAST = -1e38  # below every product, and above those of rows that may not be found


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Some of the vectors searched.

    Attributes:
        rows: (t,) int64 row numbers.
        vectors: (t, dim) float32.
        lengths: (t,) float32 Euclidean lengths.
        allowed: (t,) bool, which of them may be found; None for all.
    """

    rows: Rows
    vectors: Floats
    lengths: Floats
    allowed: NDArray[np.bool_] | None = None


def width(queries: int) -> int:
    """Return how many vectors a tile should have when so many queries are asked together."""
    return max(_ROWS, _PRODUCTS // max(1, min(queries, _QUERIES)))


def measured(rows: Rows, vectors: Floats) -> Tile:
    """Make a tile of vectors whose lengths are not known yet."""
    return Tile(rows, vectors, euclidean(vectors))


def best(metric: Metric, queries: Floats, tiles: Iterable[Tile], k: int) -> tuple[Floats, Rows]:
    """Find the k best rows of each query, lower row numbers first among equals.

    Args:
        metric: what larger is better means; l2 gives minus the squared distance.
        queries: (q, dim) float32, finite.
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
    if np.logical_and.reduce(scores[:, 1:] < scores[:, :-1], axis=None):
        return scores, rows
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
        self.asked: Floats = self.exact.astype(np.float32)
        self.square: Doubles = np.square(self.exact).sum(1)
        self.scores: Floats = np.full((len(queries), k), -np.inf, np.float32)
        self.rows: Rows = np.full((len(queries), k), -1, np.int64)

    def look(self, tile: Tile) -> None:
        """Take in what a tile has to offer."""
        if not len(tile.rows):
            return
        query, position = self._candidates(tile)
        found = settled(self.metric, self.exact, tile.vectors, query=query, place=position)
        old_query, old_rank = np.nonzero(self.rows >= 0)
        self.scores, self.rows = ranked(
            np.concatenate([old_query, query]),
            np.concatenate([self.scores[old_query, old_rank], found]),
            np.concatenate([self.rows[old_query, old_rank], tile.rows[position]]),
            self.scores.shape,
        )

    def _candidates(self, tile: Tile) -> tuple[Rows, Rows]:
        """Return (c,) query numbers and (c,) positions in the tile that may be among the k best."""
        product, slack = self._product(tile), self._slack(tile)
        k, (count, size) = self.scores.shape[1], product.shape
        floor = self._reached() - slack
        if size > k and (self.rows[:, -1] < 0).any():  # as before the first tile
            floor = np.maximum(floor, _kth(product, k) - slack)
        near = self._near(product, floor)
        if size > k and len(near) > count * (4 * k + _SPARE):
            near = self._near(product, np.maximum(floor, _kth(product, k) - slack))
        query, position = np.divmod(near, size)
        return query, position

    def _near(self, product: Floats, floor: Doubles) -> Rows:
        """Return the flat positions of products that reach the (q,) floor of their query."""
        least = np.nextafter(np.maximum(floor, _LEAST).astype(np.float32), np.float32(-np.inf))
        return np.flatnonzero(product >= least[:, None])

    def _product(self, tile: Tile) -> Floats:
        """Return (q, t) float32 that orders the vectors as their scores do, -inf for those not allowed."""
        if self.metric == "l2":  # without the query's own square, which changes no order
            product = (2 * self.asked) @ tile.vectors.T
            product -= np.square(tile.lengths)
        elif self.metric == "dot":
            product = self.asked @ tile.vectors.T
        else:
            product = self._cosine(tile)
        if tile.allowed is not None:
            np.copyto(product, -np.inf, where=~tile.allowed)
        return product

    def _cosine(self, tile: Tile) -> Floats:
        """Return (q, t) float32 products with vectors of unit length."""
        lengths = tile.lengths
        if ((lengths > 0) & (lengths < FAINT)).any():  # products of float32 would underflow
            vectors = tile.vectors.astype(np.float64)
            size = np.sqrt(np.square(vectors).sum(1))
            return np.asarray(self.exact @ (vectors / (size + (size == 0))[:, None]).T, np.float32)
        product = self.asked @ tile.vectors.T
        product *= np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return product

    def _reached(self) -> Doubles:
        """Return (q,) what a product must reach to change the answer so far."""
        worst = self.scores[:, -1].astype(np.float64)
        return worst + self.square if self.metric == "l2" else worst

    def _slack(self, tile: Tile) -> Doubles:
        """Return (q,) twice the largest error a product may have: 2 E of ``_bounds``."""
        dim = tile.vectors.shape[1]
        unit, length, longest = gamma(dim + 8), np.sqrt(self.square), float(tile.lengths.max())
        if self.metric == "cosine":
            return 2 * unit * length
        lost = 4 * faint(dim) * (1 + length + longest)
        if self.metric == "l2":
            return 4 * unit * np.square(length + longest) + lost
        return 2 * unit * length * longest + lost


def _kth(product: Floats, k: int) -> Doubles:
    """Return (q,) no more than the k-th largest product of each query, of more than k.

    Where there are many, by the k-th largest of the largest of blocks: fewer numbers to sort.
    """
    count, size = product.shape
    if size >= 4 * k * _BLOCK:
        whole = size // _BLOCK * _BLOCK
        product = product[:, :whole].reshape(count, -1, _BLOCK).max(2)
    place = product.shape[1] - k
    return np.partition(product, place, axis=1)[:, place].astype(np.float64)
