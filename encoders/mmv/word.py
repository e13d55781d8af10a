"""The words of MMV: how a text is taken apart, and the vectors its words have.

Reference: google-deepmind/dmvr, tokenizers.py, Apache-2.0. Without torch, so that workers start at once.
Deviates: neither the paper's stop words nor its vocabulary are public; the list below is ours. A word that the table
lacks is left out, or shares one of a few rows of its own (``Words.gather``).
Shapes: W words of a text, V rows of the table, D width of a word vector.
"""

import gzip
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadData, BadMedia
from quiver.types import Floats

#: Words left out of every text; words that negate or compare stay.
_STOP = """
a an the and or but if then so as of at by for from in into on onto to with about is am are was were be been being do
does did has have had having i me my we us our you your he him his she her it its they them their this that these those
there here what which who whom will would can could shall should may might must just also very
"""
STOP = frozenset(_STOP.split())
_BUCKET = "<{}>"  # no word reads like this


def split(text: str) -> list[str]:
    """Return the words that count, in lower case and without punctuation.

    >>> split("The chef's T-shirt isn't RED!")
    ['chefs', 't', 'shirt', 'isnt', 'red']
    """
    words = unicodedata.normalize("NFKC", text).lower().translate(_SPACED).split()
    return [word for word in words if word not in STOP]


class _Spaced(dict[int, str]):
    """Letters, their marks and digits to themselves, all else to a space; filled as they are met."""

    def __missing__(self, code: int) -> str:
        self[code] = chr(code) if unicodedata.category(chr(code))[0] in "LMN" else " "
        return self[code]


_SPACED = _Spaced({ord("'"): "", ord("\u2019"): ""})


