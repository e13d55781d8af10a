"""Training data: sentences about changes, and the pairs of pictures that they describe.

The sample is a sentence, as in the reference: a pair with five sentences is seen five times in an epoch. Equal
sentences are one sentence with the answers of all of them, so that no batch counts a right answer as wrong.
Legend: n rows (sentences with their answers), t distinct sentences, p distinct pairs, i distinct pictures; b rows of a
batch.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from quiver.encoders._contrast import in_table
from quiver.encoders._train.damage import Decoder, replaced
from quiver.errors import BadData
from quiver.task import Question, Task
from quiver.types import Item, Rows, keys_of

#: Column of an item with a further picture: the state before, seen from elsewhere or in another light.
DISTRACTOR = "distractor"
#: Answers from which on a mapping of them is worth keeping.
_MANY = 100


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """Sentences with the pairs that they describe.

    Attributes:
        texts: t distinct sentences.
        pictures: i distinct references.
        pairs: (p, 3) int64, the pictures before and after, and the distractor of the one before or -1.
        ask: (n,) int64, the sentence of each row.
        answers: of each row the pairs that are right, sorted.
        right: (t, p) bool, the pairs that each sentence describes.
        known: likewise, and the pairs that do not compete for it.
    """

    texts: list[str]
    pictures: list[Any]
    pairs: Rows
    ask: Rows
    answers: list[Rows]
    right: sparse.csr_array
    known: sparse.csr_array

    def __len__(self) -> int:
        return len(self.ask)

    def describe(self) -> str:
        """Say how much there is."""
        distractors = int((self.pairs[:, 2] >= 0).sum())
        also = f", {distractors:,} with a distractor" if distractors else ""
        return f"{len(self):,} sentences ({len(self.texts):,} different) about {len(self.pairs):,} pairs{also}"

    def related(self, texts: Rows, pairs: Rows) -> NDArray[np.bool_]:
        """Return (b, b) bool: where pair j does not compete for sentence i."""
        found: NDArray[np.bool_] = self.known[texts][:, pairs].toarray()
        return found

    def places(self, texts: Rows, pairs: Rows) -> tuple[Rows, Rows]:
        """Return the places (row, column) where a pair does not compete for a sentence, without the matrix."""
        return in_table(self.known, texts, pairs)

    def readable(self, mask: NDArray[np.bool_]) -> "Captions":
        """Leave out pairs with unreadable pictures, and rows without an answer.

        Args:
            mask: (i,) bool.

        Raises:
            BadData: no row is left.
        """
        if mask.all():
            return self
        good: NDArray[np.bool_] = np.all(mask[self.pairs[:, :2]], axis=1)
        answers = [each[good[each]] for each in self.answers]
        keep = [row for row, each in enumerate(answers) if len(each)]
        if not keep:
            raise BadData("clip4idc: no sentence is left about a pair of pictures that can be read")
        pairs = self.pairs.copy()
        seen = pairs[:, 2] >= 0
        pairs[seen, 2] = np.where(mask[pairs[seen, 2]], pairs[seen, 2], -1)
        return replace(self, pairs=pairs, ask=self.ask[keep], answers=[answers[row] for row in keep])


@dataclass(slots=True)
class _Table:
    """Distinct things by number, in the order in which they came."""

    known: dict[Hashable, int] = field(default_factory=dict)
    held: list[Any] = field(default_factory=list)

    def add(self, name: Hashable, value: Any) -> int:
        if name not in self.known:
            self.known[name] = len(self.held)
            self.held.append(value)
        return self.known[name]


@dataclass(slots=True)
class _Gathering:
    task: Task
    texts: _Table = field(default_factory=_Table)
    pictures: _Table = field(default_factory=_Table)
    pairs: _Table = field(default_factory=_Table)
    ask: list[int] = field(default_factory=list)
    answers: list[Rows] = field(default_factory=list)
    barred: list[Rows] = field(default_factory=list)
    right: dict[int, tuple[Mapping[str, int], Rows]] = field(default_factory=dict)

    def pair(self, media: Mapping[str, Any], meta: Mapping[str, Any]) -> int:
        """Return the number of a pair."""
        both = tuple(self._picture(media[name]) for name in ("before", "after"))
        other = meta.get(DISTRACTOR) or None
        return self.pairs.add(both, (*both, -1 if other is None else self._picture(other)))

    def _picture(self, ref: Any) -> int:
        return self.pictures.add(ref if isinstance(ref, str | bytes) else id(ref), ref)

    def row(self, text: Any, right: Sequence[int] | Rows, barred: Sequence[int] = ()) -> None:
        """Add a sentence with its answers; an array of them is sorted."""
        if not isinstance(text, str):
            raise BadData(f"{self.task.name}: a sentence must be a text, not {type(text).__name__}")
        self.ask.append(self.texts.add(" ".join(text.casefold().split()), text))
        self.answers.append(right if isinstance(right, np.ndarray) else np.array(sorted(set(right)), np.int64))
        self.barred.append(np.array(sorted(set(barred)), np.int64))

    def done(self) -> Captions:
        shape = (len(self.texts.held), len(self.pairs.held))
        right = matrix(self.ask, self.answers, shape)
        known = matrix([*self.ask, *self.ask], [*self.answers, *self.barred], shape)
        pairs = np.array(self.pairs.held, np.int64).reshape(-1, 3)
        return Captions(self.texts.held, self.pictures.held, pairs, np.array(self.ask), self.answers, right, known)


def gather(task: Task) -> Captions:
    """Read a task: sentences that ask for pairs, or pairs that ask for sentences; or items with both.

    Raises:
        BadData: a question holds something else, or there is no sentence about a pair.
    """
    found = _Gathering(task)
    items = {item.id: item for item in task.items}
    pairs = {item.id: found.pair(item.media, item.meta) for item in task.items if "pair" in keys_of(item.media)}
    for question in task.questions:
        if question.query.media.keys() == {"text"} and not question.query.like:
            _sentence(found, question, pairs)
        elif question.query.media.keys() == {"before", "after"} and not question.query.like:
            _pair(found, question, items)
        else:
            raise BadData(
                f"{task.name}: question {question.id} holds {_held(question)}; clip4idc takes a text, or the pictures "
                "before and after"
            )
    if not task.questions:
        for item in task.items:
            if item.id in pairs and item.media.get("text"):
                found.row(item.media["text"], [pairs[item.id]])
    if not found.ask:
        raise BadData(f"{task.name}: there is no sentence about a pair of pictures (before and after) to learn from")
    return found.done()


def _sentence(found: _Gathering, question: Question, pairs: Mapping[str, int]) -> None:
    one = id(question.relevant)  # thousands of questions may share one mapping of thousands of answers, which is kept
    if question.exclude or one not in found.right:
        numbers = {pairs[each] for each in question.relevant if each in pairs and each not in question.exclude}
        right = np.array(sorted(numbers), np.int64)
        if not question.exclude and len(right) >= _MANY:
            found.right[one] = question.relevant, right
    else:
        _, right = found.right[one]
    if not len(right):
        raise BadData(f"{found.task.name}: no item that answers question {question.id} has pictures before and after")
    found.row(question.query.media["text"], right, [pairs[id] for id in question.exclude if id in pairs])


def _pair(found: _Gathering, question: Question, items: Mapping[str, Item]) -> None:
    """Add a row for each sentence about the pair that asks."""
    number = found.pair(question.query.media, {})
    for id in question.relevant:
        if items[id].media.get("text"):
            found.row(items[id].media["text"], [number])


def _held(question: Question) -> str:
    return ", ".join([*question.query.media, *(["stored items"] * bool(question.query.like))]) or "nothing"


def matrix(ask: Sequence[int] | Rows, answers: Sequence[Rows], shape: tuple[int, int]) -> sparse.csr_array:
    """Return (t, p) bool: True for each sentence of ``ask`` and its ``answers``."""
    once = {(int(row), id(each)): each for row, each in zip(ask, answers, strict=True)}  # arrays may be shared
    rows = np.repeat(np.array([row for row, _ in once], np.int64), [len(each) for each in once.values()])
    columns = np.concatenate([*once.values(), np.empty(0, np.int64)])
    return sparse.csr_array((np.ones(len(rows), bool), (rows, columns)), shape=shape)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Pictures as features of a frozen network.

    Attributes:
        rows: (i, P, F) float16, which may be mapped from disk.
    """

    rows: NDArray[np.float16]

    def __call__(self, pictures: Rows) -> Tensor:
        """Return (b, ..., P, F) float32 of pictures (b, ...)."""
        return torch.from_numpy(self.rows[pictures].astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Pictures as pixels, decoded each time.

    Attributes:
        decode: decodes several, and notes those that cannot be read.
        refs: of all pictures.
    """

    decode: Decoder
    refs: Sequence[Any]

    def __call__(self, pictures: Rows) -> Tensor:
        """Return (b, ..., S, S, 3) uint8 of pictures (b, ...); one that cannot be read any more is black."""
        found = self.read(pictures.ravel())
        blank = next((np.zeros_like(each) for each in found if each is not None), np.zeros((1, 1, 3), np.uint8))
        return torch.from_numpy(np.stack([blank if each is None else each for each in found])).unflatten(
            0, pictures.shape
        )

    def read(self, pictures: Rows) -> list[Any]:
        """Return (S, S, 3) uint8 of each picture (b,), or None."""
        return self.decode([self.refs[int(each)] for each in pictures])


Pictures = Callable[[Rows], Tensor]


def seen(
    pictures: Pictures, rows: Rows, rng: np.random.Generator, draw: Callable[[Rows], tuple[Rows, Rows]], *, count: int
) -> tuple[Rows, Rows, Tensor]:
    """Draw a pair for each row, and take its pictures; rows whose pictures cannot be read give way to others.

    Args:
        pictures: of ``Features`` or ``Pixels``.
        rows: (b,) int64 of the training set.
        rng: of the step.
        draw: given rows, returns something drawn for each, and its two pictures (b, 2).
        count: rows of the training set.

    Returns:
        Rows (b,), what was drawn (b,), and inputs of the encoder of pairs (b, 2, ...).
    """
    if not isinstance(pictures, Pixels):
        drawn, both = draw(rows)
        return rows, drawn, pictures(both)

    def read(some: Rows) -> list[tuple[Any, Any] | None]:
        drawn, both = draw(some)
        found = pictures.read(both.ravel())
        pairs = zip(drawn.tolist(), found[::2], found[1::2], strict=True)
        return [None if before is None or after is None else (each, (before, after)) for each, before, after in pairs]

    rows, found = replaced(rows, rng, read, count=count, damage=pictures.decode.damage.where)
    pixels = np.stack([np.stack(both) for _, both in found])
    return rows, np.array([each for each, _ in found], np.int64), torch.from_numpy(pixels)


@dataclass(frozen=True, slots=True, eq=False)
class Sentences:
    """Sentences as the text encoder is given them.

    Attributes:
        rows: (t, L) int64 ids, padded to the longest; or (t, F) float32 vectors of a frozen encoder.
        end: the id of the end of a sentence; None for vectors.
    """

    rows: NDArray[Any]
    end: int | None

    def __call__(self, texts: Rows) -> Tensor:
        """Return those of some sentences, ids cut to the longest of them."""
        rows = self.rows[texts]
        if self.end is not None:
            rows = rows[:, : 1 + int((rows == self.end).argmax(axis=1).max(initial=0))]
        return torch.from_numpy(np.ascontiguousarray(rows))


@dataclass(frozen=True, slots=True, eq=False)
class Fetch:
    """Makes batches: sentences, and of each one a pair, drawn from those that it describes.

    Attributes:
        captions: sentences and pairs.
        sentences: inputs of the text encoder.
        pictures: inputs of the encoder of pairs.
        distractors: share of the pairs with a distractor whose picture before is replaced by it: then the change is
            told although everything else was seen from elsewhere.
    """

    captions: Captions
    sentences: Sentences
    pictures: Pictures
    distractors: float = 0.0

    def __call__(self, rows: Rows, rng: np.random.Generator) -> dict[str, Any]:
        """Return ``given`` for the model, and ``rows`` (b, 2): the sentences and pairs."""
        rows, chosen, pictures = seen(
            self.pictures, rows, rng, lambda some: self._drawn(some, rng), count=len(self.captions)
        )
        texts = self.captions.ask[rows]
        return {
            "given": (self.sentences(texts), pictures),
            "rows": torch.from_numpy(np.stack([texts, chosen], axis=1)),
        }

    def _drawn(self, rows: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
        """Return a pair (b,) of each row, and its two pictures (b, 2)."""
        chosen = np.array([rng.choice(self.captions.answers[row]) for row in rows])
        pairs = self.captions.pairs[chosen]
        replaced = (rng.random(len(rows)) < self.distractors) & (pairs[:, 2] >= 0)
        return chosen, np.stack([np.where(replaced, pairs[:, 2], pairs[:, 0]), pairs[:, 1]], axis=1)


def chunked(count: int, size: int) -> list[slice]:
    """Return slices that cover ``count`` rows."""
    return [slice(start, start + size) for start in range(0, count, size)]
