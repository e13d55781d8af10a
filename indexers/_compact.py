"""A copy of vectors in one byte a number, and what it may be off by.

Row x stands as ``scale * codes + rest`` away from a centre, so that

    <p, x - centre> = scale * <p, codes> + <p, rest>,    |<p, rest>| <= |p| |rest|    (Cauchy and Schwarz)

and a scan of the codes tells what a score can at most be. Rows alike (in length for l2, in their largest number
otherwise) share a block with one scale and one bound, which is what keeps the bounds tight; blocks lie in shuffled
order, so that every stretch of them is a fair sample. Whole numbers of one byte, such as those of SIFT or of grey
images, are kept as they are, and nothing is off.

Shapes: n vectors, dim their width, b blocks of BLOCK rows; n is filled up to b * BLOCK with copies of the last row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from quiver.types import Metric

#: Rows that share a scale.
BLOCK = 32
#: Version of this layout, as saved.
LAYOUT = 1
_NUMBERS = 1 << 20  # float32 numbers looked at together while making the copy: 4 MiB
_SAMPLE = 1 << 14  # rows that the centre is taken from
_TINY = 2.0**-40  # blocks this much smaller than the largest are rounded with a larger scale, so that none is denormal
_LARGEST, _SMALLEST = 1e15, 1e-15  # if the longest is outside, squares come too near to where float32 ends
_FAINT = 1e-30  # what is shorter is hard to give unit length


@dataclass(frozen=True, slots=True, eq=False)
class Compact:
    """A compact copy; ``compress`` makes one.

    Attributes:
        codes: (b * BLOCK, dim) int8.
        order: (b * BLOCK,) int64 position of each in the vectors; -1 for copies that fill the last block.
        centre: (dim,) float64, what was taken away before rounding.
        scale: (b,) float64.
        fault: (b, 4) float64 of a block: its longest remainder, 0 where ``whole``; its longest ``scale * codes``; its
            largest square; and 1. What a score may be off by is a weighted sum of these.
        nearest: (b,) float64, the smallest square of a block.
        square: (b * BLOCK,) float64 squared distance from the centre for l2, else 0.
        whole: (1,) bool, whether the vectors are whole numbers and the codes exact.
    """

    codes: Tensor
    order: Tensor
    centre: Tensor
    scale: Tensor
    fault: Tensor
    nearest: Tensor
    square: Tensor
    whole: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return sum(value.nbytes for value in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Return what ``restore`` needs, by name."""
        return {f"compact.{field.name}": getattr(self, field.name) for field in fields(self)}


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
    whole = metric != "cosine" and _fits(sample - 128)
    maker = _Maker(metric, data, lengths, torch.full((data.shape[1],), 128.0) if whole else sample.mean(0), whole)
    largest, square = maker.survey()
    if whole and maker.broken:
        maker = _Maker(metric, data, lengths, sample.mean(0), False)
        largest, square = maker.survey()
    return maker.make(largest, square)


def _fits(part: Tensor) -> bool:
    """Tell whether numbers are whole and within a signed byte."""
    return bool(part.min() >= -128) and bool(part.max() <= 127) and bool((part == part.round()).all())


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
            if self.whole and not _fits(tile):
                self.broken = True
                break
            largest[part] = torch.maximum(tile.amax(1), -tile.amin(1))
            if self.metric == "l2":
                square[part] = _squares(tile)
        return largest, square

    def make(self, largest: Tensor, square: Tensor) -> Compact:
        """Round every vector with the scale of its block."""
        filled, copied = _arrange(square if self.metric == "l2" else largest)
        scale = largest[filled].view(-1, BLOCK).amax(1).double() / 127
        scale = torch.ones_like(scale) if self.whole else scale.clamp(min=max(float(scale.max()) * _TINY, 1e-30))
        scale = scale.float().double()
        place = torch.empty(len(largest), dtype=torch.int64)
        place[filled[~copied]] = (~copied).nonzero()[:, 0]
        codes = torch.empty(len(filled), self.data.shape[1], dtype=torch.int8)
        rest, reach = torch.zeros(2, len(filled), dtype=torch.float64)
        for part, tile in self._parts():
            there = place[part]
            steps = scale[there // BLOCK].float()[:, None]
            rounded = tile if self.whole else (tile / steps).round_().clamp_(-127, 127)
            codes[there] = rounded.to(torch.int8)
            near = rounded * steps
            reach[there] = torch.linalg.vector_norm(near, dim=1).double()
            if not self.whole:
                rest[there] = self._bound(torch.linalg.vector_norm(tile.sub_(near), dim=1), reach[there])
        codes[copied] = codes[place[filled[copied]]]
        square = square[filled]
        rest, reach, farthest = (each.view(-1, BLOCK).amax(1) for each in (rest, reach, square))
        unit = 1 + (self.data.shape[1] + 8) * 2.0**-23
        return Compact(
            codes=codes,
            order=filled.masked_fill(copied, -1),
            centre=self.centre.double(),
            scale=scale,
            fault=torch.stack([rest, reach * unit, farthest, torch.ones_like(rest)], 1),
            nearest=square.view(-1, BLOCK).amin(1),
            square=square,
            whole=torch.tensor([self.whole]),
        )

    def _bound(self, rest: Tensor, reach: Tensor) -> Tensor:
        """Allow for the rounding of float32 in what was measured, and in taking the centre and the length away."""
        unit = (self.data.shape[1] + 8) * 2.0**-23
        own = 1.0 if self.metric == "cosine" else 0.0
        measured = rest.double() * (1 + unit)
        return measured + 2.0**-21 * (measured + reach * (1 + unit) + own)


def _arrange(key: Tensor) -> tuple[Tensor, Tensor]:
    """Put rows alike into blocks, and shuffle the blocks.

    Returns:
        (b * BLOCK,) int64 positions, and (b * BLOCK,) bool: which of them stand there again to fill the last block.
    """
    blocks = -(-len(key) // BLOCK)
    place = torch.arange(blocks * BLOCK)
    shuffled = torch.randperm(blocks, generator=torch.Generator().manual_seed(0))
    place = place.view(-1, BLOCK)[shuffled].flatten()
    return torch.argsort(key, stable=True)[place.clamp(max=len(key) - 1)], place >= len(key)


def _squares(tile: Tensor) -> Tensor:
    array = tile.numpy()
    return torch.from_numpy(np.einsum("nd,nd->n", array, array, dtype=np.float64))
