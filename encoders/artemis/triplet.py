"""Tasks as triplets: what a question holds, what it asks to be different, and the pictures that answer it.

A batch takes one answer of each of its questions, at random. Answers are known as sets, so a target that answers
another question of the batch as well, or that the question's protocol leaves out, does not compete there: the authors
of ARTEMIS count it as wrong. Questions of several wishes are heard in a random order every time; a data set that joins
two captions to one text gives both orders as questions (``fashion_iq captions=both``).

Legend: q questions, n pictures, B rows of a batch, L ids, W features.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quiver.encoders import _pool
from quiver.encoders.artemis.model import Batch
from quiver.encoders.artemis.word import Vocabulary
from quiver.errors import BadData
from quiver.protocols import Reader
from quiver.task import Question, Task
from quiver.types import Floats, Rows

#: Pictures decoded at a time.
THREADS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Triplets:
    """Questions of a reference and words.

    Attributes:
        pictures: n references, first those of the items in their order, then of what is held but no item.
        gallery: (g,) places in ``pictures`` of what is searched.
        wishes: of each question, the texts.
        reference: (q,) places in ``pictures``.
        start: (q + 1,) where the answers of each question begin.
        answer: places in ``pictures``, ascending in each question.
        spared: sorted ``question * n + place`` of all that does not compete as a negative: answers and exclusions.
        barred: sorted, likewise, of exclusions alone.
        among: of each question the only places that compete, or None for the gallery.
        group: of each question, what figures are averaged over first.
        left_out: questions that are no triplets.
    """

    pictures: tuple[Any, ...]
    gallery: Rows
    wishes: tuple[tuple[str, ...], ...]
    reference: Rows
    start: Rows
    answer: Rows
    spared: Rows
    barred: Rows
    among: tuple[Rows | None, ...]
    group: tuple[str, ...]
    left_out: int

    def __len__(self) -> int:
        return len(self.reference)

    def describe(self) -> str:
        """Say what there is, for people."""
        counts = np.diff(self.start)
        lost = f"; {self.left_out:,} questions hold no picture and words, or have no answer" if self.left_out else ""
        return (
            f"{len(self):,} questions of picture and words over {len(self.gallery):,} pictures, "
            f"{counts.mean():.1f} answers each, {len(set(self.wishes)):,} texts{lost}"
        )

    def draw(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Return the place of one answer of each question: (B,)."""
        first, count = self.start[rows], self.start[rows + 1] - self.start[rows]
        return self.answer[first + (rng.random(len(rows)) * count).astype(np.int64)]

    def same(self, rows: Rows, target: Rows) -> NDArray[np.bool_]:
        """Say which targets (columns) must not compete for which questions: (B, B)."""
        return _within(rows[:, None] * len(self.pictures) + target, self.spared)


def _within(keys: Rows, known: Rows) -> NDArray[np.bool_]:
    if not len(known):
        return np.zeros(keys.shape, bool)
    return cast(NDArray[np.bool_], known[np.searchsorted(known, keys).clip(max=len(known) - 1)] == keys)


def gather(task: Task, mask: Callable[[tuple[Any, ...]], NDArray[np.bool_]] | None = None) -> Triplets:
    """Read a task.

    Args:
        task: questions that hold one image, or one stored example, and text; items with an image.
        mask: given all pictures, says which can be read; questions without such a reference and answer are left out.

    Raises:
        BadData: no question is left.
    """
    shown = [item for item in task.items if "image" in item.media]
    places: dict[Any, int] = {}
    of_item = {item.id: places.setdefault(item.media["image"], len(places)) for item in shown}
    held = [_held(question, of_item, places) for question in task.questions]
    pictures = tuple(places)
    seen = np.ones(len(pictures), bool) if mask is None else mask(pictures)
    kept: list[tuple[Question, int, Rows]] = []
    for question, reference in zip(task.questions, held, strict=True):
        right = _places(question.relevant, of_item, seen)
        right = right[~np.isin(right, _places(question.exclude, of_item, seen))]
        if reference is not None and seen[reference] and len(right):
            kept.append((question, reference, right))
    if not kept:
        raise BadData(
            f"{task.name}: none of its {len(task.questions):,} questions holds an image and text and is answered by "
            "an image: composed retrieval learns from such, as fashion_iq, or 'products.csv edits=colour,gender' has"
        )
    return _assemble(task, kept, pictures, of_item, seen)


def _assemble(
    task: Task, kept: list[tuple[Question, int, Rows]], pictures: tuple[Any, ...], of_item: dict[str, int], seen: Any
) -> Triplets:
    shared: dict[int, Rows] = {}  # many questions name one and the same tuple of candidates
    for question, _, _ in kept:
        if question.candidates is not None and id(question.candidates) not in shared:
            shared[id(question.candidates)] = _places(question.candidates, of_item, seen)
    n = len(pictures)
    answers = [right for _, _, right in kept]
    barred = [row * n + _places(question.exclude, of_item, seen) for row, (question, _, _) in enumerate(kept)]
    right = np.concatenate([row * n + answer for row, answer in enumerate(answers)])
    out = np.concatenate(barred)
    return Triplets(
        pictures=pictures,
        gallery=np.flatnonzero(np.isin(np.arange(n), list(of_item.values())) & seen),
        wishes=tuple(_texts(question) for question, _, _ in kept),
        reference=np.array([reference for _, reference, _ in kept]),
        start=np.cumsum([0, *map(len, answers)]),
        answer=np.concatenate(answers),
        spared=np.union1d(right, out),
        barred=np.unique(out),
        among=tuple(None if q.candidates is None else shared[id(q.candidates)] for q, _, _ in kept),
        group=tuple(question.group for question, _, _ in kept),
        left_out=len(task.questions) - len(kept),
    )


