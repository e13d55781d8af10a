"""Relevance judgements as arrays."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quiver.benchmarks.metric.ranking import Ragged
from quiver.errors import BadData
from quiver.task import Task
from quiver.types import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Judgements:
    """The relevant items of q queries, n altogether.

    Attributes:
        ids: (q,) ids of the queries.
        relevant: the relevant rows of each, positions in ``Task.items``.
        grades: (n,) int64 their grades, at least 1.
        competing: (q,) int64 number of competing items of each query.
        groups: (q,) names; figures are averaged within a group first, then over groups.
        sources: (q,) name of the source of each query, empty if no other query shares it; () if none is shared.

    Raises:
        BadData: there are no queries, the parts differ in length, or a grade is below 1.
    """

    ids: Sequence[str]
    relevant: Ragged
    grades: Rows
    competing: Rows
    groups: Sequence[str]
    sources: Sequence[str] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.relevant), len(self.competing), len(self.groups)}
        lengths |= {len(self.sources)} if self.sources else set()
        if len(lengths) != 1 or len(self.grades) != len(self.relevant.rows):
            raise BadData(f"judgements of {len(self.ids)} queries have parts of different lengths")
        if not self.ids:
            raise BadData("there are no queries: nothing can be measured")
        if (self.grades < 1).any():
            raise BadData("a grade of a relevant item must be at least 1")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counts(self) -> Rows:
        """(q,) number of relevant items."""
        return np.diff(self.relevant.starts)


def judge(task: Task) -> Judgements:
    """Convert a task's questions to arrays.

    A relevant item that the protocol leaves out of the competition (excluded, or no candidate) cannot be found and is
    not counted as relevant.

    Raises:
        BadData: a question names an item that the task lacks.
    """
    row = {item.id: number for number, item in enumerate(task.items)}
    try:
        found = list(_competition(task, row))
        rows = [[row[id] for id in grades] for grades, _ in found]
    except KeyError as error:
        raise BadData(f"{task.name}: a question names item {error.args[0]!r}, which the task lacks") from None
    return Judgements(
        ids=[question.id for question in task.questions],
        relevant=Ragged.of(rows),
        grades=np.array([grade for grades, _ in found for grade in grades.values()], np.int64),
        competing=np.array([count for _, count in found], np.int64),
        groups=[question.group for question in task.questions],
        sources=_sources([question.source for question in task.questions]),
    )


def _sources(named: Sequence[str]) -> Sequence[str]:
    """Return the sources if any two questions share one, else ()."""
    given = [name for name in named if name]
    return named if len(set(given)) < len(given) else ()


def _competition(task: Task, row: Mapping[str, int]) -> Iterator[tuple[dict[str, int], int]]:
    """Yield, for each question, the grades of the relevant items that compete, and how many items compete."""
    shared: tuple[str, ...] | None = None  # questions in a row often name one and the same tuple of candidates
    inside: Collection[str] = row
    for question in task.questions:
        if question.candidates is not shared:
            shared = question.candidates
            inside = row if shared is None else frozenset(shared)
        out = {id for id in question.exclude if id in inside}
        competes = {id for id in question.relevant if id not in out and (shared is None or id in inside)}
        yield {id: grade for id, grade in question.relevant.items() if id in competes}, len(inside) - len(out)
