"""Word pieces: BERT's WordPiece, trained on a corpus of one's own or read from a checkpoint.

Library: github.com/huggingface/tokenizers, Apache-2.0.
Shapes: n texts, L pieces of the longest, V pieces of the vocabulary.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from quiver.errors import BadData, MissingWeights
from quiver.types import Rows

FILE = "tokenizer.json"
#: Their order is that of their ids in a vocabulary trained here: padding is 0.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Pieces:
    """A WordPiece tokenizer, lower case unless its file says otherwise.

    Attributes:
        tokenizer: of the library.

    Raises:
        BadData: it lacks a special piece of BERT.
    """

    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        if absent := [piece for piece in SPECIAL if self.tokenizer.token_to_id(piece) is None]:
            raise BadData(f"the vocabulary has no {', '.join(absent)}: these are not the word pieces of a BERT")

    @classmethod
    def train(cls, texts: Iterable[str], *, size: int = 8192, frequency: int = 2) -> Self:
        """Learn a vocabulary; the same corpus gives the same one.

        Args:
            texts: the corpus.
            size: pieces at most, special ones included.
            frequency: how often a pair of pieces must occur to be joined.
        """
        corpus = list(texts)
        tokenizer = _bert(models.WordPiece(unk_token="[UNK]"), lower=True)
        # The library numbers "##a", "##b", ... in the order of a hash that changes from run to run, and breaks ties
        # between pairs by number: naming these pieces beforehand makes the vocabulary a function of the corpus.
        learner = trainers.WordPieceTrainer(
            vocab_size=size,
            min_frequency=frequency,
            special_tokens=[*SPECIAL, *_letters(tokenizer, corpus)],
            show_progress=False,
        )
        tokenizer.train_from_iterator(corpus, learner)
        model = models.WordPiece(tokenizer.get_vocab(), unk_token="[UNK]")
        return cls(_bert(model, lower=True))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read ``tokenizer.json``, or a folder that holds it or BERT's ``vocab.txt``.

        Raises:
            MissingWeights: there is none.
        """
        file = path / FILE if path.is_dir() else path
        vocabulary = file.with_name("vocab.txt")
        if file.is_file():
            tokenizer = Tokenizer.from_file(str(file))
            tokenizer.no_padding()  # lengths are this class's business, whatever the file was saved with
            tokenizer.no_truncation()
            tokenizer.encode_special_tokens = True  # a text that reads "[PAD]" is words, not padding
            return cls(tokenizer)
        if not vocabulary.is_file():
            raise MissingWeights(f"{path} has neither {FILE} nor vocab.txt")
        settings = file.with_name("tokenizer_config.json")
        told = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
        model = models.WordPiece.from_file(str(vocabulary), unk_token="[UNK]")
        return cls(_bert(model, lower=told.get("do_lower_case", True)))

    def save(self, path: Path) -> None:
        """Write ``tokenizer.json`` to this path."""
        self.tokenizer.save(str(path))

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def id(self, piece: str) -> int:
        """Return the number of a piece, such as ``[MASK]``.

        Raises:
            BadData: the vocabulary does not have it.
        """
        number = self.tokenizer.token_to_id(piece)
        if number is None:
            raise BadData(f"the vocabulary has no piece {piece!r}")
        return number

    @cached_property
    def special(self) -> NDArray[np.bool_]:
        """(V,) bool: special pieces, which are not part of a text."""
        flags = np.zeros(len(self), bool)
        flags[[self.id(piece) for piece in SPECIAL if piece != "[UNK]"]] = True
        return flags

    @cached_property
    def continues(self) -> NDArray[np.bool_]:
        """(V,): pieces that continue a word, as ``##ing`` does."""
        flags = np.zeros(len(self), bool)
        flags[[number for piece, number in self.tokenizer.get_vocab().items() if piece.startswith("##")]] = True
        return flags

    def split(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the pieces of each text, without special ones."""
        return [found.ids for found in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def encode(self, texts: Sequence[str], *, limit: int) -> Rows:
        """Return ``[CLS] text [SEP]`` as (n, L) int64, padded to the longest, the ends of long texts cut off.

        Args:
            texts: in words.
            limit: of L, special pieces included.
        """
        start, end = self.id("[CLS]"), self.id("[SEP]")
        return self._pad([[start, *ids[: limit - 2], end] for ids in self.split(texts)])

    def encode_pairs(self, texts: Sequence[str], tags: Sequence[str], *, limit: int) -> tuple[Rows, Rows]:
        """Return ``[CLS] text [SEP] tags [SEP]`` as ids and segments, (n, L) int64 each.

        The text keeps its pieces and the tags get what is left of the limit (Oscar's rule of fine-tuning); tags
        and the piece that ends them are segment 1, the rest and padding segment 0.
        """
        start, end = self.id("[CLS]"), self.id("[SEP]")
        heads = [[start, *ids[: limit - 3], end] for ids in self.split(texts)]
        tails = [[*ids[: limit - len(head) - 1], end] for head, ids in zip(heads, self.split(tags), strict=True)]
        ids = self._pad([head + tail for head, tail in zip(heads, tails, strict=True)])
        types = np.zeros_like(ids)
        for row, head, tail in zip(types, heads, tails, strict=True):
            row[len(head) : len(head) + len(tail)] = 1
        return ids, types

    def _pad(self, rows: Sequence[Sequence[int]]) -> Rows:
        out = np.full((len(rows), max(map(len, rows), default=0)), self.id("[PAD]"), np.int64)
        for row, ids in zip(out, rows, strict=True):
            row[: len(ids)] = ids
        return out


def _bert(model: models.WordPiece, *, lower: bool) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _letters(tokenizer: Tokenizer, corpus: Iterable[str]) -> list[str]:
    """Return the pieces of one letter that continue a word somewhere in a corpus, sorted."""
    normalise, cut = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
    words = {word for text in corpus for word, _ in cut(normalise(text))}
    return sorted({f"##{letter}" for word in words for letter in word[1:]})
