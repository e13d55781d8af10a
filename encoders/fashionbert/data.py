"""Training data of FashionBERT: matching pairs of text and picture, and negative pairs.

Reference: alibaba/EasyTransfer, ``scripts/fashion_bert``, Apache-2.0: one negative per positive, static, from the same
sub-category. Deviates: negatives are drawn anew each time, also from the batch and from what a recall would find.
Shapes: t texts, i pictures, n pairs, B pairs of a batch, M near ones.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from quiver.encoders._contrast import in_table
from quiver.encoders._patch.extract import Halves
from quiver.encoders._pieces import Pieces
from quiver.encoders._train import extract
from quiver.encoders.fashionbert.loss import Batch
from quiver.encoders.fashionbert.mask import mask_patches, mask_words
from quiver.errors import BadData, BadSpec
from quiver.task import Task
from quiver.types import Floats, Item, Rows

NEGATIVES = ("category", "batch", "mined")
#: The meta column that says what sub-category a thing is of, where the recipe does not name one.
CATEGORIES = ("sub_category", "category", "label")
#: Pictures and texts that a recall finds, of which a mined negative is one.
NEAR = 50
#: Draws of a negative that turn out to belong together, before other products are tried.
TRIES = 16


@dataclass(frozen=True, eq=False)
class Pairs:
    """Texts and pictures, and which belong together.

    Attributes:
        texts: t different ones.
        pictures: references of i different items' pictures.
        kinds: (i,) int64, the sub-category of each picture; -1 where it has none.
        rows: (n, 2) int64, text and picture of each pair that belongs together, to be learnt.
        right: for every text all pictures that belong to it, as a question says or as another of equal words does.
        kind: the meta column of kinds; empty where there is none.
    """

    texts: tuple[str, ...]
    pictures: tuple[str, ...]
    kinds: Rows
    rows: Rows
    right: tuple[frozenset[int], ...]
    kind: str

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def of_picture(self) -> dict[int, int]:
        """A pair of each picture that has one."""
        return {picture: row for row, picture in enumerate(self.rows[:, 1].tolist())}

    @cached_property
    def of_kind(self) -> dict[int, Rows]:
        """The pairs of each sub-category."""
        kinds = self.kinds[self.rows[:, 1]]
        return {int(kind): np.flatnonzero(kinds == kind) for kind in np.unique(kinds)}

    @cached_property
    def table(self) -> sparse.csr_array:
        """(t, i) bool, the pictures that belong to each text."""
        counts = [len(each) for each in self.right]
        columns = np.fromiter((picture for each in self.right for picture in sorted(each)), np.int64, sum(counts))
        ends = np.cumsum([0, *counts])
        shape = (len(self.texts), len(self.pictures))
        return sparse.csr_array((np.ones(len(columns), bool), columns, ends), shape=shape)

    def places(self, texts: Rows, pictures: Rows) -> tuple[Rows, Rows]:
        """Return the places (row, column) where a picture (column) belongs to a text (row)."""
        return in_table(self.table, texts, pictures)

    def readable(self, mask: NDArray[np.bool_]) -> "Pairs":
        """Leave out the pairs of pictures (i,) that cannot be read.

        Raises:
            BadData: none is left.
        """
        kept = self.rows[mask[self.rows[:, 1]]]
        if not len(kept):
            raise BadData("none of the pictures that belong to a text can be read")
        return replace(self, rows=kept)


def gather(task: Task, *, kind: str = "", fields: str = "") -> Pairs:
    """Take from a task its questions of text alone, with the pictures that answer them.

    Args:
        task: items with images, questions with text.
        kind: the meta column of sub-categories; "" takes the first of CATEGORIES that is there.
        fields: meta columns, joined by commas, whose values follow the text in one more pair of every picture.

    Raises:
        BadData: there is nothing to learn from.
        BadSpec: no item has such a column.
    """
    items = [item for item in task.items if "image" in item.media]
    kind = _column(items, kind)
    extra = [name.strip() for name in fields.split(",") if name.strip()]
    if absent := [name for name in extra if not any(name in item.meta for item in items)]:
        raise BadSpec(f"fields={fields}: no item of {task.name} has {absent[0]!r} in its meta")
    place = {item.id: number for number, item in enumerate(items)}
    right: dict[str, dict[int, None]] = defaultdict(dict)
    for question in task.questions:
        media = question.query.media
        text = media.get("text")
        if set(media) == {"text"} and isinstance(text, str) and text.strip():
            right[text].update(dict.fromkeys(place[id] for id in question.relevant if id in place))
    bare = {text: found for text, found in right.items() if found}
    if not bare:
        raise BadData(f"{task.name} has no question of text that an item with a picture answers")
    full = _told(bare, items, extra)
    texts = tuple(full)
    rows = [(number, picture) for number, text in enumerate(texts) for picture in full[text][1]]
    return Pairs(
        texts=texts,
        pictures=tuple(item.media["image"] for item in items),
        kinds=_numbers([str(item.meta[kind]) if kind and kind in item.meta else None for item in items]),
        rows=np.array(rows, np.int64),
        right=tuple(full[text][0] for text in texts),
        kind=kind,
    )


def _told(
    bare: dict[str, dict[int, None]], items: Sequence[Item], extra: Sequence[str]
) -> dict[str, tuple[frozenset[int], list[int]]]:
    """Return all texts, each with all that is right for it, and the pictures it is learnt with."""
    full = {text: (frozenset(found), list(found)) for text, found in bare.items()}
    for text, found in bare.items() if extra else ():
        for picture in found:
            values = [str(items[picture].meta[name]) for name in extra if name in items[picture].meta]
            more = " ".join([text, *values])
            known, own = full.get(more, (frozenset(), []))
            # All pictures of the bare text stay right: none of them may become its negative.
            full[more] = (known | frozenset(found), own if picture in own else [*own, picture])
    return full


def _column(items: Sequence[Item], kind: str) -> str:
    known = {name for item in items for name in item.meta}
    if kind and kind not in known:
        raise BadSpec(f"category={kind}: no item has that in its meta; there are {', '.join(sorted(known)) or 'none'}")
    return kind or next((name for name in CATEGORIES if name in known), "")


def _numbers(values: Sequence[str | None]) -> Rows:
    known: dict[str, int] = {}
    return np.array([-1 if value is None else known.setdefault(value, len(known)) for value in values], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Negatives:
    """Draws pairs that do not belong together.

    Attributes:
        pairs: what belongs together.
        ways: of NEGATIVES, each as likely as the others.
        near_pictures: for each text what a recall finds, without what is right; () where nothing is mined.
        near_texts: likewise for each picture.
    """

    pairs: Pairs
    ways: tuple[str, ...]
    near_pictures: tuple[Rows, ...] = ()
    near_texts: tuple[Rows, ...] = ()

    @classmethod
    def of(cls, pairs: Pairs, ways: str, *, recall: str = "", cache: Path | None = None) -> "Negatives":
        """Prepare the ways named, joined by "+".

        Args:
            pairs: what belongs together.
            ways: such as ``category+mined``.
            recall: spec of an encoder that embeds texts and pictures in one space, for ``mined``.
            cache: where its vectors are kept.

        Raises:
            BadSpec: a way is unknown, or ``mined`` has no recall.
            BadData: all texts belong to all pictures.
        """
        chosen = tuple(way.strip() for way in ways.split("+"))
        if unknown := set(chosen) - set(NEGATIVES):
            raise BadSpec(f"negatives={ways}: {min(unknown)!r} is not one of {', '.join(NEGATIVES)}, joined by +")
        if ("mined" in chosen) != bool(recall):
            raise BadSpec("negatives=mined needs recall=SPEC, an encoder of texts and pictures, and nothing else does")
        if all(len(right) == len(pairs.pictures) for right in pairs.right):
            raise BadData("every text belongs to every picture: there are no negatives to learn from")
        near = mine(pairs, recall, cache=cache) if recall else ((), ())
        return cls(pairs, chosen, *near)

    def draw(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Return for each pair of a batch one (text, picture) that keeps its text or its picture: (B, 2)."""
        return np.array([self._one(int(row), rows, rng) for row in rows], np.int64).reshape(-1, 2)

    def _one(self, row: int, batch: Rows, rng: np.random.Generator) -> tuple[int, int]:
        way = self.ways[int(rng.integers(len(self.ways)))]
        keeps_text = bool(rng.integers(2))
        text, picture = self.pairs.rows[row].tolist()
        if way == "mined":
            near = self.near_pictures[text] if keeps_text else self.near_texts[picture]
            if len(near):
                found = int(near[int(rng.integers(len(near)))])
                return (text, found) if keeps_text else (found, picture)
        for other in self._others(row, batch if way == "batch" else self._shelf(picture), rng):
            its_text, its_picture = self.pairs.rows[other].tolist()
            made = (text, its_picture) if keeps_text else (its_text, picture)
            if made[1] not in self.pairs.right[made[0]]:
                return made
        raise BadData(f"no negative is found for {self.pairs.texts[text]!r}: too many pictures belong to it")

    def _shelf(self, picture: int) -> Rows:
        return self.pairs.of_kind[int(self.pairs.kinds[picture])]

    def _others(self, row: int, pool: Rows, rng: np.random.Generator) -> Iterator[int]:
        """Draw rows from a pool, then from everything."""
        for _ in range(TRIES):
            yield int(pool[int(rng.integers(len(pool)))])
        yield from (int(other) for other in rng.permutation(len(self.pairs)))


