"""Training data: stills, clips, and the activities that both show.

A still is a question with a picture whose answers are clips; in a task without questions it is an item with a picture,
whose answers are the clips with its label. In every epoch a still is paired anew with one of its answers.

Shapes: n stills, g clips, B rows of a batch, C classes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from quiver.errors import BadData
from quiver.task import Question, Task
from quiver.types import Floats, Item, Rows, keys_of, source_of, sources_of

#: Separates several activities of one clip.
SEVERAL = "|"


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Stills with the clips that answer them.

    Attributes:
        stills: n references.
        clips: g references.
        classes: names of the activities.
        label: (n,) int64 activity of each still.
        answers: of each still the clips that are right and compete: places in ``clips``, sorted.
        right: of each still those answers that show its own activity, with which it is paired.
        out: of each still the clips that do not compete, such as its own.
        meta: metadata of each clip.
        shown: of each clip its activities.
        notes: what was left out, in words.
    """

    stills: Sequence[Any]
    clips: Sequence[Any]
    classes: tuple[str, ...]
    label: Rows
    answers: Sequence[Rows]
    right: Sequence[Rows]
    out: Sequence[Rows]
    meta: Sequence[Mapping[str, Any]]
    shown: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.stills)

    def describe(self) -> str:
        """Say how much there is."""
        return f"{len(self):,} stills and {len(self.clips):,} clips of {len(self.classes):,} activities"

    def without(self, stills: NDArray[np.bool_], clips: NDArray[np.bool_]) -> tuple["Pairs", Rows]:
        """Leave out what cannot be read; return also the places of the stills that are left.

        Args:
            stills: (n,) False where a still cannot be read; such stills are dropped.
            clips: (g,) False where a clip cannot be read; such clips keep their place and answer nothing.

        Raises:
            BadData: no still is left with a clip.
        """
        dead = np.flatnonzero(~clips)
        answers = [np.setdiff1d(each, dead) for each in self.answers]
        right = [np.setdiff1d(each, dead) for each in self.right]
        keep = [row for row in range(len(self)) if stills[row] and len(right[row])]
        if not keep:
            raise BadData("map_ivr: no still that can be read has a clip of its activity that can be read")
        lost = f"{len(self) - len(keep)} stills left out: they, or all clips of their activity, cannot be read"
        kept = replace(
            self,
            stills=[self.stills[row] for row in keep],
            label=self.label[keep],
            answers=[answers[row] for row in keep],
            right=[right[row] for row in keep],
            out=[np.union1d(self.out[row], dead).astype(np.int64) for row in keep],
            notes=(*self.notes, *([lost] if len(keep) < len(self) else [])),
        )
        return kept, np.array(keep, np.int64)


@dataclass(frozen=True, slots=True)
class _Still:
    ref: Any
    relevant: frozenset[str]
    exclude: frozenset[str]


def gather(task: Task, *, label: str | None = None) -> Pairs:
    """Read a task.

    Args:
        task: its questions hold a picture, and its items videos.
        label: metadata column with the activities of clips; None takes clips that answer the same stills as one
            activity, named by a column that says the same, if there is one.

    Raises:
        BadData: there are no stills or no clips, or the column is missing.
    """
    clips = [item for item in task.items if "video" in keys_of(item.media)]
    if not clips:
        raise BadData(f"{task.name}: no item has a video: map_ivr learns from stills and clips of one activity")
    stills = _asked(task.questions, [item.id for item in clips]) or _own(task.items, clips, label)
    if not stills:
        raise BadData(
            f"{task.name}: no question has a picture: give a task of stills and clips, or a table of pictures and "
            "videos and the column of their activity with data.label=COLUMN"
        )
    shown = _labels(task, clips, label) if label else _components(clips, stills)
    return _paired(clips, stills, shown)


def _asked(questions: Sequence[Question], clips: Sequence[str]) -> list[_Still]:
    """Return the pictures of questions; with candidates, all others are excluded."""
    found = []
    everything = frozenset(clips)
    for question in questions:
        relevant = frozenset(question.relevant)
        exclude = frozenset(question.exclude)
        if question.candidates is not None:
            exclude |= everything.difference(question.candidates)
        if keys_of(question.query.media) == ("image",) and not question.query.like:
            found += [_Still(ref, relevant, exclude) for ref in sources_of(question.query.media, "image")]
    return found


def _own(items: Sequence[Item], clips: Sequence[Item], label: str | None) -> list[_Still]:
    """Return the pictures of items, which ask for the clips of their label, but not for their own."""
    if label is None:
        return []
    found = []
    for item in items:
        if "image" in keys_of(item.media):
            named = set(_split(item.meta.get(label)))
            relevant = frozenset(clip.id for clip in clips if named & set(_split(clip.meta.get(label))))
            found.append(_Still(source_of(item.media, "image"), relevant, frozenset([item.id])))
    return found


