"""The k best of many vectors by way of their compact copy, and still exactly.

1. Products of one-byte numbers say what each row's score is at most and at least (``_compact``). The k-th largest of
   what scores are at least is a floor: blocks, and of them rows, that do not reach it are out. Only a stretch of
   products is held at a time.
2. Every so often, and at the end, the k most promising candidates are scored in float32, which raises the floor; at
   the end, all that still reach it are.
3. Candidates within twice the rounding of float32 of the k-th best are settled in float64 (``_topk.pairs``).

Of whole numbers of one byte, the first products are exact, and nothing else is needed.

Where the bound does not tell rows apart, as among thousands of equal ones, a query is handed back to be answered by
float32 products throughout; ``Scan.widened`` counts those.

Shapes: q queries, t rows of a stretch, b its blocks, c candidates, dim the width of the space.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quiver.indexers._compact import BLOCK, Compact
from quiver.indexers._topk import pairs, ranked
from quiver.types import Floats, Metric, Rows

#: Products held at a time: 4 MiB of int32 for large batches, more where the rows themselves are what is read.
_PRODUCTS, _STRETCH = 1 << 20, 1 << 17
_QUERIES = 256
_FINE = 8  # so many queries are rounded to two bytes: the second costs nothing, as reading the rows takes longer
_NONE = -(2**31)
_GATHER = 1 << 17  # numbers gathered at a time, so that they stay in the cache
_LONGEST = 1e15  # a longer query may overflow float32
#: Rows of a query that may be candidates: more of them cost as much as looking at everything in float32.
_SHARE = 1 / 24


@dataclass(frozen=True, slots=True)
class Scan:
    """What one search took.

    Attributes:
        rows: rows held.
        queries: queries asked.
        candidates: rows that were scored in full, all queries together.
        widened: queries that the bound did not narrow down, so that every row was scored in float32 for them.
    """

    rows: int
    queries: int
    candidates: int
    widened: int


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What is searched.

    Attributes:
        metric: how.
        data: (n, dim) float32, in memory or mapped.
        lengths: (n,) float32 Euclidean lengths.
        rows: (n,) int64 row numbers.
        compact: the copy of data.
        allowed: (n,) bool, which of them may be found; None for all.
    """

    metric: Metric
    data: Tensor
    lengths: Tensor
    rows: Rows
    compact: Compact
    allowed: Tensor | None = None


@lru_cache
def swift(width: int) -> bool:
    """Tell whether this processor multiplies bytes exactly, and faster than float32: measured once, in milliseconds."""
    rows, asked = torch.full((1 << 13, width), -128, dtype=torch.int8), torch.full((32, width), 127, dtype=torch.int8)
    try:  # extremes: instructions of before 2019 add pairs of products in 16 bits, which overflow
        if not (torch._int_mm(rows[:64], asked.T) == -128 * 127 * width).all():
            return False
    except RuntimeError:  # not on this platform
        return False
    floats, few = rows.float(), asked.float().T
    spent = []
    for work in (lambda: torch._int_mm(rows, asked.T), lambda: floats @ few):
        times = []
        for _ in range(4):
            started = perf_counter()
            work()
            times.append(perf_counter() - started)
        spent.append(min(times))
    return spent[0] < spent[1]


def fits(compact: Compact, queries: Floats, k: int) -> bool:
    """Tell whether a search can go by the compact copy: not with most rows wanted, nor with extreme queries."""
    return 2 * k * BLOCK <= len(compact.order) and float(np.abs(queries).max()) * queries.shape[1] < _LONGEST


