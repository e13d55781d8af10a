"""A copy of the vectors with one byte per number, and bounds on what the scores it gives can be off by.

A row x is stored as a code c, with ``x = centre + scale * c + rest``, so that for a query p

    <p, x - centre> = scale * <p, c> + <p, rest>,    |<p, rest>| <= |p| |rest|    (Cauchy and Schwarz)

and a scan of the codes bounds every score. ``_bounds`` proves the bound with all rounding in it.

Rows whose largest numbers are within a fifth of one another share a segment: one scale and one bound, which keeps the
bound tight. There are few segments, so that a scan of one is a single call. Within a segment, blocks of rows are
shuffled, so that every stretch is a fair sample; for l2 the rows of a block have similar lengths. Whole numbers of one
byte, such as those of SIFT or of grey images, are stored as they are, without a rest.

A code is stored with 128 added, as faiss reads it (``_lone``), and rows are padded with zeros to a multiple of PAD
numbers, for which its kernels, and rows that begin at cache lines, are faster.

Shapes: n vectors, dim their width, s segments.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from math import log

import numpy as np
import torch
from torch import Tensor

from quiver.indexers._bounds import UNIT, gamma, haze
from quiver.types import Metric

#: Rows looked at together by a scan.
BLOCK = 32
#: What is added to a code.
ZERO = 128
PAD = 64
#: Version of this layout, as saved.
LAYOUT = 3
_LEVELS = 16  # at most so many segments: below a sixteenth of the largest number, rows share the last scale
_STEP = 2**0.25  # from one scale to the next
_SMALL = 1 / 64  # a smaller share of rows gets no segment of its own, but the larger scale before
_NUMBERS = 1 << 20  # float32 numbers looked at together while making the copy: 4 MiB
_SAMPLE = 1 << 14  # rows that the centre is taken from
_LARGEST, _SMALLEST = 1e15, 1e-12  # if the longest is outside, squares come too near to where float32 ends
_FAINT = 1e-30  # a shorter vector cannot be scaled to unit length in float32


@dataclass(frozen=True, slots=True, eq=False)
class Compact:
    """A compact copy; ``compress`` makes one.

    Attributes:
        codes: (n, dim filled up) uint8.
        order: (n,) int64 position of each row in the vectors.
        centre: (dim,) float64, subtracted before rounding.
        starts: (s + 1,) int64, where each segment begins, and n.
        scale: (s,) float64.
        fault: (s, 4) float64 bounds of a segment: on its longest rest, 0 where ``whole``; on its longest
            ``scale * code``; its largest square; and 1. The error of a score is at most a weighted sum of these.
        square: (n,) float64 squared distance from the centre for l2, else (0,).
        whole: (1,) bool, whether the vectors are whole numbers and the codes exact.
    """

    codes: Tensor
    order: Tensor
    centre: Tensor
    starts: Tensor
    scale: Tensor
    fault: Tensor
    square: Tensor
    whole: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return sum(value.nbytes for value in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Return what ``restore`` needs, by name."""
        return {f"compact.{field.name}": getattr(self, field.name) for field in fields(self)}

    def segments(self) -> list[tuple[int, int, int]]:
        """Return the number of each segment, where it begins, and where it ends: the largest first."""
        spans = enumerate(pairwise(self.starts.tolist()))
        return sorted(((number, *span) for number, span in spans), key=lambda each: each[1] - each[2])


def restore(read: Callable[[str], Tensor]) -> Compact:
    """Make the copy again from what ``Compact.tensors`` gave, read by name."""
    return Compact(*(read(f"compact.{field.name}") for field in fields(Compact)))


