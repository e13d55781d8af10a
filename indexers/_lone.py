"""Search of one query or a few with the compact copy: one pass of faiss over its bytes per query, at memory speed.

1. Kernels of faiss multiply bytes and keep the best rows by the copy, in one call per segment and thread. Its scalar
   quantiser of signed bytes reads the copy in place.
2. The lower bounds of those rows give a floor; rows whose upper bound reaches it are settled (``_score``), the most
   promising first, which raises the floor.
3. A row that was not returned is no better by the copy than the last one returned. If the upper bound of that one is
   below the floor, the answer is proven. If not, more rows are asked for, and after that the query is handed back.

A row x has a code c with |x - centre - scale c| <= rest, and so has the query: for cosine and dot, scores are bounded
as in ``_scan``; for l2, distances differ by at most the sum of both rests (triangle inequality). See ``_bounds``.

Shapes: q queries, dim the width of the space, c candidates.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from quiver.indexers._allowed import Allowed
from quiver.indexers._bounds import below, gamma
from quiver.indexers._compact import PAD, ZERO, Compact
from quiver.indexers._scan import Corpus
from quiver.indexers._score import prepared, settled
from quiver.types import Floats, Metric, Rows

Bits = NDArray[np.uint8]
Doubles = NDArray[np.float64]
T = TypeVar("T")

#: Queries: for more, products of the whole batch are faster. Where few numbers are searched, as behind a filter, what
#: those products need beside takes longer: 10,000 x 128 take 4 ms for 5 to 16 queries, and 0.3 ms per query here.
MOST, MOST_OF_FEW, _FEW = 4, 12, 1 << 21
_WIDTH = 1 << 15
_SHARE = 1 << 22  # bytes per thread
_SPARE = 32  # extra candidates beyond k at first
_WIDEST = 1 / 48  # largest fraction of the rows as candidates
_MORE = 16  # growth of the candidates if the bound is not proven


def able(queries: int, found: int, width: int) -> bool:
    """Tell whether this is the way to answer so many queries over so many rows of this width.

    Sums of squares have to fit 32 bits.
    """
    return queries <= (MOST_OF_FEW if found * width <= _FEW else MOST) and width <= _WIDTH and _there()


@cache
def _there() -> bool:
    """Tell whether there is a faiss that looks at bytes where they lie, and multiplies them as it should."""
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 256, (64, PAD), np.uint8)
    codes[0], codes[1] = 0, 255
    codes[2:20] = draw.choice(np.array([0, 255], np.uint8), (18, PAD))  # ends of the range, where narrow sums overflow
    queries = draw.integers(-127, 128, (6, PAD)).astype(np.float32)
    queries[0], queries[1] = 127, -127
    queries[2:4] = draw.choice(np.array([-127, 127], np.float32), (2, PAD))
    products = queries @ (codes.astype(np.float32) - ZERO).T
    try:
        found, rows = _view("dot", codes).search(queries, len(codes))
    except (ImportError, AttributeError, TypeError, RuntimeError):
        return False
    return bool((found == np.take_along_axis(products, rows, 1)).all())


def _view(metric: Metric, codes: Bits) -> Any:
    """Make a flat index of faiss that reads (m, width) codes; they must outlive it."""
    import faiss

    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexScalarQuantizer(codes.shape[1], faiss.ScalarQuantizer.QT_8bit_direct_signed, kind)
    held: Any = index.codes  # a vector that may belong to someone else; published types know of none
    where = faiss.swig_ptr(codes)
    held.view_data = held.c_ptr = where
    held.view_size = held.c_size = codes.size
    held.is_owned = False
    index.ntotal, index.is_trained = len(codes), True
    return index


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of a segment that one thread looks at.

    Attributes:
        index: their codes, as faiss reads them.
        segment: the segment.
        begin: the first of them in the copy, and ``end`` the one behind the last.
        places: (m,) where each of them stands in the copy, if they do not stand side by side there.
    """

    index: Any
    segment: int
    begin: int
    end: int
    places: Rows | None = None

    @property
    def size(self) -> int:
        """How many rows there are."""
        return self.end - self.begin if self.places is None else len(self.places)


