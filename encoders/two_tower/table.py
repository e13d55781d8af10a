"""Pairs of a task whose items are a table: the same as of single items and questions, by operations on columns.

Ten million captioned pictures take minutes and some GB this way, and the better part of an hour and 28 GB as objects.
Shapes: n rows (questions with their answers), t things, m items that are searched.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import pyarrow as pa
from scipy import sparse

from quiver.encoders.two_tower.pairs import Pairs, Ragged, Things, matrix
from quiver.item_table import BLOCK, ItemTable, TextQuestions
from quiver.task import Task
from quiver.types import KEYS, Rows


class Texts(Sequence[str]):
    """References or texts of an Arrow array; a slice is a list."""

    def __init__(self, held: pa.Array) -> None:
        self._held = held

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [str(each) for each in self._held[place].to_pylist()]
        return str(self._held[range(len(self))[place]].as_py())

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), BLOCK):
            yield from self[start : start + BLOCK]


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """References of one key, of the items that are searched.

    Attributes:
        key: one of KEYS.
        items: (k,) places of the items that have one, ascending.
        code: (k,) the distinct reference of each.
        held: the distinct references, in the order in which they come.
        first: of each distinct reference the first item.
    """

    key: str
    items: Rows
    code: Rows
    held: pa.Array
    first: Rows


def gather_table(task: Task, *, own: bool) -> Pairs | None:
    """Read a task of items as a table; None if it is another one, or asks for different keys.

    Args:
        task: with an ``ItemTable`` and the ``TextQuestions`` of it.
        own: as for ``data.gather``.
    """
    items, questions = task.items, task.questions
    if not isinstance(items, ItemTable) or not isinstance(questions, TextQuestions) or questions.items is not items:
        return None
    target = KEYS.index(task.target)
    if "pair" in (task.target, *(["pair"] if items.holds("pair").any() else [])) or task.target == "text":
        return None
    if not len(questions) or (questions.wanted != target).any():
        return None
    searched = np.flatnonzero(items.holds(task.target))
    names = [key for key in KEYS[:-1] if (key in ("text", task.target) or own) and items.holds(key).any()]
    columns = {key: _column(items, key, searched) for key in names}
    numbers = _numbered(columns, task.target, own=own, count=len(searched))
    return _paired(items, questions, searched, columns, numbers, task.target, own=own)


def _column(items: ItemTable, key: str, searched: Rows) -> _Column:
    own = np.flatnonzero(items.holds(key)[searched])
    told = items.table[key].take(pa.array(searched[own])).combine_chunks().dictionary_encode()
    code = told.indices.to_numpy().astype(np.int64)
    return _Column(key, own, code, told.dictionary, own[np.unique(code, return_index=True)[1]])


def _numbered(columns: dict[str, _Column], target: str, *, own: bool, count: int) -> dict[str, Rows]:
    """Return by key the number of each distinct reference, in the order in which single items would be read.

    With ``own`` an item gives its first key, then its target, then the others; without, all targets come before texts.
    """
    leading = np.full(count, len(KEYS))
    for key, column in columns.items():
        np.minimum.at(leading, column.items, KEYS.index(key))
    item, place, sizes = list[Rows](), list[Rows](), list[int]()
    for key, column in columns.items():
        rank = np.full(len(column.first), float(KEYS.index(key)))
        if key == target:
            rank = np.where(leading[column.first] == KEYS.index(key), rank, leading[column.first] + 0.5)
        item.append(column.first if own or key == target else column.first + count)
        place.append(rank)
        sizes.append(len(rank))
    order = np.lexsort((np.concatenate(place), np.concatenate(item)))
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return dict(zip(columns, np.split(number, np.cumsum(sizes)[:-1]), strict=True))


def _paired(
    items: ItemTable,
    questions: TextQuestions,
    searched: Rows,
    columns: dict[str, _Column],
    numbers: dict[str, Rows],
    target: str,
    *,
    own: bool,
) -> Pairs:
    size = sum(map(len, numbers.values()))
    ordered = sorted(columns, key=lambda key: int(numbers[key].min()))
    things = Things(
        {key: Texts(columns[key].held) for key in ordered},
        _of_things(size, numbers, {key: np.full(len(numbers[key]), ordered.index(key)) for key in ordered}).astype(
            np.int8
        ),
        _of_things(size, numbers, {key: np.arange(len(numbers[key])) for key in ordered}),
    )
    by_item = {key: _of_items(len(items), searched, columns[key], numbers[key]) for key in columns}
    ask, right = by_item["text"][questions.rows], by_item[target][questions.rows]
    answers = _answers(questions.alike, right)
    known = matrix(ask, answers, size)
    asked = len(ask)
    if own:
        thing, found = _held(by_item, columns, target, known)
        start = len(answers.flat) + np.arange(len(found))
        ask = np.concatenate([ask, thing])
        answers = Ragged(
            np.concatenate([answers.start, start]),
            np.concatenate([answers.stop, start + 1]),
            np.concatenate([answers.flat, found]),
        )
        known = matrix(ask, answers, size)
    return Pairs(things, ask, answers, np.unique(numbers[target]), known, asked)


def _of_things(size: int, numbers: dict[str, Rows], values: dict[str, Rows]) -> Rows:
    found = np.zeros(size, np.int64)
    for key, number in numbers.items():
        found[number] = values[key]
    return found


def _of_items(count: int, searched: Rows, column: _Column, number: Rows) -> Rows:
    """Return the thing of each item, -1 for none."""
    found = np.full(count, -1, np.int64)
    found[searched[column.items]] = number[column.code]
    return found


def _answers(alike: Rows, right: Rows) -> Ragged:
    """Return the right answers of each question: those of all questions alike, sorted; they are shared."""
    both = np.unique(np.stack([alike, right]), axis=1)
    codes, start = np.unique(both[0], return_index=True)
    stop = np.append(start[1:], both.shape[1])
    group = np.searchsorted(codes, alike)
    return Ragged(start[group].astype(np.int64), stop[group].astype(np.int64), both[1])


def _held(
    by_item: dict[str, Rows], columns: dict[str, _Column], target: str, known: sparse.csr_array
) -> tuple[Rows, Rows]:
    """Return what items hold with what is searched of them, sorted, without pairs that are known."""
    size = known.shape[0]
    keys = [
        by_item[key][both] * size + by_item[target][both]
        for key in columns
        for both in [np.flatnonzero((by_item[key] >= 0) & (by_item[target] >= 0))]
    ]
    rows = np.repeat(np.arange(size), np.diff(known.indptr))
    taken = rows * size + known.indices
    left = np.setdiff1d(np.concatenate(keys), taken)
    return left // size, left % size
