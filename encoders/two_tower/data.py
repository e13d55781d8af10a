"""Training data: questions, and the items that answer them.

A thing is a key with a reference. Equal references are one thing, so that products of one name ask once in what counts
as wrong, and a batch that draws a right answer of another row's question does not call it wrong.
Shapes: n rows (questions with their answers), t things, b rows of a batch.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from quiver.encoders._train.damage import Decoder, replaced
from quiver.encoders.two_tower.pairs import Pairs, Ragged, Things, matrix
from quiver.encoders.two_tower.table import gather_table
from quiver.encoders.two_tower.word import Grams
from quiver.errors import BadData
from quiver.task import Question, Task
from quiver.types import Floats, Item, Rows, keys_of, source_of, sources_of


class Column(Protocol):
    """Inputs of a tower, for all media of one key."""

    def __call__(self, rows: Rows) -> dict[str, Tensor]:
        """Return it of some of them, one row each."""
        ...


@runtime_checkable
class ReadColumn(Column, Protocol):
    """Inputs of a tower that reads its media each time."""

    decode: Decoder

    def read(self, rows: Rows) -> list[Any]:
        """Return the media of some of them, None where they cannot be read."""
        ...

    def given(self, rows: Rows, read: Sequence[Any]) -> dict[str, Tensor]:
        """Return the inputs, with media that have been read."""
        ...


@dataclass(slots=True)
class _Gathered:
    """Things as they come: references by key, and the key and place of each thing."""

    refs: dict[str, list[Any]] = field(default_factory=dict)
    key: list[str] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    known: dict[Hashable, int] = field(default_factory=dict)

    def add(self, key: str, ref: Any) -> int:
        """Return the number of a thing, a new one where it is new."""
        name = (key, ref if isinstance(ref, str | bytes | tuple) else id(ref))
        if name not in self.known:
            held = self.refs.setdefault(key, [])
            self.known[name] = len(self.key)
            self.key.append(key)
            self.row.append(len(held))
            held.append(ref)
        return self.known[name]

    def done(self) -> Things:
        places = {key: place for place, key in enumerate(self.refs)}
        kind = np.array([places[key] for key in self.key], np.int8)
        return Things(self.refs, kind, np.array(self.row, np.int64))


def gather(task: Task, *, own: bool) -> Pairs:
    """Read a task.

    Args:
        task: its questions hold one kind of media each.
        own: whether what else an item holds belongs with what is searched of it, too.

    Raises:
        BadData: a question holds more than one kind of media or none, or no item that answers it has what is searched.
    """
    if (pairs := gather_table(task, own=own)) is not None:
        return pairs
    things = _Gathered()
    held = _held(task, things, own=own)  # before the questions: blocks of features then are of items as they come
    items = {item.id: item for item in task.items}
    ask, answers, barred = list[int](), list[Rows](), list[Rows]()
    for question in task.questions:
        right, other = _answers(question, items, things, task)
        key, refs = _asks(question, task.name)
        for ref in refs:
            ask.append(things.add(key, ref))
            answers.append(right)
            barred.append(other)
    asked = len(ask)
    if own:
        known = matrix(np.array(ask, np.int64), Ragged.of(answers), len(things.key))
        for thing, found in sorted(held):
            if not known[thing, found]:
                ask.append(thing)
                answers.append(np.array([found]))
    if not ask:
        raise BadData(f"{task.name}: there is no question to learn from")
    every, found_by = np.array(ask), Ragged.of(answers)
    known = matrix(np.array([*ask, *ask[:asked]]), Ragged.of([*answers, *barred]), len(things.key))
    searched = np.unique(np.concatenate([[found for _, found in held], found_by.flat]).astype(np.int64))
    return Pairs(things.done(), every, found_by, searched, known, asked)


def _held(task: Task, things: _Gathered, *, own: bool) -> set[tuple[int, int]]:
    """Return what each item holds with what is searched of it: the latter with itself, and all else where it counts."""
    return {
        (things.add(key, source_of(item.media, key)), things.add(task.target, source_of(item.media, task.target)))
        for item in task.items
        if task.target in keys_of(item.media)
        for key in (keys_of(item.media) if own else (task.target,))
    }


def _asks(question: Question, where: str) -> tuple[str, tuple[Any, ...]]:
    media = question.query.media
    keys = keys_of(media)
    if len(keys) != 1 or question.query.like:
        held = ", ".join([*keys, *(["stored items"] * bool(question.query.like))]) or "nothing"
        raise BadData(f"{where}: question {question.id} holds {held}; two_tower takes questions with one input")
    return keys[0], sources_of(media, keys[0])


def _answers(question: Question, items: Mapping[str, Item], things: _Gathered, task: Task) -> tuple[Rows, Rows]:
    """Return the right answers, and the other items that do not compete."""
    target = question.query.target or task.target
    found = {}
    for id in (*question.relevant, *question.exclude):
        media = items[id].media
        if target in keys_of(media):
            found[id] = things.add(target, source_of(media, target))
    barred = {found[id] for id in question.exclude if id in found}
    right = {found[id] for id in question.relevant if id in found} - barred
    if not right:
        raise BadData(f"{task.name}: no item that answers question {question.id} has {target}")
    return np.array(sorted(right)), np.array(sorted(barred), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Vectors of frozen encoders, and n-grams, of the things of one key.

    Attributes:
        rows: (t, F) float32; None where the tower has words alone.
        grams: of the things; None where the tower has none.
    """

    rows: Floats | None
    grams: Grams | None

    def __call__(self, rows: Rows) -> dict[str, Tensor]:
        """Return ``features`` and ``grams`` of some things."""
        given = {} if self.rows is None else {"features": torch.from_numpy(self.rows[rows])}
        if self.grams is not None:
            given["grams"] = torch.from_numpy(self.grams(rows))
        return given


