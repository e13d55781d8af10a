"""Tasks as triplets: reference picture, text of the change, and target pictures.

A batch takes one answer of each of its questions, at random. Answers are known as sets, so a target that answers
another question of the batch as well, or that the question's protocol leaves out, does not compete there: the authors
of ARTEMIS count it as wrong.

Legend: q questions, n pictures, B rows of a batch.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadData
from quiver.task import Question, Task
from quiver.types import Rows


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
        grade: of each answer, as its question says; larger is better.
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
    grade: Rows
    spared: Rows
    barred: Rows
    among: tuple[Rows | None, ...]
    group: tuple[str, ...]
    left_out: int

    def __len__(self) -> int:
        return len(self.reference)

    def describe(self) -> str:
        """Describe the data for people."""
        counts = np.diff(self.start)
        lost = f"; {self.left_out:,} questions hold no picture and words, or have no answer" if self.left_out else ""
        return (
            f"{len(self):,} questions of picture and words over {len(self.gallery):,} pictures, "
            f"{counts.mean():.1f} answers each, {len(set(self.wishes)):,} texts{lost}"
        )

    @property
    def shown(self) -> Rows:
        """Places of the pictures that a batch may hold."""
        return np.union1d(self.reference, self.answer)

    def draw(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Return the place of one answer of each question: (B,)."""
        first, count = self.start[rows], self.start[rows + 1] - self.start[rows]
        return self.answer[first + (rng.random(len(rows)) * count).astype(np.int64)]

    def best(self) -> "Triplets":
        """Keep of each question the answers of its highest grade alone; the others still do not compete."""
        most = np.maximum.reduceat(self.grade, self.start[:-1])
        kept = self.grade == np.repeat(most, np.diff(self.start))
        counts = np.add.reduceat(kept, self.start[:-1])
        return replace(self, start=np.cumsum([0, *counts]), answer=self.answer[kept], grade=self.grade[kept])

    @property
    def widest(self) -> int:
        """The most pictures that compete for one question beside its answer; 0 where all of the gallery does."""
        return max((len(each) - 1 for each in self.among if each is not None), default=0)

    def members(self, rows: Rows, target: Rows, *, wrong: bool) -> tuple[Rows, NDArray[np.int8]]:
        """Return the other pictures of each question's set, its candidates.

        Args:
            rows: (B,) questions.
            target: (B,) what ``draw`` gave.
            wrong: whether candidates that are no answer are negatives; otherwise they do not take part.

        Returns:
            Places (B, E), E as ``widest``, filled up with the target; and (B, E): 1 for answers, -1 for negatives, 0
            for what does not take part.
        """
        places = np.repeat(target[:, None], self.widest, axis=1)
        labels = np.zeros(places.shape, np.int8)
        for place, (row, own) in enumerate(zip(rows.tolist(), target.tolist(), strict=True)):
            among = self.among[row]
            if among is not None:
                others = among[among != own][: self.widest]
                right = np.isin(others, self.answer[self.start[row] : self.start[row + 1]])
                barred = _within(row * len(self.pictures) + others, self.spared) | (others == self.reference[row])
                places[place, : len(others)] = others
                labels[place, : len(others)] = np.where(right, 1, np.where(barred | (not wrong), 0, -1))
        return places, labels

    def same(self, rows: Rows, target: Rows) -> NDArray[np.bool_]:
        """Say which targets (columns) must not compete for which questions: (B, B)."""
        return _within(rows[:, None] * len(self.pictures) + target, self.spared)

    def out(self, row: int, places: Rows) -> NDArray[np.bool_]:
        """Say which pictures the protocol of a question leaves out."""
        return _within(row * len(self.pictures) + places, self.barred)


def _within(keys: Rows, known: Rows) -> NDArray[np.bool_]:
    if not len(known):
        return np.zeros(keys.shape, bool)
    return cast(NDArray[np.bool_], known[np.searchsorted(known, keys).clip(max=len(known) - 1)] == keys)


def pictures(task: Task) -> tuple[Any, ...]:
    """Return the references of all pictures of a task: those of its items, then others that questions hold."""
    return tuple(_table(task)[0])


def _table(task: Task) -> tuple[dict[Any, int], dict[str, int], list[int | None]]:
    """Return the place of each picture, that of each item, and that of each question's reference."""
    places: dict[Any, int] = {}
    of_item = {
        item.id: places.setdefault(item.media["image"], len(places)) for item in task.items if "image" in item.media
    }
    return places, of_item, [_held(question, of_item, places) for question in task.questions]


def gather(task: Task, seen: NDArray[np.bool_] | None = None) -> Triplets:
    """Read a task.

    Args:
        task: questions that hold one image, or one stored example, and text; items with an image.
        seen: (n,) of ``pictures``, False for those that cannot be read: questions without such a reference and answer
            are left out.

    Raises:
        BadData: no question is left.
    """
    places, of_item, held = _table(task)
    seen = np.ones(len(places), bool) if seen is None else seen
    kept: list[tuple[Question, int, Rows]] = []
    for question, reference in zip(task.questions, held, strict=True):
        right = np.setdiff1d(_places(question.relevant, of_item, seen), _places(question.exclude, of_item, seen))
        if reference is not None and seen[reference] and len(right):
            kept.append((question, reference, right))
    if not kept:
        raise BadData(
            f"{task.name}: none of its {len(task.questions):,} questions has an image and text and is answered by "
            "an image: composed retrieval learns from such, as fashion_iq, or 'products.csv edits=colour,gender' has"
        )
    return _assemble(task, kept, tuple(places), of_item, seen)


def _assemble(
    task: Task,
    kept: list[tuple[Question, int, Rows]],
    refs: tuple[Any, ...],
    of_item: dict[str, int],
    seen: NDArray[np.bool_],
) -> Triplets:
    shared: dict[int, Rows] = {}  # many questions name one and the same tuple of candidates
    for question, _, _ in kept:
        if question.candidates is not None and id(question.candidates) not in shared:
            shared[id(question.candidates)] = _places(question.candidates, of_item, seen)
    n = len(refs)
    answers = [right for _, _, right in kept]
    barred = [row * n + _places(question.exclude, of_item, seen) for row, (question, _, _) in enumerate(kept)]
    right = np.concatenate([row * n + answer for row, answer in enumerate(answers)])
    out = np.concatenate(barred)
    return Triplets(
        pictures=refs,
        gallery=np.flatnonzero(np.isin(np.arange(n), list(of_item.values())) & seen),
        wishes=tuple(_texts(question) for question, _, _ in kept),
        reference=np.array([reference for _, reference, _ in kept]),
        start=np.cumsum([0, *map(len, answers)]),
        answer=np.concatenate(answers),
        grade=np.concatenate([_grades(question, right, of_item) for question, _, right in kept]),
        spared=np.union1d(right, out),
        barred=np.unique(out),
        among=tuple(None if q.candidates is None else shared[id(q.candidates)] for q, _, _ in kept),
        group=tuple(question.group for question, _, _ in kept),
        left_out=len(task.questions) - len(kept),
    )


def _grades(question: Question, right: Rows, of_item: dict[str, int]) -> Rows:
    found = {of_item[id]: grade for id, grade in question.relevant.items() if id in of_item}
    return np.array([found[place] for place in right.tolist()], np.int64)


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
