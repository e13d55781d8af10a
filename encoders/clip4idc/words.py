"""Sentences as ids of word pieces: the byte pairs of CLIP, or word pieces that were learnt from the sentences.

Legend: n texts, L ids of the longest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from quiver.encoders._pieces import FILE, Pieces
from quiver.encoders.clip4idc.config import Text
from quiver.errors import optional
from quiver.types import Rows


class Words(Protocol):
    """A vocabulary.

    Attributes:
        begin: id before the first piece.
        end: id after the last piece.
        pad: id that fills a batch up.
    """

    @property
    def begin(self) -> int: ...  # noqa: D102 - see the class

    @property
    def end(self) -> int: ...  # noqa: D102

    @property
    def pad(self) -> int: ...  # noqa: D102

    def __len__(self) -> int:
        """Number of ids."""
        ...

    def encode(self, texts: Sequence[str], *, length: int) -> Rows:
        """Return (n, L) int64 with begin and end, padded to the longest; texts of more than ``length`` ids are cut."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; begin, padding, and everything from the end on are left out."""
        ...

    @property
    def described(self) -> str:
        """A text that differs between vocabularies."""
        ...


@dataclass(frozen=True)
class Learnt:
    """Word pieces of a file, such as those learnt from the sentences of a training.

    Attributes:
        pieces: the pieces.
    """

    pieces: Pieces

    @property
    def begin(self) -> int:
        """The id of ``[CLS]``."""
        return self.pieces.id("[CLS]")

    @property
    def end(self) -> int:
        """The id of ``[SEP]``."""
        return self.pieces.id("[SEP]")

    @property
    def pad(self) -> int:
        """The id of ``[PAD]``."""
        return self.pieces.id("[PAD]")

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, texts: Sequence[str], *, length: int) -> Rows:
        """Return (n, L) int64, padded to the longest."""
        return self.pieces.encode(texts, limit=length)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids up to the end."""
        return self.pieces.tokenizer.decode(_inside(ids, self), skip_special_tokens=False)

    @property
    def described(self) -> str:
        """The file's contents."""
        return self.pieces.tokenizer.to_str()


@dataclass(frozen=True)
class Clip:
    """The byte pairs of CLIP, which open_clip brings along."""

    @cached_property
    def _tokenizer(self) -> Any:
        with optional():
            from open_clip.tokenizer import SimpleTokenizer
        return SimpleTokenizer()

    @property
    def begin(self) -> int:
        """The id of ``<start_of_text>``."""
        return int(self._tokenizer.sot_token_id)

    @property
    def end(self) -> int:
        """The id of ``<end_of_text>``."""
        return int(self._tokenizer.eot_token_id)

    @property
    def pad(self) -> int:
        """0, which is the id of ``!`` too: the end tells padding from it."""
        return 0

    def __len__(self) -> int:
        return int(self._tokenizer.vocab_size)

    def encode(self, texts: Sequence[str], *, length: int) -> Rows:
        """Return (n, L) int64, padded to the longest."""
        rows = self._tokenizer(list(texts), context_length=length).numpy().astype(np.int64)
        longest = 1 + int((rows == self.end).argmax(axis=1).max(initial=0))
        return np.ascontiguousarray(rows[:, :longest])

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids up to the end."""
        return str(self._tokenizer.decode(_inside(ids, self))).strip()

    @property
    def described(self) -> str:
        """Number of byte pairs."""
        return f"clip {len(self)}"


def _inside(ids: Iterable[int], words: Words) -> list[int]:
    """Return the ids between begin and end."""
    listed = list(ids)
    if words.end in listed:
        listed = listed[: listed.index(words.end)]
    else:
        while listed and listed[-1] == words.pad:
            listed.pop()
    return [each for each in listed if each != words.begin]


def open(config: Text, folder: Path) -> Words | None:
    """Return the vocabulary of a model's folder; None where a frozen encoder reads sentences by itself.

    Raises:
        MissingWeights: tokenizer.json is missing.
    """
    if config.feature:
        return None
    return Clip() if config.clip else Learnt(Pieces.open(folder / FILE))