def _held(question: Question, of_item: dict[str, int], places: dict[Any, int]) -> int | None:
    """Return the place of the one reference of a question that has words too, or None."""
    images = question.query.media.get("image", ())
    images = images if isinstance(images, list | tuple) else (images,)
    if len(images) + len(question.query.like) != 1 or not _texts(question):
        return None
    if question.query.like:
        return of_item.get(question.query.like[0])
    return places.setdefault(images[0], len(places))


def _texts(question: Question) -> tuple[str, ...]:
    texts = question.query.media.get("text", ())
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _places(ids: Any, of_item: dict[str, int], seen: NDArray[np.bool_]) -> Rows:
    places = np.array(sorted({of_item[id] for id in ids if id in of_item}), np.int64)
    return places[seen[places]]


class Looked(Protocol):
    """Pictures as the image tower takes them."""

    def __call__(self, places: Rows) -> Tensor:
        """Return (B, W) float32, or (B, S, S, 3) uint8, of pictures by place."""
        ...


class Heard(Protocol):
    """Words as the text tower takes them."""

    def __call__(self, rows: Rows, rng: np.random.Generator | None = None) -> Tensor:
        """Return (B, L) int64 or (B, W) float32 of questions by row; wishes in a random order where ``rng`` is."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Features made beforehand, (n, W), standardised: ``mean`` and ``std`` (W,) are those of what training looks at."""

    features: Floats
    mean: Floats
    std: Floats

    @classmethod
    def of(cls, features: Floats, learnt: Rows) -> "Table":
        """Standardise by the pictures at places ``learnt``; a column that never changes there stays as it is."""
        std = features[learnt].std(axis=0)
        return cls(features, features[learnt].mean(axis=0), np.where(std > 0, std, 1).astype(np.float32))

    def __call__(self, places: Rows) -> Tensor:
        """Return (B, W)."""
        return torch.from_numpy((self.features[places] - self.mean) / self.std)


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Pictures decoded when they are asked for.

    Attributes:
        pictures: references.
        read: decodes one into (S, S, 3) uint8.
    """

    pictures: tuple[Any, ...]
    read: Reader
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="decode"))

    def __call__(self, places: Rows) -> Tensor:
        """Return (B, S, S, 3).

        Raises:
            BadMedia: one of them cannot be decoded.
        """
        return torch.from_numpy(np.stack(list(self.pool.map(self.read, [self.pictures[place] for place in places]))))


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Words as ids.

    Attributes:
        vocabulary: of the model.
        wishes: of each question.
    """

    vocabulary: Vocabulary
    wishes: tuple[tuple[str, ...], ...]
    known: dict[tuple[str, ...], list[int]] = field(default_factory=dict)

    def __call__(self, rows: Rows, rng: np.random.Generator | None = None) -> Tensor:
        """Return (B, L)."""
        ids = [self._ids(_shuffled(self.wishes[row], rng)) for row in rows]
        longest = max(map(len, ids))
        return torch.tensor([row + [0] * (longest - len(row)) for row in ids])

    def _ids(self, wishes: tuple[str, ...]) -> list[int]:
        if wishes not in self.known:
            self.known[wishes] = self.vocabulary.ids(wishes)
        return self.known[wishes]


def _shuffled(wishes: tuple[str, ...], rng: np.random.Generator | None) -> tuple[str, ...]:
    if rng is None or len(wishes) < 2:
        return wishes
    return tuple(wishes[place] for place in rng.permutation(len(wishes)))


@dataclass(frozen=True, slots=True, eq=False)
class Sentences:
    """Words as features, (m, W) of m different texts; ``place`` (q,) says which text is each question's."""

    features: Floats
    place: Rows

    @classmethod
    def of(cls, wishes: Sequence[tuple[str, ...]], embed: Callable[[Sequence[str]], Floats]) -> "Sentences":
        """Embed every different text once; several wishes are the mean of their directions, as when asked for."""
        different = list(dict.fromkeys(wishes))
        rows = embed([wish for each in different for wish in each])
        places = {each: place for place, each in enumerate(different)}
        mean = _pool.unit(_pool.mean(rows, [len(each) for each in different]))
        return cls(mean, np.array([places[each] for each in wishes]))

    def __call__(self, rows: Rows, rng: np.random.Generator | None = None) -> Tensor:
        """Return (B, W)."""
        return torch.from_numpy(self.features[self.place[rows]])


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """Triplets as the model takes them."""

    triplets: Triplets
    look: Looked
    hear: Heard

    def fetch(self, rows: Rows, rng: np.random.Generator) -> Batch:
        """Return the batch of some questions, each with one of its answers."""
        target = self.triplets.draw(rows, rng)
        return Batch(
            reference=self.look(self.triplets.reference[rows]),
            words=self.hear(rows, rng),
            target=self.look(target),
            same=torch.from_numpy(self.triplets.same(rows, target)),
        )


__all__ = ["Lessons", "Pixels", "Sentences", "Table", "Tokens", "Triplets", "gather", "replace"]
