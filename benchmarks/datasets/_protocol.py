"""The sampled protocol of fashion matching, for any task whose items are views of products.

Each of ``draws`` draws takes ``queries`` questions at random. One of a question's answers competes with one random
view of each of ``negatives`` other products of the same kind; where a kind has too few, products of other kinds
fill up, never the question's own. Figures are averaged within a draw, then over draws. Random scores give
R@1 / 5 / 10 of 0.0099 / 0.0495 / 0.0990 at 1 + 100.

Against the published evaluators: ids are never matched as formatted strings (one of them loses a tenth of its queries
so), the answer stands in no fixed place among its rivals, and the fill-up cannot bring back the question's own product.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from quiver.errors import BadData, BadSpec
from quiver.task import Question, Task
from quiver.types import Item


def sampled(
    task: Task, *, kind: str, product: str, queries: int = 1000, negatives: int = 100, draws: int = 5, seed: int = 0
) -> Task:
    """Turn a task in which all items compete into a sampled one.

    Args:
        task: what to draw from.
        kind: the meta column that negatives share with the answer, such as the sub-category.
        product: the meta column whose value views of one thing share.
        queries: questions per draw; all of them where there are fewer.
        negatives: rivals of each answer.
        draws: how often.
        seed: another seed, other draws.

    Returns:
        A task with ``draws * queries`` questions, grouped by draw, and only the items that compete somewhere.

    Raises:
        BadSpec: a count is not positive.
        BadData: there are too few products, or an item lacks a column.
    """
    if min(queries, negatives, draws) < 1:
        raise BadSpec(f"queries, negatives and draws must be at least 1, not {queries}, {negatives} and {draws}")
    shelf = _Shelf(task, kind, product)
    questions: list[Question] = []
    short = 0
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw])
        chosen = np.sort(rng.choice(len(task.questions), min(queries, len(task.questions)), replace=False))
        for number in chosen:
            question, filled = shelf.draw(task.questions[int(number)], negatives, rng)
            short += filled > 0
            questions.append(replace(question, id=f"draw{draw}/{question.id}", group=f"draw{draw}"))
    return _drawn(task, questions, f"1+{negatives} {draws}x{queries} seed={seed} same {kind}", short)


class _Shelf:
    """The items of a task by product, and the products by kind, both in order of appearance."""

    def __init__(self, task: Task, kind: str, product: str) -> None:
        self._name = task.name
        self._product = {item.id: _column(task, item, product) for item in task.items}
        self._views: dict[str, list[str]] = defaultdict(list)
        self._kind: dict[str, str] = {}
        for item in task.items:
            self._views[self._product[item.id]].append(item.id)
            self._kind.setdefault(self._product[item.id], _column(task, item, kind))
        self._kinds: dict[str, list[str]] = defaultdict(list)
        for name, its_kind in self._kind.items():
            self._kinds[its_kind].append(name)

    def draw(self, question: Question, negatives: int, rng: Generator) -> tuple[Question, int]:
        """Draw an answer and its negatives; also return the number of negatives of another category."""
        answers = [id for id in question.relevant if id not in question.exclude]
        answer = answers[int(rng.integers(len(answers)))]
        own = {self._product[id] for id in question.relevant}
        rivals = self._rivals(self._kinds[self._kind[self._product[answer]]], own, negatives, rng)
        filled = negatives - len(rivals)
        if filled:
            others = [name for name in self._kind if name not in rivals]
            rivals += self._rivals(others, own, filled, rng)
        if len(rivals) < negatives:
            raise BadData(f"{self._name}: {negatives} other products are needed, but only {len(rivals)} exist")
        views = [self._views[name][int(rng.integers(len(self._views[name])))] for name in rivals]
        candidates = tuple(sorted([answer, *views]))
        return replace(
            question, relevant={answer: question.relevant[answer]}, candidates=candidates, exclude=()
        ), filled

    @staticmethod
    def _rivals(names: Sequence[str], own: set[str], count: int, rng: Generator) -> list[str]:
        pool = [name for name in names if name not in own]
        return [pool[int(place)] for place in rng.choice(len(pool), min(count, len(pool)), replace=False)]


def _column(task: Task, item: Item, name: str) -> str:
    try:
        return str(item.meta[name])
    except KeyError:
        raise BadData(f"{task.name}: item {item.id} has no {name!r} in its meta") from None


def _drawn(task: Task, questions: list[Question], how: str, short: int) -> Task:
    used = {id for question in questions for id in question.candidates or ()}
    notes = (f"{short:,} draws had too few products of their kind and were filled up from others",) if short else ()
    return replace(
        task,
        items=[item for item in task.items if item.id in used],
        questions=questions,
        revision=hashlib.sha256(f"{task.revision}\n{how}".encode()).hexdigest(),
        protocol=f"sampled {how}: one answer among so many other products, figures are means over draws",
        notes=task.notes + notes,
    )
