"""A text as hashed words and the 2 to 4 letter pieces of its words, in any script.

Weinberger et al., "Feature hashing for large scale multitask learning" (ICML 2009): each feature adds to one place,
with a sign of its own, so that collisions cancel on average. Pieces make "skirts" meet "skirt", and give scripts
without spaces something to share.
"""

import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from quiver.types import Floats

PIECES = (2, 3, 4)  # letters, with the word's two ends counted
PIECE = 0.3  # weight of a piece, against 1 for the word
RECIPE = f"1 NFKC casefold pieces={PIECES} weight={PIECE} crc32"


@dataclass(frozen=True, slots=True)
class Describer:
    """Describes texts.

    Attributes:
        dim: width of its vectors.
    """

    dim: int

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Return (n, dim) float32; a text without letters, digits or symbols is a row of zeros."""
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(out, texts, strict=True):
            counts: Counter[bytes] = Counter()
            for word in words(text):
                counts.update(_features(word))
            if counts:
                _add(row, counts)
        return out


def words(text: str) -> list[str]:
    """Split into runs of letters, marks, digits and symbols, compatibility forms and case folded away.

    >>> words("Straße, naïve-C++! №")
    ['strasse', 'naïve', 'c++', 'no']
    """
    return unicodedata.normalize("NFKC", text).casefold().translate(_SPACED).split()


class _Spaced(dict[int, str]):
    """Characters to themselves, or to a space where they part words; filled as they are met."""

    def __missing__(self, code: int) -> str:
        kept = unicodedata.category(chr(code))[0] in "LMNS"
        self[code] = chr(code) if kept else " "
        return self[code]


_SPACED = _Spaced()


@lru_cache(maxsize=1 << 16)
def _features(word: str) -> tuple[bytes, ...]:
    """Return the word, marked by a leading NUL, and its pieces."""
    closed = f"<{word}>"
    pieces = [closed[at : at + n] for n in PIECES for at in range(len(closed) - n + 1)]
    return (b"\0" + word.encode(), *(piece.encode() for piece in pieces))


def _add(row: Floats, counts: Counter[bytes]) -> None:
    hashes = _mix(np.fromiter(map(zlib.crc32, counts), np.uint32, len(counts)))
    weight = np.fromiter((1.0 if feature[0] == 0 else PIECE for feature in counts), np.float32, len(counts))
    weight *= 1 + np.log(np.fromiter(counts.values(), np.float32, len(counts)))
    np.add.at(row, hashes % len(row), np.where(hashes >> 31, -weight, weight))


def _mix(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Scatter the bits of CRCs, which are linear (the finaliser of MurmurHash3, public domain)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hashes = (hashes ^ (hashes >> np.uint32(shift))) * np.uint32(factor)
    return hashes ^ (hashes >> np.uint32(16))
