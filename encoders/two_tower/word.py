"""N-grams of words and of their letters, hashed into a table that is learnt from nothing.

After fastText (Bojanowski et al. 2017, arXiv:1607.04606, section 3.2): a text is the sum of vectors of its words and of
the runs of 3 to 5 letters in them, so that brands and article numbers that no picture shows still get a place. Ours:
pairs of neighbouring words; n-grams count by their rarity (Sparck Jones 1972), and together as much in a long text as
in a short one; the table starts at zero, so that n-grams no training text has say nothing.
Shapes: B texts, N n-grams of the longest of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadMedia
from quiver.media import TextReader
from quiver.types import Rows

#: Words of a text that count.
LONGEST = 128


@dataclass(frozen=True, slots=True)
class GramReader:
    """Reads a text as rows of the table.

    Attributes:
        buckets: rows of the table; row 0 is for padding.
    """

    buckets: int

    def __call__(self, source: Any) -> Rows:
        """Return (N,) int64 rows from 1 to ``buckets``, each once.

        Raises:
            BadMedia: the text is empty.
        """
        grams = split(TextReader()(source))
        return np.array(sorted({1 + crc32(gram.encode()) % self.buckets for gram in grams}), np.int64)


def split(text: str) -> list[str]:
    """Cut a text into n-grams: words, neighbours, and letters between marks of where the word begins and ends.

    >>> split("Red hat")
    ['red', 'hat', 'red hat', '<re#', 'red#', 'ed>#', '<red#', 'red>#', '<red>#', '<ha#', 'hat#', 'at>#', \
'<hat#', 'hat>#', '<hat>#']
    """
    words = text.casefold().split()[:LONGEST]
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    letters = [
        f"{marked[start : start + size]}#"
        for marked in (f"<{word}>" for word in words)
        for size in (3, 4, 5)
        for start in range(len(marked) - size + 1)
    ]
    return words + pairs + letters


@dataclass(frozen=True, slots=True, eq=False)
class Grams:
    """N-grams of many texts in one array: a million short texts are 0.4 GB, and 0.9 GB as an array each.

    Attributes:
        start: (t + 1,) int64, where those of each text begin, and the end of the last.
        flat: rows of the table, int32.
    """

    start: Rows
    flat: NDArray[np.int32]

    @classmethod
    def read(cls, reader: GramReader, texts: Sequence[Any]) -> "tuple[Grams, NDArray[np.bool_]]":
        """Read texts; those that cannot be read have no n-grams.

        Returns:
            The n-grams, and the mask (t,) of texts that could be read.
        """
        from quiver.encoders._train.progress import Progress  # training alone: a loaded model does not need it

        readable, ends, flat = np.ones(len(texts), bool), np.zeros(len(texts) + 1, np.int64), bytearray()
        with Progress("n-grams", len(texts), unit="texts") as progress:
            for place, text in enumerate(texts):
                try:
                    flat += reader(text).astype(np.int32).tobytes()
                except BadMedia:
                    readable[place] = False
                ends[place + 1] = len(flat) // 4
                progress.update()
        return cls(ends, np.frombuffer(flat, np.int32)), readable

    def __len__(self) -> int:
        return len(self.start) - 1

    def __call__(self, rows: Rows) -> NDArray[np.int64]:
        """Put some texts on top of each other: (B, N) int64, filled up with 0."""
        counts = self.start[rows + 1] - self.start[rows]
        inner = np.arange(counts.max(initial=0))
        there = inner < counts[:, None]
        out = np.zeros(there.shape, np.int64)
        out[there] = self.flat[(self.start[rows][:, None] + inner)[there]]
        return out


def pad(texts: Sequence[Rows]) -> NDArray[np.int64]:
    """Put texts on top of each other: (B, N) int64, filled up with 0."""
    out = np.zeros((len(texts), max((len(text) for text in texts), default=0)), np.int64)
    for place, text in enumerate(texts):
        out[place, : len(text)] = text
    return out