def _split(value: Any) -> tuple[str, ...]:
    text = "" if value is None else str(value)
    return tuple(part.strip() for part in text.split(SEVERAL) if part.strip())


def _labels(task: Task, clips: Sequence[Item], label: str) -> list[tuple[str, ...]]:
    found = [_split(item.meta.get(label)) for item in clips]
    if not any(found):
        there = ", ".join(sorted({name for item in clips for name in item.meta})) or "none"
        raise BadData(f"{task.name}: no clip has a value in the column {label!r}; its columns are {there}")
    return found


def _components(clips: Sequence[Item], stills: Sequence[_Still]) -> list[tuple[str, ...]]:
    """Return one activity for each clip: clips are of one if stills link them."""
    place = {item.id: number for number, item in enumerate(clips)}
    links = [(row, place[id]) for row, still in enumerate(stills) for id in still.relevant if id in place]
    rows, columns = np.array(links, np.int64).reshape(-1, 2).T
    graph = sparse.coo_array((np.ones(len(rows)), (rows, len(stills) + columns)), shape=[len(stills) + len(clips)] * 2)
    _, part = sparse.csgraph.connected_components(graph, directed=False)
    numbers = part[len(stills) :]
    linked = np.unique(columns)  # an unlinked clip, which answers no still, is of the activity that its column says
    column = _naming(numbers[linked].tolist(), [clips[row] for row in linked.tolist()])
    if column is not None:
        return [(str(item.meta.get(column)),) for item in clips]
    order = {number: place + 1 for place, number in enumerate(np.unique(numbers).tolist())}
    return [(f"{UNNAMED}{order[number]}",) for number in numbers.tolist()]


def _naming(numbers: Sequence[int], clips: Sequence[Item]) -> str | None:
    """Return the column that has one value in each component and another in every other; None if there is none."""
    for column in sorted({name for item in clips for name in item.meta}):
        pairs = {(number, str(item.meta.get(column))) for number, item in zip(numbers, clips, strict=True)}
        if len(pairs) == len({value for _, value in pairs}) == len(set(numbers)):
            return column
    return None


#: Begins the names of activities that no column names; such names mean nothing in another task.
UNNAMED = "activity "


def _paired(clips: Sequence[Item], stills: Sequence[_Still], shown: Sequence[tuple[str, ...]]) -> Pairs:
    classes = tuple(sorted({name for names in shown for name in names}))
    number = {name: place for place, name in enumerate(classes)}
    place = {item.id: row for row, item in enumerate(clips)}
    made: list[tuple[_Still, int, Rows, Rows]] = []
    for still in stills:
        answers = _places(place, still.relevant - still.exclude)
        told = Counter(name for row in answers for name in shown[row])
        if told:
            name = min(told, key=lambda name: (-told[name], name))
            made.append((still, number[name], answers, answers[[name in shown[row] for row in answers.tolist()]]))
    if not made:
        raise BadData("map_ivr: no still has a clip of its activity")
    lost = len(stills) - len(made)
    return Pairs(
        stills=[still.ref for still, *_ in made],
        clips=[source_of(item.media, "video") for item in clips],
        classes=classes,
        label=np.array([label for _, label, *_ in made], np.int64),
        answers=[answers for _, _, answers, _ in made],
        right=[right for *_, right in made],
        out=[_places(place, still.exclude) for still, *_ in made],
        meta=[item.meta for item in clips],
        shown=shown,
        notes=(f"{lost} stills left out: no other clip shows their activity",) if lost else (),
    )


def _places(place: Mapping[str, int], ids: frozenset[str]) -> Rows:
    return np.array(sorted(place[id] for id in ids if id in place), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Fetch:
    """Makes batches of stills, each with a clip of its activity that is drawn anew.

    Attributes:
        pairs: the training set.
        images: (n, F_u) features of its stills.
        videos: (g, F) features of its clips.
    """

    pairs: Pairs
    images: Floats
    videos: Floats

    def __call__(self, rows: Rows, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return ``image`` (B, F_u), ``video`` (B, F) and ``label`` (B,) of some stills."""
        drawn = np.array([rng.choice(self.pairs.right[row]) for row in rows])
        return {
            "image": torch.from_numpy(self.images[rows]),
            "video": torch.from_numpy(self.videos[drawn]),
            "label": torch.from_numpy(self.pairs.label[rows]),
        }
