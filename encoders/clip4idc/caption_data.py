"""Training data of captioning: pairs of pictures, changed and unchanged, each with its sentences.

The sample is a pair, as in the reference, and one of its sentences is drawn at each visit. A sentence that describes
several pairs belongs to each of them.
Legend: p pairs with a sentence, t distinct sentences; b rows of a batch, L ids of its longest sentence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quiver.encoders.clip4idc.data import Captions, Pictures, matrix, seen
from quiver.task import Task
from quiver.types import Rows, keys_of

#: Columns of an item that name what changed; NOTHING in one of them marks an unchanged pair.
CHANGE = ("change", "type")
NOTHING = "none"


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """Pairs with their sentences.

    Attributes:
        captions: sentences and pictures.
        pairs: (p,) int64, numbers of the pairs that have a sentence.
        texts: of each of them the sentences, sorted.
        changed: (p,) bool, False where nothing but viewpoint and light changed.
        ids: (t, L) int64, the ids of all sentences.
        end: id of the end of a sentence.
        pictures: pictures (b, 2) to (b, 2, ...).
    """

    captions: Captions
    pairs: Rows
    texts: list[Rows]
    changed: NDArray[np.bool_]
    ids: Rows
    end: int
    pictures: Pictures

    def __len__(self) -> int:
        return len(self.pairs)

    def references(self, row: int) -> list[str]:
        """Return the sentences of a pair."""
        return [self.captions.texts[text] for text in self.texts[row]]

    def describe(self) -> str:
        """Say how much there is."""
        same = int((~self.changed).sum())
        return f"{len(self):,} pairs ({same:,} unchanged), {len(self.captions.texts):,} different sentences"


def collect(
    captions: Captions, task: Task, pictures: Pictures, *, encode: Callable[[list[str]], Rows], end: int
) -> Told:
    """Return the pairs of a task that have a sentence.

    Args:
        captions: of the task, without unreadable pairs.
        task: whose items say which pairs are unchanged.
        pictures: inputs of the encoder of pairs.
        encode: texts to ids.
        end: id of the end of a sentence.
    """
    said = matrix(captions.ask, captions.answers, captions.right.shape).T.tocsr()  # (p, t)
    pairs = np.flatnonzero(np.diff(said.indptr))
    same = _unchanged(task)
    refs = [tuple(captions.pictures[place] for place in captions.pairs[pair, :2]) for pair in pairs]
    return Told(
        captions=captions,
        pairs=pairs,
        texts=[np.sort(each).astype(np.int64) for each in np.split(said.indices, said.indptr[1:-1]) if len(each)],
        changed=np.array([both not in same for both in refs]),
        ids=encode(captions.texts),
        end=end,
        pictures=pictures,
    )


def _unchanged(task: Task) -> set[tuple[Any, Any]]:
    """Return the references of the pairs that items call unchanged."""
    return {
        (item.media["before"], item.media["after"])
        for item in task.items
        if "pair" in keys_of(item.media) and NOTHING in [item.meta.get(name) for name in CHANGE]
    }


@dataclass(frozen=True, slots=True, eq=False)
class FetchTold:
    """Makes batches: pairs, each with one of its sentences.

    Attributes:
        told: the pairs.
        distractors: share of the pairs with a distractor whose picture before is replaced by it.
    """

    told: Told
    distractors: float = 0.0

    def __call__(self, rows: Rows, rng: np.random.Generator) -> dict[str, Any]:
        """Return ``pictures`` (b, 2, ...), ``ids`` (b, L) and ``changed`` (b,)."""
        told = self.told
        rows, texts, pictures = seen(told.pictures, rows, rng, lambda some: self._drawn(some, rng), count=len(told))
        ids = told.ids[texts]
        longest = 1 + int((ids == told.end).argmax(axis=1).max(initial=0))
        return {
            "pictures": pictures,
            "ids": torch.from_numpy(np.ascontiguousarray(ids[:, :longest])),
            "changed": torch.from_numpy(told.changed[rows]),
        }

    def _drawn(self, rows: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
        """Return a sentence (b,) of each pair, and its two pictures (b, 2)."""
        told = self.told
        texts = np.array([rng.choice(told.texts[row]) for row in rows])
        pairs = told.captions.pairs[told.pairs[rows]]
        replaced = (rng.random(len(rows)) < self.distractors) & (pairs[:, 2] >= 0)
        return texts, np.stack([np.where(replaced, pairs[:, 2], pairs[:, 0]), pairs[:, 1]], axis=1)
