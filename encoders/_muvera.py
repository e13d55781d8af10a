"""One vector for many: fixed dimensional encodings, whose product approximates MaxSim.

MUVERA: Dhulipala, Hadian, Jayaram, Lee and Mirrokni, NeurIPS 2024, arXiv 2405.19504; own code from the paper. Random
hyperplanes cut the space into cells. A query becomes the sum of its vectors in each cell, an item their mean there, and
an empty cell of an item takes the mean of its nearest cell that has one (by the number of planes between the two; the
paper takes a single vector). Several such cuts, each in a random projection to fewer numbers, stand side by side. So
the product of the two encodings is an estimate of the sum, over the query's vectors, of the best product with a vector
of the item. Any index for vectors then finds candidates, and MaxSim itself ranks them.

Planes and projections are the same on every machine and in every version: they are made of the bytes of SHAKE-256.
Shapes: n sets, t vectors of all sets together, D numbers of a vector, R cuts, C cells, S numbers kept of a vector.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from quiver.types import Floats, Rows, Space

#: Cuts, planes of each, and numbers kept of a vector: 20 x 2^4 x 16 = 5,120 numbers. Chosen on MiniLM's token vectors
#: of 10,000 captions of AudioCaps: of the first ten by MaxSim, .988 are among 200 candidates (.980 by 20 x 2^5 x 8).
CUTS, PLANES, KEPT = 20, 4, 16
#: Numbers of projected vectors in memory at a time.
_NUMBERS = 1 << 23
_Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OneVector:
    """The bridge from the vectors of an item, side by side, to their encoding.

    Attributes:
        source: space of the item's vectors: T D numbers, zeros after the last vector.
        width: D.
    """

    source: Space
    width: int

    @property
    def target(self) -> Space:
        """The space of encodings; an encoding of a query is in it, too."""
        told = f"muvera 1, {CUTS} {PLANES} {KEPT}, {self.source.revision}"
        revision = hashlib.sha256(told.encode()).hexdigest()
        return Space(f"{self.source.name}/muvera", dim(self.width), "dot", revision)

    def map(self, vectors: Floats) -> Floats:
        """Encode n items: (n, T D) float32 to (n, R C S) float32."""
        every = vectors.reshape(len(vectors), self.source.dim // self.width, self.width)
        found = np.zeros((len(every), dim(self.width)), np.float32)
        step = max(1, _NUMBERS // (every.shape[1] * CUTS * _kept(self.width)))
        for at in range(0, len(every), step):
            part = every[at : at + step]
            owner, place = np.nonzero(part.any(axis=2))
            found[at : at + step] = _encoded(part[owner, place], owner, len(part), query=False)
        return found


def dim(width: int) -> int:
    """Return R C S, the length of an encoding of vectors of D numbers."""
    return CUTS * (1 << PLANES) * _kept(width)


def of_queries(queries: Sequence[Floats]) -> Floats:
    """Encode queries, each (t, D) float32: (n, R C S) float32."""
    owner = np.repeat(np.arange(len(queries)), [len(each) for each in queries])
    return _encoded(np.concatenate(queries), owner, len(queries), query=True)


def _encoded(vectors: Floats, owner: Rows, count: int, *, query: bool) -> Floats:
    """Encode sets: vectors (t, D) with the number of their set (t,), ascending; (n, R C S)."""
    width = vectors.shape[1]
    planes, signs = _drawn(width)
    beyond = (vectors @ planes.reshape(-1, width).T > 0).reshape(len(vectors), CUTS, PLANES)
    cells = beyond @ (1 << np.arange(PLANES))
    short = (vectors @ signs.reshape(-1, width).T).reshape(len(vectors), CUTS, _kept(width))
    found = np.empty((count, CUTS, 1 << PLANES, _kept(width)), np.float32)
    for cut in range(CUTS):
        found[:, cut] = _summed(short[:, cut], cells[:, cut], owner, count, mean=not query)
    return found.reshape(count, -1) * np.float32(1 / CUTS if query else 1)


def _summed(short: Floats, cells: _Codes, owner: Rows, count: int, *, mean: bool) -> Floats:
    """Return (n, C, S) the sum of the vectors of each set in each cell; or the mean, with the empty cells filled."""
    size = 1 << PLANES
    found = np.zeros((count * size, short.shape[1]), np.float32)
    code = owner * size + cells
    order = np.argsort(code, kind="stable")
    full, first, members = np.unique(code[order], return_index=True, return_counts=True)
    if len(full):
        found[full] = np.add.reduceat(short[order], first, axis=0)
    if not mean:
        return found.reshape(count, size, -1)
    found[full] /= members[:, None]
    there = np.zeros(count * size, np.bool_)
    there[full] = True
    return _filled(found.reshape(count, size, -1), there.reshape(count, size))


def _filled(found: Floats, there: NDArray[np.bool_]) -> Floats:
    """Give every empty cell the mean of the nearest cell that is not empty, the first of several."""
    codes = np.arange(1 << PLANES)
    apart = np.bitwise_count(codes[:, None] ^ codes)
    nearest = np.where(there[:, None, :], apart, PLANES + 1).argmin(axis=2)
    return np.take_along_axis(found, nearest[:, :, None], axis=1)


def _kept(width: int) -> int:
    return min(KEPT, width)


@lru_cache(maxsize=4)
def _drawn(width: int) -> tuple[Floats, Floats]:
    """Return the planes (R, log2 C, D), nearly normal, and projections (R, S, D) whose rows have signs alone."""
    bits = _bytes("planes", CUTS * PLANES * width * 12).reshape(CUTS, PLANES, width, 12)
    planes = bits.astype(np.int64).sum(axis=3) - 6 * 255  # of twelve even numbers the sum is nearly normal, mean 0
    kept = _kept(width)
    if kept == width:
        return planes.astype(np.float32), np.tile(np.eye(width, dtype=np.float32), (CUTS, 1, 1))
    signs = (_bytes("signs", CUTS * kept * width) & 1).astype(np.float32) * 2 - 1
    return planes.astype(np.float32), signs.reshape(CUTS, kept, width) / np.float32(np.sqrt(kept))


def _bytes(name: str, count: int) -> NDArray[np.uint8]:
    return np.frombuffer(hashlib.shake_256(f"quiver muvera {name}".encode()).digest(count), np.uint8)
