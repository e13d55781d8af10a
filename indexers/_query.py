"""Queries in bytes, to be multiplied with the codes of a compact copy, and how far the products may be off.

Shapes: q queries, dim the width of the space.
"""

from functools import cache
from time import perf_counter

import torch
from torch import Tensor

from quiver.indexers._compact import Compact
from quiver.indexers._score import prepared
from quiver.types import Floats, Metric

_FINE = 8  # so many queries are rounded to two bytes: the second costs nothing, as reading the rows takes longer


class Asked:
    """Queries in one byte a number, or in two: ``step * (fine * first + second)``.

    A score is ``base + <p, x - centre> - square``, where p is the query, twice its distance from the centre for l2.

    Attributes:
        exact: (q, dim) float64 queries, of unit length for cosine.
        base: (q,) float64.
        codes: (columns, dim filled up) int8: first bytes of all, then second bytes.
        fine: what the first byte counts, 0 where there is no second.
        whole: whether nothing was rounded, neither here nor in the compact copy.
        step: (q,) float64.
        length: (q,) float64, of the query.
        share: (q, 4) float64, what each of ``Compact.fault`` adds to the doubt about a score.
    """

    def __init__(self, metric: Metric, queries: Floats, compact: Compact) -> None:
        self.exact = exact = torch.from_numpy(prepared(metric, queries))
        away, weight = (exact - compact.centre, 2.0) if metric == "l2" else (exact, 1.0)
        self.length = torch.linalg.vector_norm(exact, dim=1)
        self.base = -away.square().sum(1) if metric == "l2" else exact @ compact.centre
        self.whole = bool(compact.whole) and bool(((away == away.round()) & (away >= -128) & (away <= 127)).all())
        self.fine = 0 if self.whole else _fineness(len(queries), queries.shape[1])
        largest = away.abs().amax(1, keepdim=True)
        step = torch.where(largest > 0, largest / (127 * max(self.fine, 1)), 1.0)
        step = torch.ones_like(step) if self.whole else step
        rounded = (away / step).round()
        self.step = weight * step[:, 0]
        size = self.base.abs() if metric == "l2" else self.length * torch.linalg.vector_norm(compact.centre)
        self.share = self._share(weight * away, weight * (away - rounded * step), size)
        if self.fine:
            first = (rounded / self.fine).round()
            rounded = torch.cat([first, rounded - first * self.fine])
        self.codes = torch.zeros(len(rounded), compact.codes.shape[1], dtype=torch.int8)
        self.codes[:, : rounded.shape[1]] = rounded

    def _share(self, away: Tensor, rest: Tensor, size: Tensor) -> Tensor:
        """Return the weights that ``_bounds`` derives; ``size`` is |p| |m|, for l2 |q - m|^2."""
        length, base = torch.linalg.vector_norm(away, dim=1), self.base.abs()
        one = torch.ones_like(length)
        if self.whole:  # scores are exact, but those that float32 does not tell apart are equal
            return torch.stack([one * 0, length, one, base], 1) * 2.0**-23
        rest = torch.linalg.vector_norm(rest, dim=1) + 2.0**-30 * length
        return torch.stack([length, rest, one * 2.0**-21, 2.0**-22 * base + 2.0**-32 * size + 2.0**-148], 1)


def _fineness(queries: int, width: int) -> int:
    """Return the largest power of two to split by whose products still fit 32 bits, 0 where splitting is no gain."""
    room = (2**31 - 1) // (width * 128 * 129)
    return min(128, 1 << room.bit_length() - 1) if queries <= _FINE and room > 1 else 0


@cache
def multiplies_exactly(width: int) -> bool:
    """Tell whether this processor multiplies bytes exactly.

    Instructions of before 2019 add pairs of products in 16 bits, which overflow at large numbers of some signs.
    """
    draw = torch.Generator().manual_seed(0)
    ends = torch.tensor([-128, 127, -127, 126], dtype=torch.int8)
    rows = ends[torch.randint(4, (256, width), generator=draw)]
    rows[:4] = ends[:, None]
    asked = ends[torch.randint(1, 4, (32, width), generator=draw)]
    asked[:3] = ends[1:, None]
    try:
        return bool((torch._int_mm(asked, rows.T).double() == asked.double() @ rows.double().T).all())
    except RuntimeError:  # not on this platform
        return False


@cache
def swift(width: int) -> bool:
    """Tell whether this processor multiplies bytes exactly, and faster than float32: measured once, in milliseconds."""
    if not multiplies_exactly(width):
        return False
    rows, asked = torch.full((1 << 13, width), -128, dtype=torch.int8), torch.full((32, width), 127, dtype=torch.int8)
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