def compress(metric: Metric, data: Tensor, lengths: Tensor) -> Compact | None:
    """Make a compact copy, reading the vectors twice in the order they lie; None where numbers are too extreme.

    Args:
        metric: how they are compared; under cosine the copy is of unit vectors.
        data: (n, dim) float32, n at least 1; in memory or mapped.
        lengths: (n,) float32 Euclidean lengths.
    """
    if not _SMALLEST < float(lengths.max()) < _LARGEST:
        return None
    if metric == "cosine" and float(lengths[lengths > 0].min()) < _FAINT:
        return None
    sample = _unit(metric, data, lengths, slice(None, None, -(-len(data) // _SAMPLE)))
    whole = metric != "cosine" and _bytes(sample)
    maker = _Maker(metric, data, lengths, torch.full((data.shape[1],), 128.0) if whole else sample.mean(0), whole)
    largest, square = maker.survey()
    if whole and maker.broken:
        maker = _Maker(metric, data, lengths, sample.mean(0), False)
        largest, square = maker.survey()
    return maker.make(largest, square)


def _bytes(part: Tensor) -> bool:
    """Tell whether numbers are whole and fit a byte; asked of the numbers themselves, before anything is subtracted."""
    return bool(part.min() >= 0) and bool(part.max() <= 255) and bool((part == part.round()).all())


def _unit(metric: Metric, data: Tensor, lengths: Tensor, part: slice) -> Tensor:
    if metric != "cosine":
        return data[part]
    size = lengths[part, None]
    return data[part] / torch.where(size > 0, size, 1.0)


class _Maker:
    """The two passes over the vectors."""

    def __init__(self, metric: Metric, data: Tensor, lengths: Tensor, centre: Tensor, whole: bool) -> None:
        self.metric: Metric = metric
        self.data, self.lengths, self.centre, self.whole = data, lengths, centre, whole
        self.broken = False

    def _parts(self) -> Iterator[tuple[slice, Tensor]]:
        step = max(1, _NUMBERS // self.data.shape[1])
        for at in range(0, len(self.data), step):
            part = slice(at, at + step)
            yield part, _unit(self.metric, self.data, self.lengths, part) - self.centre

    def survey(self) -> tuple[Tensor, Tensor]:
        """Return (n,) float32 largest numbers and (n,) float64 squared lengths, both away from the centre."""
        largest, square = torch.zeros(len(self.data)), torch.zeros(len(self.data), dtype=torch.float64)
        for part, tile in self._parts():
            if self.whole and not _bytes(self.data[part]):
                self.broken = True
                break
            largest[part] = torch.maximum(tile.amax(1), -tile.amin(1))
            if self.metric == "l2":
                square[part] = _squares(tile)
        return largest, square

    def make(self, largest: Tensor, square: Tensor) -> Compact:
        """Round every vector with the scale of its segment."""
        n, dim = self.data.shape
        level = torch.zeros(n, dtype=torch.int64) if self.whole else _levels(largest)
        order, starts = _arrange(level, square if self.metric == "l2" else None)
        scale = self._scale(largest, level)
        place = torch.empty_like(order)
        place[order] = torch.arange(n)
        codes = torch.full((n, -(-dim // PAD) * PAD), ZERO, dtype=torch.uint8)
        rest, reach = torch.zeros(2, n, dtype=torch.float64)
        for part, tile in self._parts():
            steps = scale[level[part]].float()[:, None]
            rounded = tile if self.whole else (tile / steps).round_().clamp_(-127, 127)
            codes[place[part], :dim] = (rounded + ZERO).to(torch.uint8)
            near = rounded * steps
            reach[part] = self._most_length(torch.linalg.vector_norm(near, dim=1))
            if not self.whole:
                rest[part] = self._most_rest(torch.linalg.vector_norm(tile.sub_(near), dim=1), reach[part])
        bounds = [_most(each, level, len(scale)) for each in (rest, reach, square)]
        return Compact(
            codes=codes,
            order=order,
            centre=self.centre.double(),
            starts=starts,
            scale=scale,
            fault=torch.stack([*bounds, torch.ones_like(scale)], 1),
            square=square[order] if self.metric == "l2" else square[:0],
            whole=torch.tensor([self.whole]),
        )

    def _scale(self, largest: Tensor, level: Tensor) -> Tensor:
        scale = _most(largest.double(), level, int(level.max()) + 1) / 127
        scale = torch.ones_like(scale) if self.whole else scale.clamp(min=1e-30)
        return scale.float().double()

    def _most_length(self, measured: Tensor) -> Tensor:
        """Bound lengths that were measured in float32."""
        dim = self.data.shape[1]
        return measured.double() * (1 + gamma(dim + 8)) + haze(dim)

    def _most_rest(self, measured: Tensor, reach: Tensor) -> Tensor:
        """Bound the length of ``x - centre - scale * code``, of which ``measured`` was computed in float32."""
        own = 1.0 if self.metric == "cosine" else 0.0
        rest = self._most_length(measured)
        return rest + 8 * UNIT * (rest + reach + own)


def _levels(largest: Tensor) -> Tensor:
    """Return (n,) int64 segment of each row, those of the largest numbers first."""
    top = max(float(largest.max()), 1e-30)
    level = (torch.log(top / largest.clamp(min=top * _STEP**-_LEVELS)) / log(_STEP)).long().clamp_(0, _LEVELS - 1)
    count = torch.bincount(level, minlength=_LEVELS)
    own = (count > 0) & (count >= len(largest) * _SMALL)
    own[int((count > 0).nonzero()[0])] = True
    return (own.cumsum(0) - 1).clamp_(min=0)[level]


def _arrange(level: Tensor, square: Tensor | None) -> tuple[Tensor, Tensor]:
    """Put rows of a level together, for l2 by their squares, and shuffle the blocks of each level.

    Returns:
        (n,) int64 positions, and (s + 1,) int64 where each level begins.
    """
    by_square = torch.arange(len(level)) if square is None else torch.argsort(square, stable=True)
    order = by_square[torch.argsort(level[by_square], stable=True)]
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), torch.bincount(level).cumsum(0)])
    for begin, end in pairwise(starts.tolist()):
        mix(order[begin:end])
    return order, starts


def mix(order: Tensor) -> None:
    """Shuffle the whole blocks of a segment, in place and always alike."""
    blocks = len(order) // BLOCK
    part = order[: blocks * BLOCK].view(-1, BLOCK)
    part.copy_(part[torch.randperm(blocks, generator=torch.Generator().manual_seed(0))])


def _most(values: Tensor, level: Tensor, levels: int) -> Tensor:
    """Return (levels,) float64, the largest value of each level."""
    return torch.zeros(levels, dtype=torch.float64).scatter_reduce_(0, level, values, "amax")


def _squares(tile: Tensor) -> Tensor:
    array = tile.numpy()
    return torch.from_numpy(np.einsum("nd,nd->n", array, array, dtype=np.float64))