@dataclass(eq=False)
class Lone:
    """How to answer lone queries by one compact copy.

    Attributes:
        metric: how.
        compact: the copy.
        depth: rows beyond k that were needed of late, so that they are asked for at once.
    """

    metric: Metric
    compact: Compact
    depth: int = _SPARE
    _parts: dict[int, list[list[_Part]]] = field(default_factory=dict)

    def search(self, corpus: Corpus, queries: Floats, k: int) -> list["Answer"]:
        """Find the k best rows of each query; see ``Answer``."""
        asked = [_Asked(corpus.metric, query, self.compact) for query in queries]
        answers: dict[int, Answer] = {}
        want, most = k + self.depth, max(4 * k + _SPARE, int(len(corpus.data) * _WIDEST))
        left = list(range(len(queries)))
        while left:
            found = self._pass([asked[one] for one in left], want, corpus.allowed)
            for one, parts in zip(left, found, strict=True):
                answers[one] = _settle(corpus, asked[one], parts, k)
            need = max(answers[one].needed for one in left)
            self.depth = max(_SPARE, need - k + need // 4, self.depth - self.depth // 16)
            left = [one for one in left if not answers[one].proven]
            if want >= most:
                break
            want = min(max(want * _MORE, need), most)
        return [answers[one] for one in range(len(queries))]

    def allowed(self, positions: Rows) -> Allowed:
        """Return the rows of the copy that stand at these positions of the vectors."""
        codes = self.compact.codes
        return Allowed(np.sort(self._places[positions]), len(codes), codes.shape[1])

    @cached_property
    def _places(self) -> Rows:
        """(n,) where each vector stands in the copy."""
        return np.argsort(self.compact.order.numpy())

    def _pass(self, asked: Sequence["_Asked"], want: int, allowed: Allowed | None) -> list[list["_Found"]]:
        """Return, for each query, what each part found."""
        gathered = None if allowed is None else allowed.gathered(self.compact.codes.numpy())
        if allowed is None or gathered is None:
            groups = self._groups(self._parts, self.compact.codes.numpy())
            mask = None if allowed is None else allowed.mask
        else:
            groups, mask = self._groups(allowed.parts, gathered, allowed.places), None

        def work(group: list[_Part]) -> list[list[_Found]]:
            return [_look(part, asked, want, mask) for part in group]

        found = [part for each in _each(work, groups) for part in each]
        return [list(each) for each in zip(*found, strict=True)]

    def _groups(
        self, known: dict[int, list[list[_Part]]], codes: Bits, places: Rows | None = None
    ) -> list[list[_Part]]:
        """Return the parts for each thread: of all rows, or of those at some places, whose codes these are."""
        threads = max(1, min(torch.get_num_threads(), codes.nbytes // _SHARE))
        if threads not in known:
            cuts = [len(codes) * at // threads // 8 * 8 for at in range(threads)] + [len(codes)]
            groups: list[list[_Part]] = [[] for _ in range(threads)]
            for segment, *span in self.compact.segments():
                begin, end = span if places is None else np.searchsorted(places, span).tolist()
                for group, low, high in zip(groups, cuts[:-1], cuts[1:], strict=True):
                    first, last = max(low, begin), min(high, end)
                    if first < last:
                        there = None if places is None else places[first:last]
                        group.append(_Part(_view(self.metric, codes[first:last]), segment, first, last, there))
            known[threads] = groups
        return known[threads]


def _each(work: Callable[[list[_Part]], T], groups: list[list[_Part]]) -> list[T]:
    """Do the work of each thread; what is for one thread is done here, as handing it over would take longer."""
    if len(groups) > 1:
        return [each.result() for each in [_pool(len(groups)).submit(work, group) for group in groups]]
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        return [work(group) for group in groups]
    finally:
        faiss.omp_set_num_threads(before)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return threads of our own: faiss is told how many it may use thread by thread, and here it is one."""
    import faiss

    return ThreadPoolExecutor(threads, "quiver-lone", faiss.omp_set_num_threads, (1,))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads stay behind


class _Asked:
    """One query, as bytes in the way of each segment.

    Attributes:
        exact: (dim,) float64, of unit length for cosine.
        codes: (s, width) float32 whole numbers of a signed byte.
    """

    def __init__(self, metric: Metric, query: Floats, compact: Compact) -> None:
        exact = prepared(metric, query[None])[0]
        centre, scale, fault = compact.centre.numpy(), compact.scale.numpy(), compact.fault.numpy()
        self.metric, self.exact = metric, exact
        away, self.base = (exact - centre, 0.0) if metric == "l2" else (exact, float(exact @ centre))
        steps = self._steps(away, scale, bool(compact.whole))
        rounded = np.clip(np.rint(away / steps[:, None]), -127, 127)
        self.codes: Floats = np.zeros((len(scale), compact.codes.shape[1]), np.float32)
        self.codes[:, : len(away)] = rounded
        rest = np.sqrt(np.square(away - rounded * steps[:, None]).sum(1))
        length = float(np.sqrt(away @ away))
        unit = gamma(compact.codes.shape[1] + 8)  # relative error of sums in float32
        if metric == "l2":
            self.factor, self.unit = scale, unit
            self.doubt = fault[:, 0] + rest + 2.0**-30 * length
        else:
            self.factor, self.unit = scale * steps, 0.0
            near = (1 + unit) * rest + (unit + 2.0**-30) * length
            size = length * float(np.sqrt(centre @ centre))
            self.doubt = fault[:, 0] * length + fault[:, 1] * near + 2.0**-32 * size

    def _steps(self, away: Doubles, scale: Doubles, whole: bool) -> Doubles:
        """Return (s,) what one stands for in the codes of the query."""
        if self.metric == "l2":  # as in the codes of the rows, so that they can be subtracted
            return scale
        largest = float(np.abs(away).max())
        if largest == 0 or (whole and largest <= 127 and (away == np.rint(away)).all()):
            return np.ones_like(scale)
        return np.full_like(scale, largest / 127)

    def bounds(self, segment: int, values: Floats) -> tuple[Doubles, Doubles]:
        """Return what scores are at least and at most, given what faiss found."""
        near, doubt = values.astype(np.float64), self.doubt[segment]
        if self.metric != "l2":
            near *= self.factor[segment]
            near += self.base
            return near - doubt, near + doubt
        near = self.factor[segment] * np.sqrt(near)
        off = self.unit * near + doubt
        return -np.square(near + off), -np.square(np.maximum(near - off, 0))


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The best rows of a part by the copy: (c,) values and places; whether there are more."""

    segment: int
    values: Floats
    places: Rows
    more: bool


def _only(allowed: NDArray[np.bool_]) -> Any:
    import faiss

    library: Any = faiss  # of which Python's half is not in the published types
    return library.SearchParameters(sel=library.IDSelectorBitmap(np.packbits(allowed, bitorder="little")))


def _look(part: _Part, asked: Sequence[_Asked], want: int, allowed: NDArray[np.bool_] | None) -> list[_Found]:
    """Return what a part holds for each query."""
    size = part.size
    options = {} if allowed is None else {"params": _only(allowed[part.begin : part.end])}
    codes = np.stack([query.codes[part.segment] for query in asked])
    values, rows = part.index.search(codes, min(want, size), **options)
    found = []
    for value, row in zip(values, rows, strict=True):
        count = int((row >= 0).sum())
        places = row[:count] + part.begin if part.places is None else part.places[row[:count]]
        found.append(_Found(part.segment, value[:count], places, count == want < size))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What was found for one query.

    Attributes:
        scores: (k,) float32, best first.
        rows: (k,) row numbers.
        scored: rows scored in full.
        needed: rows by the copy that had to be known.
        proven: whether no other row can be better.
    """

    scores: Floats
    rows: Rows
    scored: int
    needed: int
    proven: bool


def _settle(corpus: Corpus, asked: _Asked, parts: Sequence[_Found], k: int) -> Answer:
    """Score in full what may be among the k best."""
    bounds = [asked.bounds(part.segment, part.values) for part in parts]
    lower, upper = (np.concatenate(each) for each in zip(*bounds, strict=True))
    beyond = max((high[-1] for part, (_, high) in zip(parts, bounds, strict=True) if part.more), default=-np.inf)
    position = corpus.compact.order.numpy()[np.concatenate([part.places for part in parts])]
    order = np.argsort(-(lower + upper), kind="stable")
    first, others = order[:k], order[k:]
    scores = _score(corpus, asked, position[first])
    floor = below(scores.min())
    others = others[upper[others] >= floor]
    chosen, scores = np.concatenate([first, others]), np.concatenate([scores, _score(corpus, asked, position[others])])
    rows = corpus.rows[position[chosen]]
    best = np.lexsort((rows, -scores))[:k]
    floor = below(scores[best[-1]])
    needed = max(int((high >= floor).sum()) for _, high in bounds)
    return Answer(scores[best], rows[best], len(chosen), needed, bool(beyond < floor))


def _score(corpus: Corpus, asked: _Asked, position: Rows) -> Floats:
    return settled(corpus.metric, asked.exact, corpus.data.numpy(), place=position)