def mine(pairs: Pairs, recall: str, *, cache: Path | None = None) -> tuple[tuple[Rows, ...], tuple[Rows, ...]]:
    """Find hard negatives of an encoder: pictures (M,) of every text, texts (M,) of every picture."""
    texts, _ = extract(recall, "text", pairs.texts, cache=cache)
    pictures, mask = extract(recall, "image", pairs.pictures, cache=cache)
    if texts.shape[1] != pictures.shape[1]:
        raise BadSpec(f"recall={recall!r} embeds texts and pictures in different spaces")
    wrong: list[list[int]] = [[] for _ in pairs.pictures]
    for text, right in enumerate(pairs.right):
        for picture in right:
            wrong[picture].append(text)
    learnt = np.zeros(len(pictures), bool)
    learnt[pairs.rows[:, 1]] = True
    seen = nearest(texts, pictures, [list(right) for right in pairs.right], allow=mask & learnt, count=NEAR)
    heard = nearest(pictures, texts, wrong, allow=np.ones(len(texts), bool), count=NEAR)
    return seen, heard


def nearest(
    asking: Floats, held: Floats, without: Sequence[Sequence[int]], *, allow: NDArray[np.bool_], count: int
) -> tuple[Rows, ...]:
    """Return for each row that asks the rows of largest product, without those that it must not find."""
    columns = torch.from_numpy(held).T
    shut = torch.from_numpy(~allow)
    found: list[Rows] = []
    for start in range(0, len(asking), 1024):
        scores = torch.from_numpy(asking[start : start + 1024]) @ columns
        scores[:, shut] = -torch.inf
        for place, rows in enumerate(without[start : start + 1024]):
            scores[place, list(rows)] = -torch.inf
        best = scores.topk(min(count, len(held)))
        found += [rows[score > -torch.inf].numpy() for score, rows in zip(*best, strict=True)]
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """Makes batches.

    Attributes:
        negatives: what pairs are drawn from.
        features: (i, P, F) float16, in memory or mapped.
        pieces: of texts.
        limit: pieces of a text, special ones included.
        words: share of pieces to guess, one at least; 0 for none.
        patches: share of patches to guess.
        rivals: negatives of every pair.
    """

    negatives: Negatives
    features: Halves
    pieces: Pieces
    limit: int
    words: float
    patches: float
    rivals: int

    def fetch(self, rows: Rows, rng: np.random.Generator) -> Batch:
        """Return pairs that belong together and, after them, ``rivals`` times as many that do not."""
        pairs = self.negatives.pairs
        drawn = [self.negatives.draw(rows, rng) for _ in range(self.rivals)]
        text, picture = np.concatenate([pairs.rows[rows], *drawn]).T
        ids = self.pieces.encode([pairs.texts[number] for number in text], limit=self.limit)
        hidden_ids, picked = ids, np.zeros(ids.shape, bool)
        if self.words:
            most = max(1, round(self.words * self.limit))
            hidden_ids, picked = mask_words(ids, self.pieces, rng, rate=self.words, most=most)
        hidden = mask_patches(len(picture), self.features.shape[1], rng, rate=self.patches)
        match = np.zeros(len(text), np.int64)
        match[: len(rows)] = 1
        patches = np.asarray(self.features[picture])
        return Batch(*map(torch.from_numpy, (hidden_ids, ids, picked, patches, hidden, match)))
