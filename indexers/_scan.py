"""The k best of many vectors by way of their compact copy, and still exactly.

1. Products of one-byte numbers bound each row's score from below and above (``_compact``). The k-th largest lower bound
   is a floor: blocks of rows, and then single rows, whose upper bound is below it are out. Only a stretch of products
   is in memory at a time.
2. Every so often, and at the end, the k most promising candidates are scored in float32, which raises the floor; at
   the end, all that still reach it are.
3. What is left is settled (``_score``) and ordered by score, then by row number.

If rows and queries are whole numbers of one byte, the first products are exact, and nothing else is needed.

The bounds are those of the settled scores, with every rounding counted; ``_bounds`` proves them. Where they do not
tell rows apart, as among thousands of equal ones, a query is handed back to be answered by float32 products
throughout; ``Scan.widened`` counts those.

Codes are copied to a buffer that stays in the cache, to take away what was added to them, or because only some rows
may be found: multiplied there, they cost less than where they lie, as the products of oneDNN read several rows at once.

Shapes: q queries, t rows of a stretch, b its blocks, c candidates, dim the width of the space.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quiver.indexers._allowed import Allowed
from quiver.indexers._bounds import FLUSH, faint, gamma
from quiver.indexers._compact import BLOCK, Compact, mix
from quiver.indexers._query import Asked
from quiver.indexers._score import settled
from quiver.indexers._topk import ranked
from quiver.types import Floats, Metric, Rows

#: Products held at a time (4 MiB of int32), and bytes of codes.
_PRODUCTS, _BYTES = 1 << 20, 1 << 22
_QUERIES = 256
_NONE = -(2**31)
_FLIP = torch.tensor(-0x7F7F7F7F7F7F7F80)  # exclusive-ors 128 into each of eight bytes
_GATHER = 1 << 17  # numbers gathered at a time, so that they stay in the cache
_ROOM = 1 << 20  # candidates kept at a time
_LONGEST = 1e15  # a longer query may overflow float32
#: Rows of a query that may be candidates: more of them cost as much as looking at everything in float32.
_SHARE = 1 / 24


@dataclass(frozen=True, slots=True)
class Scan:
    """Statistics of one search.

    Attributes:
        rows: rows of the index.
        queries: number of queries.
        candidates: rows that were scored in full, all queries together.
        widened: queries that the bound did not narrow down, so that every row was scored in float32 for them.
    """

    rows: int
    queries: int
    candidates: int
    widened: int


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """The searched vectors.

    Attributes:
        metric: metric of comparison.
        data: (n, dim) float32, in memory or mapped.
        lengths: (n,) float32 Euclidean lengths.
        rows: (n,) int64 row numbers.
        compact: the copy of data.
        allowed: which rows of the copy may be found; None for all.
    """

    metric: Metric
    data: Tensor
    lengths: Tensor
    rows: Rows
    compact: Compact
    allowed: Allowed | None = None


def fits(queries: Floats, k: int, found: int) -> bool:
    """Tell whether a search can go by the compact copy: not with most rows wanted, nor with extreme queries."""
    return 2 * k * BLOCK <= found and float(np.abs(queries).max()) * queries.shape[1] < _LONGEST


def scan(corpus: Corpus, queries: Floats, k: int) -> tuple[Floats, Rows, NDArray[np.bool_], int]:
    """Find the k best rows of each query.

    Args:
        corpus: what to search; it has at least k rows that may be found.
        queries: (q, dim) float32.
        k: number of hits; see ``fits``.

    Returns:
        scores (q, k) float32 and rows (q, k) int64; (q,) bool, which queries are not answered; and how many
        candidates were scored.
    """
    size = min(_QUERIES, max(16, 16 * _PRODUCTS // (2 * k * BLOCK)))
    searches = [_Search(corpus, queries[at : at + size], k) for at in range(0, len(queries), size)]
    answers = [search.run() for search in searches]
    scores, rows = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    lost = np.concatenate([search.lost.numpy() for search in searches])
    return scores, rows, lost, sum(search.scored for search in searches)


class _Pool(NamedTuple):
    """Candidates: (c,) query and position, what their scores are at least and at most, and whether they are scored."""

    query: Tensor
    position: Tensor
    lower: Tensor
    upper: Tensor
    scored: Tensor

    def take(self, chosen: Tensor) -> "_Pool":
        """Return those chosen, by number or by mask."""
        return _Pool(*(part[chosen] for part in self))


class _Stretch(NamedTuple):
    """Rows looked at together: their segment, the first, how many, and codes of whole blocks of them."""

    segment: int
    at: int
    size: int
    codes: Tensor


class _Near(NamedTuple):
    """Blocks that may hold candidates: (c,) query, first row, (c, BLOCK) products, and (c,) what those must be."""

    segment: int
    query: Tensor
    first: Tensor
    product: Tensor
    least: Tensor


class _Search:
    """One pass over the compact copy for some queries."""

    def __init__(self, corpus: Corpus, queries: Floats, k: int) -> None:
        self.corpus, self.k, self.count = corpus, k, len(queries)
        self.asked = Asked(corpus.metric, queries, corpus.compact)
        self.floor = torch.full((self.count,), -torch.inf, dtype=torch.float64)
        self.lost = torch.zeros(self.count, dtype=torch.bool)
        self.scored = 0
        self.places, self.spans = _passing(corpus)
        self.limit = max(16 * k + 4 * BLOCK, min(int(len(corpus.data) * _SHARE), _ROOM // 16))
        self.pools: list[_Pool] = []
        self.near: list[_Near] = []
        self.begun = False
        # Of each segment: what one of a product adds to a score, and what a score may be off by; (s, q).
        self.factor = corpus.compact.scale[:, None] * self.asked.step
        self.doubt = corpus.compact.fault @ self.asked.share.T
        if self.asked.whole:
            self.doubt.ceil_()  # so that a value is found again between its bounds
        self.bars: dict[int, Tensor] = {}

    def run(self) -> tuple[Floats, Rows]:
        """Scan everything and settle the answers."""
        asked = self.asked.codes
        rows = max(min(_PRODUCTS // len(asked), _BYTES // asked.shape[1]), 2 * self.k * BLOCK)
        rows -= rows % BLOCK
        room = torch.empty(rows * len(asked), dtype=torch.int32)
        renew = 1
        for number, stretch in enumerate(self._stretches(rows), 1):
            if number > renew or sum(len(each.query) for each in self.near) > _ROOM // 8:
                self._raise()
                renew = max(renew, number + number // 2)
            product = room[: len(asked) * len(stretch.codes)].view(len(asked), len(stretch.codes))
            torch._int_mm(asked, stretch.codes.T, out=product)
            self._look(product, stretch)
        return self._settle()

    def _stretches(self, rows: int) -> Iterator["_Stretch"]:
        """Yield some rows of one segment after the other."""
        codes, wanted = self.corpus.compact.codes, self.places
        buffer = torch.zeros((min(rows, -(-len(codes) // BLOCK) * BLOCK), codes.shape[1]), dtype=torch.uint8)
        for segment, begin, end in self.spans:
            for at in range(begin, end, rows):
                size = min(rows, end - at)
                here = buffer[:size]
                if wanted is None:
                    torch.bitwise_xor(codes[at : at + size].view(torch.int64), _FLIP, out=here.view(torch.int64))
                else:
                    torch.index_select(codes, 0, wanted[at : at + size], out=here)
                    here.view(torch.int64).bitwise_xor_(_FLIP)
                yield _Stretch(segment, at, size, buffer[: -(-size // BLOCK) * BLOCK].view(torch.int8))

    def _look(self, product: Tensor, stretch: "_Stretch") -> None:
        """Find the blocks that may hold candidates, given (columns, t) products."""
        if self.asked.fine:
            product = torch.add(product[self.count :], product[: self.count], alpha=self.asked.fine)
        if stretch.size < product.shape[1]:
            product[:, stretch.size :] = _NONE  # what fills up the last block
        blocks = product.view(self.count, -1, BLOCK)
        highest = blocks.amax(2)
        if not self.begun:  # few blocks may hold few of the best, then rows are looked at one by one
            self._begin(highest[:, :, None] if highest.shape[1] >= self.k else blocks, stretch)
        bar = self._bar(stretch)
        query, block = (highest >= bar).nonzero(as_tuple=True)
        if len(query):
            there = blocks.flatten(0, 1)[query * blocks.shape[1] + block]
            least = bar[query, block if bar.shape[1] > 1 else 0]
            self.near.append(_Near(stretch.segment, query, block * BLOCK + stretch.at, there, least))

    def _bar(self, stretch: "_Stretch") -> Tensor:
        """Return what a product must be for the score of its row to reach the floor, (q, b) or (q, 1)."""
        segment = stretch.segment
        if segment not in self.bars:  # one to spare for how it was computed
            least = ((self.floor - self.asked.base - self.doubt[segment]) / self.factor[segment])[:, None] - 1
            least.clamp_(min=_NONE + 1)  # above what fills up blocks
            self.bars[segment] = least if self.corpus.metric == "l2" else least.floor_().clamp_(max=2**31 - 1).int()
        bar = self.bars[segment]
        if self.corpus.metric != "l2":
            return bar
        return torch.addcmul(bar, 1 / self.factor[segment][:, None], self._square(stretch).amin(1)[None])

    def _square(self, stretch: "_Stretch") -> Tensor:
        """Return (b, BLOCK) squares of the rows of a stretch, for l2."""
        part, square = slice(stretch.at, stretch.at + stretch.size), self.corpus.compact.square
        square = square[part] if self.places is None else square[self.places[part]]
        missing = -stretch.size % BLOCK
        return (torch.cat([square, square[-1:].expand(missing)]) if missing else square).view(-1, BLOCK)

    def _begin(self, some: Tensor, stretch: "_Stretch") -> None:
        """Take the first floor from what the best of the first rows score at least: (q, b, 1) or (q, b, BLOCK)."""
        if some.shape[1] * some.shape[2] < self.k:
            return
        factor, base = self.factor[stretch.segment], self.asked.base - self.doubt[stretch.segment]
        lower = some * factor[:, None, None] + base[:, None, None]
        if self.corpus.metric == "l2":
            lower -= self._square(stretch).amax(1)[:, None]
        self.begun = True
        self.floor = lower.flatten(1).topk(self.k, dim=1).values[:, -1]
        self.floor -= self.floor.abs() * 2.0**-22  # what differs by less may be equal in float32

    def _narrow(self) -> None:
        """Of the blocks found, keep the rows that may reach the floor."""
        near, compact, asked = self.near, self.corpus.compact, self.asked
        if not near:
            return
        segment = torch.cat([torch.full_like(each.query, each.segment) for each in near])
        query, first, product, least = (torch.cat(each) for each in zip(*[part[1:] for part in near], strict=True))
        self.near = []
        hit, there = (product >= least[:, None]).nonzero(as_tuple=True)
        place, query, segment = first[hit] + there, query[hit], segment[hit]
        if self.places is not None:
            place = self.places[place]
        value = asked.base[query] + product[hit, there] * self.factor[segment, query]
        if self.corpus.metric == "l2":
            value -= compact.square[place]
        doubt = self.doubt[segment, query]
        kept = (value + doubt >= self.floor[query]).nonzero()[:, 0]
        query, value, doubt = query[kept], value[kept], doubt[kept]
        scored = torch.full(query.shape, asked.whole)
        self.pools.append(_Pool(query, compact.order[place[kept]], value - doubt, value + doubt, scored))

    def _raise(self, *, last: bool = False) -> _Pool:
        """Score the k most promising candidates of each query, and raise the floor to the worst of them.

        A query is lost whose candidates are too many in the end, or too many to keep them.
        """
        pool = self._pool()
        if self.count * int(torch.bincount(pool.query, minlength=1).max()) > 4 * _ROOM:
            pool = self._drop(pool)
        # Whole numbers of two bytes are sorted by counting.
        pool = pool.take(torch.from_numpy(np.argsort(pool.query.numpy().astype(np.uint16), kind="stable")))
        count = torch.bincount(pool.query, minlength=self.count)
        best = self._best(pool, count)
        pool = self._score(pool, best & ~pool.scored)
        least = torch.full_like(self.floor, torch.inf)
        least.scatter_reduce_(0, pool.query[best], pool.lower[best], "amin")
        self.floor = torch.where(count >= self.k, torch.maximum(self.floor, least), self.floor)
        pool = pool.take((pool.upper >= self.floor[pool.query]).nonzero()[:, 0])
        pool = self._drop(pool) if last else pool
        self.pools, self.bars = [pool], {}
        return pool

    def _drop(self, pool: _Pool) -> _Pool:
        """Give up on queries that have too many candidates."""
        self.lost |= torch.bincount(pool.query, minlength=self.count) > self.limit
        self.floor[self.lost] = torch.inf
        return pool.take(~self.lost[pool.query])

    def _best(self, pool: _Pool, count: Tensor) -> Tensor:
        """Tell which are among the k most promising of their query, as (c,) bool; the pool is sorted by query."""
        begin = count.cumsum(0) - count
        table = torch.full((self.count, max(self.k, int(count.max()))), -torch.inf, dtype=torch.float64)
        rank = torch.arange(len(pool.query)) - begin[pool.query]
        table[pool.query, rank] = pool.lower + pool.upper
        chosen = table.topk(self.k, dim=1).indices + begin[:, None]
        best = torch.zeros(len(pool.query), dtype=torch.bool)
        best[chosen[torch.arange(self.k) < count[:, None]]] = True
        return best

    def _score(self, pool: _Pool, chosen: Tensor) -> _Pool:
        """Score those chosen in float32; the pool is sorted by query."""
        chosen = chosen.nonzero()[:, 0]
        if not len(chosen):
            return pool
        self.scored += len(chosen)
        query, position = pool.query[chosen], pool.position[chosen]
        value, size = self._products(query, position).double(), self.corpus.lengths[position].double()
        length, width = self.asked.length[query], self.corpus.data.shape[1]
        unit = gamma(width + 8)
        doubt = unit * size * length
        if self.corpus.metric == "l2":
            value = 2 * value - size.square() - length.square()
            doubt = 2 * unit * (size + length).square()
        elif self.corpus.metric == "cosine":
            size = torch.where(size > 0, size, torch.inf)
            value, doubt = value / size, unit + 8 * width * FLUSH / size
        doubt += 2 * faint(width) * (1 + size.clamp(max=_LONGEST) + length)
        pool.lower[chosen], pool.upper[chosen], pool.scored[chosen] = value - doubt, value + doubt, True
        return pool

    def _products(self, query: Tensor, position: Tensor) -> Tensor:
        """Return (c,) float32 products of pairs, sorted by query, without gathering the rows first."""
        ends = torch.searchsorted(query, torch.arange(self.count + 1))
        none = torch.zeros(len(query))
        shape = (self.count, len(self.corpus.data))
        _warned()
        wanted = torch.sparse_csr_tensor(ends, position, none, shape, check_invariants=False)
        found = torch.sparse.sampled_addmm(wanted, self.asked.exact.float(), self.corpus.data.T, beta=0.0)
        return found.values()

    def _settle(self) -> tuple[Floats, Rows]:
        """Score the candidates left in float32, those left of them in float64, and rank them."""
        step = max(1, _GATHER // self.asked.exact.shape[1])
        pool = self._pool()
        if self.asked.whole:
            found = (pool.lower + pool.upper).div_(2).float().numpy()
        else:
            if len(pool.query) > step:
                pool = self._raise(last=True)
                self.pools = [self._score(pool, ~pool.scored)]
                pool = self._raise()
            exact, data = self.asked.exact.numpy(), self.corpus.data.numpy()
            query, place = pool.query.numpy(), pool.position.numpy()
            found = settled(self.corpus.metric, exact, data, query=query, place=place)
            self.scored += int((~pool.scored).sum())
        rows = self.corpus.rows[pool.position.numpy()]
        return ranked(pool.query.numpy(), found, rows, (self.count, self.k))

    def _pool(self) -> _Pool:
        """Return the candidates that reach the floor as it is now."""
        self._narrow()
        pool = self.pools[0] if len(self.pools) == 1 else _Pool(*map(torch.cat, zip(*self.pools, strict=True)))
        return pool.take((pool.upper >= self.floor[pool.query]).nonzero()[:, 0])


def _passing(corpus: Corpus) -> tuple[Tensor | None, list[tuple[int, int, int]]]:
    """Return which rows of the copy may be found, None for all, and where each segment begins and ends among them."""
    spans = corpus.compact.segments()
    if corpus.allowed is None:
        return None, spans
    every = corpus.allowed.places
    places = torch.from_numpy(every.copy())
    spans = [(number, *np.searchsorted(every, span).tolist()) for number, *span in spans]
    if corpus.metric == "l2" and 2 * len(every) < corpus.allowed.total:  # what is left of blocks is not alike
        for _, begin, end in spans:
            part = places[begin:end]
            part.copy_(part[torch.argsort(corpus.compact.square[part])])
            mix(part)
    return places, spans


@cache
def _warned() -> None:
    """Have torch say once, unheard, that its sparse tensors are young: to silence it at each use is not thread-safe."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)
        torch.sparse_csr_tensor([0, 0], torch.empty(0, dtype=torch.int64), [], (1, 1), check_invariants=False)
