"""What every dataset becomes: a task, with the items to search, the questions to ask, and what answers them.

A dataset module offers ``load(*, folder: Path | None = None, split: str = ..., ...) -> Task``, so that a spec such as
``"fashion_products track=composed split=validation"`` names one evaluation exactly. Training learns from tasks too:
what a question holds belongs together with what answers it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quiver.errors import BadData
from quiver.types import Item, Query, strings


@dataclass(frozen=True, slots=True)
class Question:
    """One query of a task, and what counts as an answer.

    Attributes:
        id: unique within its task.
        query: what is held; ``k``, ``index`` and ``spaces`` are left to the run.
        relevant: grade by item id, all positive.
        exclude: items that do not compete, such as the reference picture where the protocol leaves it out.
        candidates: the only items that compete, for sampled and subset protocols; None for all.
        group: figures are averaged within a group first, then over groups; one group where it is empty.
        source: what it was made from: captions of one photo, changes of one reference. Questions of one source go
            together, so that intervals draw sources; empty where it stands alone.
    """

    id: str
    query: Query
    relevant: Mapping[str, int]
    exclude: tuple[str, ...] = ()
    candidates: tuple[str, ...] | None = None
    group: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("exclude", "candidates"):
            if (given := getattr(self, name)) is not None and not isinstance(given, tuple):
                object.__setattr__(self, name, strings(given, name))


@dataclass(frozen=True, slots=True)
class Task:
    """One evaluation.

    Attributes:
        name: the spec that loads it.
        revision: hexadecimal hash of the files it was read from, and of the protocol.
        items: what is searched.
        questions: what is asked.
        measures: what the field reports, the headline first, as in ``"Success@10"`` (see ``benchmarks.metric``).
        target: the key of KEYS that is searched.
        protocol: one line: who competes, what is left out, how figures are averaged.
        source: where the data comes from, and its licence.
        notes: what was excluded and how many of it, known faults of the data.
    """

    name: str
    revision: str
    items: Sequence[Item]
    questions: Sequence[Question]
    measures: tuple[str, ...]
    target: str
    protocol: str
    source: str
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for name in ("measures", "notes"):
            if not isinstance(given := getattr(self, name), tuple):
                object.__setattr__(self, name, strings(given, name))


def check(task: Task) -> Task:
    """See that a task can be scored.

    Raises:
        BadData: an id stands twice, or a question has no relevant item, or names an item that is not there.
    """
    _unique([item.id for item in task.items], f"{task.name}: item")
    _unique([question.id for question in task.questions], f"{task.name}: question")
    known = {item.id for item in task.items}
    shared: tuple[str, ...] | None = None  # questions in a row often name one and the same tuple of candidates
    competing: frozenset[str] | None = None
    for question in task.questions:
        absent = set(question.relevant) - known
        if question.candidates is not shared:
            shared = question.candidates
            competing = None if shared is None else frozenset(shared)
            absent |= (competing or frozenset()) - known
        if absent:
            raise BadData(f"{task.name}: question {question.id} names item {min(absent)!r}, which is not there")
        answers = set(question.relevant).difference(question.exclude)
        if not (answers if competing is None else answers & competing):
            raise BadData(f"{task.name}: question {question.id} has no relevant item among those that compete")
    return task


def _unique(ids: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            raise BadData(f"{what} {id!r} stands twice")
        seen.add(id)