def side(
    things: Things, columns: Mapping[str, Column], rows: Rows, read: Mapping[int, Any] | None = None
) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
    """Return by key the places of its things, and what the tower is given of them.

    Args:
        things: of the task.
        columns: by key.
        rows: (b,) numbers of things.
        read: media by thing that have been read for columns that take such; None reads them here.
    """
    kinds = things.kind[rows]
    found = {}
    for kind in dict.fromkeys(kinds.tolist()):
        key = things.keys[kind]
        places = np.flatnonzero(kinds == kind)
        own, column = things.row[rows[places]], columns[key]
        if read is not None and isinstance(column, ReadColumn):
            given = column.given(own, [read[thing] for thing in rows[places].tolist()])
        else:
            given = column(own)
        found[key] = (torch.from_numpy(places), given)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Fetch:
    """Makes batches: questions, and of each one answer, drawn from those that are right."""

    pairs: Pairs
    columns: Mapping[str, Column]

    def __call__(self, rows: Rows, rng: np.random.Generator) -> dict[str, Any]:
        """Return ``sides`` for the model and ``things`` (b, 2): which they are.

        Rows whose media cannot be read any more give way to others.
        """
        raw = {key: column for key, column in self.columns.items() if isinstance(column, ReadColumn)}
        if not raw:
            return self._made(self.pairs.ask[rows], self.pairs.answers.draw(rows, rng), {})
        media: dict[int, Any] = {}

        def read(some: Rows) -> list[tuple[int, int] | None]:
            drawn = [(int(self.pairs.ask[row]), int(rng.choice(self.pairs.answers[row]))) for row in some]
            wanted = dict.fromkeys(thing for both in drawn for thing in both if thing not in media)
            for key, column in raw.items():
                own = [thing for thing in wanted if self.pairs.things.key(thing) == key]
                places = np.array([self.pairs.things.row[thing] for thing in own], np.int64)
                media.update(zip(own, column.read(places) if own else (), strict=True))
            return [None if any(media.get(thing, thing) is None for thing in both) else both for both in drawn]

        where = next(iter(raw.values())).decode.damage.where
        _, drawn = replaced(rows, rng, read, count=len(self.pairs), damage=where)
        ask, answer = np.array(drawn, np.int64).reshape(-1, 2).T
        return self._made(ask, answer, media)

    def _made(self, ask: Rows, answer: Rows, media: Mapping[int, Any]) -> dict[str, Any]:
        sides = tuple(side(self.pairs.things, self.columns, each, media) for each in (ask, answer))
        return {"sides": sides, "things": torch.from_numpy(np.stack([ask, answer], axis=1))}
