"""Tasks: the common form of all data sets, with items, questions and right answers.

A dataset module offers ``load(*, folder: Path | None = None, split: str = ..., ...) -> Task``, so that a spec such as
``"fashion_products track=composed split=validation"`` names one evaluation exactly. Training learns from tasks too:
the inputs of a question and its right answers are pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quiver.errors import BadData
from quiver.types import Item, Query, strings

#: Answers from which on a mapping of them is worth keeping, to see it again.
_MANY = 100


@dataclass(frozen=True, slots=True)
class Question:
    """One query of a task, and its right answers.

    Attributes:
        id: unique within its task.
        query: the inputs; the run sets ``k``, ``index`` and ``spaces``.
        relevant: grade by item id, all positive.
        exclude: items that do not compete, such as the reference picture if the protocol excludes it.
        candidates: the only items that compete, for sampled and subset protocols; None for all.
        group: figures are averaged within a group first, then over groups; empty for a single group.
        source: the object that it was made from, such as a photo with several captions. Intervals resample sources,
            each with all of its questions; empty if no other question shares it.
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
        items: the items to search.
        questions: the questions.
        measures: the usual measures of the field, the headline first, as in ``"Success@10"`` (see
            ``benchmarks.metric``).
        target: the key of KEYS to search.
        protocol: one line: the competing items, exclusions, and averaging of figures.
        source: origin and licence of the data.
        notes: exclusions with their numbers, and known faults of the data.
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
    """Check that a task can be scored.

    Raises:
        BadData: an id occurs twice, or a question has no relevant item or names an item that the task lacks.
    """
    _unique([item.id for item in task.items], f"{task.name}: item")
    _unique([question.id for question in task.questions], f"{task.name}: question")
    known = {item.id for item in task.items}
    shared: tuple[str, ...] | None = None  # questions in a row often name one and the same tuple of candidates
    competing: frozenset[str] | None = None
    sound: dict[int, Mapping[str, int]] = {}  # likewise of answers, by the id of their mapping, which is kept alive
    for question in task.questions:
        if id(question.relevant) in sound and not question.exclude and question.candidates is None:
            continue
        absent = set(question.relevant) - known
        if question.candidates is not shared:
            shared = question.candidates
            competing = None if shared is None else frozenset(shared)
            absent |= (competing or frozenset()) - known
        if absent:
            raise BadData(f"{task.name}: question {question.id} names item {min(absent)!r}, which the task lacks")
        answers = set(question.relevant).difference(question.exclude)
        if not (answers if competing is None else answers & competing):
            raise BadData(f"{task.name}: question {question.id} has no relevant item among those that compete")
        if len(question.relevant) >= _MANY:
            sound[id(question.relevant)] = question.relevant
    return task


def _unique(ids: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            raise BadData(f"{what} {id!r} occurs twice")
        seen.add(id)