def scan(held: Held, queries: Floats, k: int) -> tuple[Floats, Rows, NDArray[np.bool_], int]:
    """Find the k best rows of each query.

    Args:
        held: what to search; it has at least k rows that may be found.
        queries: (q, dim) float32.
        k: how many; see ``fits``.

    Returns:
        scores (q, k) float32 and rows (q, k) int64; (q,) bool, which queries are not answered; and how many
        candidates were scored.
    """
    size = min(_QUERIES, max(16, 16 * _PRODUCTS // (2 * k * BLOCK)))
    searches = [_Search(held, queries[at : at + size], k) for at in range(0, len(queries), size)]
    answers = [search.run() for search in searches]
    scores, rows = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    lost = np.concatenate([search.lost.numpy() for search in searches])
    return scores, rows, lost, sum(search.scored for search in searches)


class _Asked:
    """Queries in one byte a number, or in two: ``step * (fine * first + second)``.

    A score is ``base + <p, x - centre> - square``, where p is the query, twice its distance from the centre for l2.

    Attributes:
        exact: (q, dim) float64 queries, of unit length for cosine.
        base: (q,) float64.
        codes: (columns, dim) int8: first bytes of all, then second bytes.
        fine: what the first byte counts, 0 where there is no second.
        whole: whether nothing was rounded, neither here nor in the compact copy.
        step: (q,) float64.
        length: (q,) float64, of the query.
        share: (q, 4) float64, what each of ``Compact.fault`` adds to the doubt about a score.
    """

    def __init__(self, metric: Metric, queries: Floats, compact: Compact) -> None:
        exact = torch.from_numpy(queries).double()
        if metric == "cosine":
            exact = exact / torch.linalg.vector_norm(exact, dim=1, keepdim=True).clamp_(min=1e-300)
        away = exact - compact.centre if metric == "l2" else exact
        self.exact, weight = exact, 2.0 if metric == "l2" else 1.0
        self.base = -away.square().sum(1) if metric == "l2" else exact @ compact.centre
        self.whole = bool(compact.whole) and bool(((away == away.round()) & (away >= -128) & (away <= 127)).all())
        self.fine = 0 if self.whole else _fineness(len(queries), queries.shape[1])
        largest = away.abs().amax(1, keepdim=True)
        step = torch.where(largest > 0, largest / (127 * max(self.fine, 1)), 1.0)
        step = torch.ones_like(step) if self.whole else step
        rounded = (away / step).round()
        self.step = weight * step[:, 0]
        self.length = torch.linalg.vector_norm(exact, dim=1)
        self.share = self._share(weight * away, weight * (away - rounded * step))
        if self.fine:
            first = (rounded / self.fine).round()
            rounded = torch.cat([first, rounded - first * self.fine])
        self.codes = rounded.to(torch.int8)

    def _share(self, away: Tensor, rest: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(away, dim=1)
        one, base = torch.ones_like(length), self.base.abs()
        if self.whole:  # scores are exact, but those that float32 does not tell apart are equal
            return torch.stack([one * 0, length, one, base], 1) * 2.0**-23
        # Besides the remainders: sums of float64 are rounded, and the centre was taken away in float32.
        rest = torch.linalg.vector_norm(rest, dim=1) + 1e-9 * length
        return torch.stack([length, rest, one * 2.0**-21, base * 1e-12], 1)


def _fineness(queries: int, width: int) -> int:
    """Return the largest power of two to split by whose products still fit 32 bits, 0 where splitting is no gain."""
    room = (2**31 - 1) // (width * 128 * 129)
    return min(128, 1 << room.bit_length() - 1) if queries <= _FINE and room > 1 else 0


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


class _Search:
    """One pass over the compact copy for some queries."""

    def __init__(self, held: Held, queries: Floats, k: int) -> None:
        self.held, self.k, self.count = held, k, len(queries)
        self.asked = _Asked(held.metric, queries, held.compact)
        self.floor = torch.full((self.count,), -torch.inf, dtype=torch.float64)
        self.lost = torch.zeros(self.count, dtype=torch.bool)
        self.seen = torch.zeros(self.count, dtype=torch.int64)
        self.scored = 0
        self.limit = max(4 * k + 4 * BLOCK, int(len(held.data) * _SHARE))
        self.pools: list[_Pool] = []
        order = held.compact.order
        self.mask = None if held.allowed is None else (order >= 0) & held.allowed[order]

    def run(self) -> tuple[Floats, Rows]:
        """Scan everything and settle the answers."""
        codes, asked = self.held.compact.codes, self.asked.codes.T
        columns = asked.shape[1]
        width = max(_PRODUCTS // columns, min(_STRETCH, 4 * _PRODUCTS // columns), 2 * self.k * BLOCK)
        width -= width % BLOCK
        room = torch.empty((min(width, len(codes)), columns), dtype=torch.int32)
        renew = 1
        for number, at in enumerate(range(0, len(codes), width), 1):
            part = codes[at : at + width]
            self._look(torch._int_mm(part, asked, out=room[: len(part)]), at)
            if number == renew and at + width < len(codes):
                self._raise()
                renew = number + 1 + number // 2
        return self._settle()

    def _look(self, product: Tensor, at: int) -> None:
        """Find the candidates among the rows from ``at`` on."""
        if self.asked.fine:
            product = torch.add(product[:, self.count :], product[:, : self.count], alpha=self.asked.fine)
        if self.mask is not None:
            product.masked_fill_(~self.mask[at : at + len(product), None], _NONE)
        blocks = product.view(-1, BLOCK, self.count)
        highest = blocks.amax(1)
        part = slice(at // BLOCK, at // BLOCK + len(highest))
        compact, asked = self.held.compact, self.asked
        middle = (highest * compact.scale[part, None]).mul_(asked.step).add_(asked.base)
        doubt = compact.fault[part] @ asked.share.T
        if not at:
            lower = middle - doubt - compact.fault[part, 2:3]
            self.floor = lower.topk(self.k, dim=0).values[-1]
            self.floor -= self.floor.abs() * 2.0**-22  # what differs by less may be equal in float32
        near = middle.add_(doubt).sub_(compact.nearest[part, None]) >= self.floor
        block, query = near.nonzero(as_tuple=True)
        if len(block):
            self._narrow(blocks, block, query, at)

    def _narrow(self, blocks: Tensor, block: Tensor, query: Tensor, at: int) -> None:
        """Keep the rows of candidate blocks that may reach the floor."""
        compact, asked = self.held.compact, self.asked
        there = block + at // BLOCK
        product, factor = blocks[block, :, query], compact.scale[there] * asked.step[query]
        doubt = (compact.fault[there] * asked.share[query]).sum(1)
        if asked.whole:
            doubt.ceil_()  # so that a value is found again between its bounds
        least = (self.floor[query] - asked.base[query] - doubt + compact.nearest[there]) / factor
        least = least.floor_().sub_(1).clamp_(_NONE + 1, 2**31 - 1).int()
        hit, place = (product >= least[:, None]).nonzero(as_tuple=True)
        row = there[hit] * BLOCK + place
        position, query, doubt = compact.order[row], query[hit], doubt[hit]
        value = asked.base[query] + product[hit, place] * factor[hit] - compact.square[row]
        kept = ((position >= 0) & (value + doubt >= self.floor[query])).nonzero()[:, 0]
        query, value, doubt = query[kept], value[kept], doubt[kept]
        scored = torch.full(query.shape, asked.whole)
        self.pools.append(_Pool(query, position[kept], value - doubt, value + doubt, scored))
        self.seen += torch.bincount(query, minlength=self.count)
        self.lost |= self.seen > self.limit
        self.floor[self.lost] = torch.inf

    def _raise(self) -> _Pool:
        """Score the k most promising candidates of each query, and raise the floor to the worst of them."""
        pool = self._pool()
        order = torch.argsort(pool.lower + pool.upper, descending=True)
        pool = pool.take(order[torch.argsort(pool.query[order], stable=True)])
        count = torch.bincount(pool.query, minlength=self.count)
        rank = torch.arange(len(pool.query)) - (count.cumsum(0) - count)[pool.query]
        best = rank < self.k
        pool = self._score(pool, best & ~pool.scored)
        least = torch.full_like(self.floor, torch.inf)
        least.scatter_reduce_(0, pool.query[best], pool.lower[best], "amin")
        self.floor = torch.where(count >= self.k, torch.maximum(self.floor, least), self.floor)
        pool = pool.take((pool.upper >= self.floor[pool.query]).nonzero()[:, 0])
        self.pools = [pool]
        return pool

    def _score(self, pool: _Pool, chosen: Tensor) -> _Pool:
        """Score those chosen in float32; the pool is sorted by query."""
        chosen = chosen.nonzero()[:, 0]
        if not len(chosen):
            return pool
        self.scored += len(chosen)
        query, position = pool.query[chosen], pool.position[chosen]
        value, size = self._products(query, position).double(), self.held.lengths[position].double()
        length, unit = self.asked.length[query], (self.held.data.shape[1] + 16) * 2.0**-24
        doubt = unit * size * length
        if self.held.metric == "l2":
            value = 2 * value - size.square() - length.square()
            doubt = 2 * unit * (size + length).square()
        elif self.held.metric == "cosine":
            size = torch.where(size > 0, size, torch.inf)
            value, doubt = value / size, 2 * unit + 1e-40 / size
        doubt += 1e-40  # products too small for float32, as many as are summed
        pool.lower[chosen], pool.upper[chosen], pool.scored[chosen] = value - doubt, value + doubt, True
        return pool

    def _products(self, query: Tensor, position: Tensor) -> Tensor:
        """Return (c,) float32 products of pairs, sorted by query, without gathering the rows first."""
        ends = torch.searchsorted(query, torch.arange(self.count + 1))
        none = torch.zeros(len(query))
        shape = (self.count, len(self.held.data))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)
            wanted = torch.sparse_csr_tensor(ends, position, none, shape, check_invariants=False)
            found = torch.sparse.sampled_addmm(wanted, self.asked.exact.float(), self.held.data.T, beta=0.0)
        return found.values()

    def _settle(self) -> tuple[Floats, Rows]:
        """Score the candidates left in float32, those left of them in float64, and rank them."""
        step = max(1, _GATHER // self.asked.exact.shape[1])
        pool = self._pool()
        if self.asked.whole:
            found = (pool.lower + pool.upper).div_(2).float()
        else:
            if len(pool.query) > step:
                pool = self._raise()
                self.pools = [self._score(pool, ~pool.scored)]
                pool = self._raise()
            found = torch.empty(len(pool.query))
            for part in torch.arange(len(found)).split(step):
                asked, held = self.asked.exact[pool.query[part]], self.held.data[pool.position[part]]
                found[part] = pairs(self.held.metric, asked, held)
            self.scored += int((~pool.scored).sum())
        rows = self.held.rows[pool.position.numpy()]
        return ranked(pool.query.numpy(), found.numpy(), rows, (self.count, self.k))

    def _pool(self) -> _Pool:
        """Return the candidates that reach the floor as it is now."""
        pool = self.pools[0] if len(self.pools) == 1 else _Pool(*map(torch.cat, zip(*self.pools, strict=True)))
        return pool.take((pool.upper >= self.floor[pool.query]).nonzero()[:, 0])