@dataclass(frozen=True, slots=True)
class Tokeniser:
    """Turns a text into rows of a table: the reader of text; picklable.

    Attributes:
        tokens: those of the rows from 1; the last may be ``<0>``, ``<1>``, ..., for words that are not among them.
        length: W, words that count.
    """

    tokens: tuple[str, ...]
    length: int
    _rows: dict[str, int] = field(init=False, repr=False, compare=False)
    _buckets: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", {token: row for row, token in enumerate(self.tokens, start=1)})
        object.__setattr__(self, "_buckets", sum(token.startswith("<") for token in self.tokens))

    def __call__(self, text: str) -> NDArray[np.int64]:
        """Return (W,) rows of the table.

        Raises:
            BadMedia: none of its words is known, so that it would be embedded like any other such text.
        """
        ids = self.ids(text)
        if not ids.any():
            raise BadMedia(f"no word of {text[:60]!r} is in the vocabulary of {len(self.tokens)} words")
        return ids

    def ids(self, text: str) -> NDArray[np.int64]:
        """Return (W,) rows of the table, filled up with 0; nothing but 0 where no word is known."""
        known = [row for word in split(text) if (row := self._row(word))][: self.length]
        return np.array(known + [0] * (self.length - len(known)), np.int64)

    def _row(self, word: str) -> int:
        """Return the row of a word, or of the bucket it falls into; 0 where it is unknown and there are none."""
        if row := self._rows.get(word):
            return row
        return self._rows[_BUCKET.format(_hash(word) % self._buckets)] if self._buckets else 0


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """A vocabulary and its vectors.

    Attributes:
        tokens: of the rows from 1.
        table: (V, D) float32, V = 1 + len(tokens); row 0 is the padding, zeros.

    Raises:
        BadData: they do not fit together, or a token occurs twice.
    """

    tokens: tuple[str, ...]
    table: Floats

    def __post_init__(self) -> None:
        if self.table.ndim != 2 or len(self.table) != 1 + len(self.tokens):
            raise BadData(f"{len(self.tokens)} words need a table of {1 + len(self.tokens)} rows: {self.table.shape}")
        if len(set(self.tokens)) < len(self.tokens):
            raise BadData(f"the word {Counter(self.tokens).most_common(1)[0][0]!r} occurs twice in the vocabulary")
        if self.table[0].any() or not np.isfinite(self.table).all():
            raise BadData("row 0 of a word table is its padding and must be zeros, and all of it finite")

    @classmethod
    def gather(
        cls, texts: Iterable[str], *, width: int, size: int = 20_000, least: int = 1, buckets: int = 0
    ) -> "Words":
        """Make a vocabulary of a corpus, with random vectors.

        A word's vector is a function of the word alone, so that every corpus gives it the same one.

        Args:
            texts: the corpus.
            width: D.
            size: words kept, the most frequent ones; of equally frequent ones the first by spelling.
            least: times a word must occur.
            buckets: rows that unknown words share, each word always the same one; 0 leaves unknown words out.

        Raises:
            BadData: no word is left.
        """
        counts = Counter(word for text in texts for word in split(text))
        ranked = sorted((word for word, count in counts.items() if count >= least), key=lambda w: (-counts[w], w))
        if not ranked:
            raise BadData(f"no word occurs {least} times in the texts a vocabulary was to be made of")
        tokens = (*ranked[:size], *(_BUCKET.format(number) for number in range(buckets)))
        return cls(tokens, np.stack([np.zeros(width, np.float32), *(_vector(token, width) for token in tokens)]))

    @classmethod
    def read(cls, path: Path, *, size: int | None = None) -> "Words":
        """Read word vectors: word2vec or GloVe as text, word2vec's ``.bin``, each also ``.gz``, or ``.npz``.

        Words that no text can contain after ``split``, such as ``New_York``, ``Paris`` and ``the``, are left out.

        Args:
            path: an ``.npz`` holds ``tokens`` (n,) and ``vectors`` (n, D).
            size: words kept, the first ones; None for all.

        Raises:
            BadData: there is no such file, or it is not what its name says, or no word is left.
        """
        if not path.is_file():
            raise BadData(f"{path}: there is no such file of word vectors")
        try:
            kept = dict(islice((pair for pair in _pairs(path) if split(pair[0]) == [pair[0]]), size))
            vectors = np.stack([np.zeros_like(next(iter(kept.values()))), *kept.values()])
        except (ValueError, KeyError, OSError, EOFError, StopIteration) as error:
            raise BadData(f"{path} cannot be read as word vectors: {error or 'no word of it is of use'}") from error
        return cls(tuple(kept), vectors)


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def _vector(word: str, width: int) -> Floats:
    return np.random.default_rng(_hash(word)).standard_normal(width, dtype=np.float32)


def _pairs(path: Path) -> Iterator[tuple[str, Floats]]:
    """Yield words and their vectors (D,)."""
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            yield from zip(stored["tokens"].tolist(), stored["vectors"].astype(np.float32), strict=True)
        return
    with cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
        yield from _binary(file) if kind == ".bin" else _lines(file)


def _binary(file: BinaryIO) -> Iterator[tuple[str, Floats]]:
    """Read word2vec's own format: a line with two counts, then each word, a space, and D float32."""
    count, width = map(int, file.readline().split())
    for _ in range(count):
        word = bytearray()
        while (byte := file.read(1)) != b" ":
            if not byte:
                raise EOFError("it ends in the middle of a word")
            word += byte
        yield word.decode(errors="replace").lstrip("\n"), np.frombuffer(file.read(4 * width), "<f4", width)


def _lines(file: BinaryIO) -> Iterator[tuple[str, Floats]]:
    """Read lines of a word and D numbers; a first line of two counts is no word. GloVe has words with spaces."""
    width = 0
    for number, line in enumerate(file):
        parts: Sequence[str] = line.decode().rstrip().split(" ")
        if number == 0 and len(parts) == 2:
            width = int(parts[1])
            continue
        width = width or len(parts) - 1
        yield " ".join(parts[:-width]), np.array(parts[-width:], np.float32)
