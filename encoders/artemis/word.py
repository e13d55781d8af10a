r"""Words and word pieces: from texts to token ids.

A text is ``<start> words <end>``; several wishes are one text, joined by ``<and>``. Words are cut as ARTEMIS cuts them:
``/ - \`` become spaces, everything but letters, spaces and parentheses is dropped, the rest is lower case and goes
through the Treebank word tokenizer, of which after that only the parentheses and six contractions are left. On the
training captions of FashionIQ and Shoes this gives the authors' 3,775 and 1,330 words.
Deviates: a letter is a letter of any script, not of ASCII alone.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quiver.encoders.artemis.config import Config
from quiver.errors import BadData, BadSpec

if TYPE_CHECKING:
    from torch import Tensor

#: Ids 0 to 4; id 0 pads.
SPECIALS = ("<pad>", "<start>", "<and>", "<end>", "<unk>")
_PIECES = ("[CLS]", "[SEP]", "[UNK]")
_CONTRACTED = re.compile(r"\b(can)(not)\b|\b(gim)(me)\b|\b(gon)(na)\b|\b(got)(ta)\b|\b(lem)(me)\b|\b(wan)(na)\b")


def split(text: str) -> list[str]:
    """Cut a text into words.

    >>> split("Is long-sleeved (NOT short), and can't be 3x")
    ['is', 'long', 'sleeved', '(', 'not', 'short', ')', 'and', 'cant', 'be', 'x']
    """
    spaced = re.sub(r"[-/\\]", " ", unicodedata.normalize("NFC", text))
    kept = "".join(letter for letter in spaced if letter in "()" or letter.isspace() or _lettered(letter)).lower()
    kept = re.sub(r"([()])", r" \1 ", kept)
    return _CONTRACTED.sub(lambda found: " ".join(filter(None, found.groups())), kept).split()


def _lettered(letter: str) -> bool:
    return letter.isalpha() or unicodedata.category(letter).startswith("M")


def collect(texts: Iterable[str], *, least: int = 1) -> tuple[str, ...]:
    """Return the words of training texts, in alphabetical order.

    Args:
        texts: of the training split only.
        least: times a word must occur.
    """
    counts: dict[str, int] = {}
    for text in texts:
        for word in split(text):
            counts[word] = counts.get(word, 0) + 1
    return tuple(sorted(word for word, count in counts.items() if count >= least))


def pieces(path: Path) -> tuple[str, ...]:
    """Read the ``vocab.txt`` of an uncased BERT: one word piece a line, its number is its id.

    Raises:
        BadData: it is not one.
    """
    words = tuple(path.read_text("utf-8").splitlines())
    if lacking := [word for word in ("[PAD]", *_PIECES) if word not in words] or words[0] != "[PAD]":
        raise BadData(f"{path} is not a vocabulary of word pieces with [PAD] first: it lacks {lacking}")
    return words


@dataclass(frozen=True)
class Vocabulary:
    """Converter from texts to ids.

    Attributes:
        words: those of ``Config.words``.
        pieces: they are word pieces.
        length: most ids of a text; the end stays when it is cut. None for no limit.
    """

    words: tuple[str, ...]
    pieces: bool = False
    length: int | None = None

    @classmethod
    def of(cls, config: Config) -> "Vocabulary":
        """Return the converter of a model.

        Raises:
            BadSpec: it has none.
        """
        if not config.words:
            raise BadSpec(f"composer={config.composer} with text={config.text} needs words: give Config.words")
        return cls(config.words, config.pieces, config.bert.length if config.composer == "cirplant" else None)

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self.words) if self.pieces else len(SPECIALS) + len(self.words)

    def ids(self, wishes: Sequence[str]) -> list[int]:
        """Return the ids of one query's wishes, unknown words among them as ``<unk>``."""
        start, end = (self._places[word] for word in (_PIECES[:2] if self.pieces else ("<start>", "<end>")))
        body = self._cut(wishes)
        return [start, *body[: self.length and self.length - 2], end]

    def hears(self, wishes: Sequence[str]) -> bool:
        """Whether any word of one query's wishes is known; where none is, the query says nothing."""
        return self.pieces or any(word in self._places for wish in wishes for word in split(wish))

    def batch(self, asked: Sequence[Sequence[str]]) -> "Tensor":
        """Return ids (B, L) int64 of the wishes of one query or more, padded with 0 at the end."""
        import torch

        rows = [self.ids(wishes) for wishes in asked]
        longest = max(map(len, rows))
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows], dtype=torch.int64)

    def _cut(self, wishes: Sequence[str]) -> list[int]:
        if self.pieces:
            return list(self._tokenizer.encode(" and ".join(wishes), add_special_tokens=False).ids)
        unknown, joint = self._places["<unk>"], self._places["<and>"]
        parts = [[self._places.get(word, unknown) for word in split(wish)] for wish in wishes]
        return parts[0] + [place for part in parts[1:] for place in (joint, *part)]

    @cached_property
    def _places(self) -> dict[str, int]:
        words = self.words if self.pieces else (*SPECIALS, *self.words)
        if len(places := {word: place for place, word in enumerate(words)}) < len(words):
            raise BadSpec("Config.words has a word twice")
        return places

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        tokenizer = Tokenizer(models.WordPiece(self._places, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return tokenizer
