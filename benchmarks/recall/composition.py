"""Composition audit: what picture and words each contribute to composed questions, and whether the wording matters.

Every question is searched with both inputs, with its picture alone and with its words alone, and once more for every
other wording. A composed set whose questions fall to one half alone does not measure composition (arXiv 2605.14787); a
model whose answers change with the wording has learned a template (PinPoint, arXiv 2603.04598, finds a swing of 25 %).

An encoder that embeds pictures only cannot search by words alone: its scorer then gets both inputs, with the weight 0
for one of them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.recall.outcome import Options, Outcome
from quiver.benchmarks.recall.run import bench
from quiver.benchmarks.recall.setup import Setup
from quiver.errors import BadSpec, NoRoute
from quiver.paraphrases import paraphrases
from quiver.task import Question, Task

Hits = NDArray[np.bool_]
#: The measured cutoff.
K = 10
MEASURE = f"Success@{K}"
#: The halves of a question, and the ways to search by each: the first that can answer is used.
HALVES = {
    "picture": (Setup(held=("image",)), Setup(weights=(("image", 1.0), ("text", 0.0)))),
    "words": (Setup(held=("text",)), Setup(weights=(("image", 0.0), ("text", 1.0)))),
}


@dataclass(frozen=True, slots=True)
class Wordings:
    """Recall by wording.

    Attributes:
        names: an example of each wording, the plain one first.
        recall: share of the questions with a right answer among the first ten, by wording.
        swing: largest recall less the smallest.
        unstable: share of the questions that some wordings answer and others do not.
        kept: mean share of the first ten hits of the plain wording that another wording also has.
    """

    names: Sequence[str]
    recall: Sequence[float]
    swing: float
    unstable: float
    kept: float


@dataclass(frozen=True, slots=True)
class Audit:
    """A composition audit of one encoder. Shares are of all questions; an answer is right among the first ten.

    Attributes:
        encoder: its spec.
        questions: number of questions.
        both: answered with picture and words.
        picture: answered with the picture alone.
        words: answered with the words alone.
        composed: answered with both, and with neither half alone: what composition gives.
        lost: answered with a half alone, and not with both.
        lured: questions whose first hit is wrong, and among the first ten of a half alone: hard negatives that ignore
            the other half.
        how: how each half was searched.
        wordings: recall by wording; None if the texts follow no template.
    """

    encoder: str
    questions: int
    both: float
    picture: float
    words: float
    composed: float
    lost: float
    lured: float
    how: dict[str, str]
    wordings: Wordings | None

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return titles and rows of a table."""
        rows = [
            ("picture and words", self.both, "answered with both"),
            ("picture alone", self.picture, self.how["picture"]),
            ("words alone", self.words, self.how["words"]),
            ("composition", self.composed, "answered with both, with neither alone"),
            ("lost", self.lost, "answered with a half alone, not with both"),
            ("lured", self.lured, "the first hit is wrong, and a half alone finds it"),
        ]
        if self.wordings is not None:
            named = zip(self.wordings.names, self.wordings.recall, strict=True)
            rows += [(f"as \u201c{name}\u201d", recall, "another wording of the questions") for name, recall in named]
            rows += [
                ("swing", self.wordings.swing, "largest less smallest recall over wordings"),
                ("unstable", self.wordings.unstable, "questions that only some wordings answer"),
                ("kept", self.wordings.kept, "hits of the plain wording that another wording has"),
            ]
        return ("", f"share, {MEASURE}", "what it is"), [(name, f"{share:.3f}", told) for name, share, told in rows]


def audit(task: Task, encoder: str, *, questions: int | None = None, options: Options | None = None) -> Audit:
    """Audit an encoder on composed questions.

    Args:
        task: questions with one image and one text each.
        encoder: spec; several joined by ``" + "`` search together.
        questions: use the first so many; None for all.
        options: where vectors are cached, and the seed.

    Raises:
        BadSpec: the task has no composed questions.
        NoRoute: the encoder cannot answer them.
    """
    asked = [each for each in task.questions if {"image", "text"} <= set(each.query.media)][:questions]
    if not asked:
        raise BadSpec(f"{task.name} has no questions with an image and a text: choose a composed track")
    options = replace(options or Options(), measures=(MEASURE,), baselines=False)
    ways = _reworded(asked)
    whole = replace(task, questions=[each for way in ways for each in way], measures=(MEASURE,))
    every = bench(whole, encoder, options=options).outcomes[0]
    found = every.scores.values[MEASURE].reshape(len(ways), len(asked)) > 0
    first = _first(every)
    single = replace(task, questions=asked, measures=(MEASURE,))
    halves: dict[str, Hits] = {}
    lists: dict[str, NDArray[np.int64]] = {}
    how: dict[str, str] = {}
    for half, setups in HALVES.items():
        outcome, how[half] = _half(single, encoder, setups, options)
        halves[half] = np.zeros(len(asked), np.bool_) if outcome is None else outcome.scores.values[MEASURE] > 0
        lists[half] = np.full((len(asked), 1), -1) if outcome is None else _first(outcome)
    alone = halves["picture"] | halves["words"]
    return Audit(
        encoder=encoder,
        questions=len(asked),
        both=float(found[0].mean()),
        picture=float(halves["picture"].mean()),
        words=float(halves["words"].mean()),
        composed=float((found[0] & ~alone).mean()),
        lost=float((alone & ~found[0]).mean()),
        lured=_lured(single, first[: len(asked)], lists),
        how=how,
        wordings=_wordings(asked, ways, found, first) if len(ways) > 1 else None,
    )


def _reworded(asked: Sequence[Question]) -> list[list[Question]]:
    """Return the questions in every wording, the given one first; each with an id of its own."""
    texts = [[str(each.query.media["text"]), *paraphrases(str(each.query.media["text"]))] for each in asked]
    count = min(map(len, texts))
    if count < 3:  # some text follows no template, and was returned alone
        return [list(asked)]
    return [
        [
            replace(
                question,
                id=question.id if not n else f"{question.id} ({n})",
                query=replace(question.query, media={**question.query.media, "text": own[n]}),
            )
            for question, own in zip(asked, texts, strict=True)
        ]
        for n in range(count)
    ]


def _half(task: Task, encoder: str, setups: Sequence[Setup], options: Options) -> tuple[Outcome | None, str]:
    """Measure a half with the first setup that can answer, and say how; None if none can."""
    for setup in setups:
        try:
            outcome = bench(task, encoder, setups=(setup,), options=options).outcomes[0]
        except (NoRoute, BadSpec):  # no route for this input, or no scorer that weighs it
            continue
        return outcome, "the other input is left out" if setup.held else "the other input has the weight 0"
    return None, "cannot be asked: no route or scorer takes this input"


def _first(outcome: Outcome) -> NDArray[np.int64]:
    """Return the places of the first ten hits of each question."""
    assert outcome.ranking is not None, "only the random baseline has none"
    return outcome.ranking.rows[:, :K]


def _lured(task: Task, first: NDArray[np.int64], lists: dict[str, NDArray[np.int64]]) -> float:
    """Return the share of questions whose first hit is wrong, and found by a half alone."""
    places = {item.id: n for n, item in enumerate(task.items)}
    right = [{places[id] for id in each.relevant} for each in task.questions]
    lured = [
        row[0] >= 0 and row[0] not in own and any(row[0] in lists[half][n] for half in lists)
        for n, (row, own) in enumerate(zip(first, right, strict=True))
    ]
    return float(np.mean(lured))


def _wordings(
    asked: Sequence[Question], ways: Sequence[Sequence[Question]], found: Hits, first: NDArray[np.int64]
) -> Wordings:
    recall = found.mean(axis=1)
    lists = first.reshape(len(ways), len(asked), -1)
    shared = [
        np.isin(plain[plain >= 0], other).mean()
        for way in lists[1:]
        for plain, other in zip(lists[0], way, strict=True)
    ]
    return Wordings(
        names=[str(way[0].query.media["text"]) for way in ways],
        recall=recall.tolist(),
        swing=float(recall.max() - recall.min()),
        unstable=float((found.any(axis=0) & ~found.all(axis=0)).mean()),
        kept=float(np.mean(shared)),
    )


def markdown(audits: Sequence[Audit]) -> str:
    """Return audits as Markdown tables."""
    parts = []
    for each in audits:
        titles, rows = each.table()
        lines = [" | ".join(row) for row in (titles, ("---",) * len(titles), *rows)]
        body = "\n".join(f"| {line} |" for line in lines)
        parts.append(f"`{each.encoder}`, {each.questions:,} questions\n\n{body}\n")
    return "\n".join(parts)


def values(audits: Sequence[Audit]) -> list[dict[str, Any]]:
    """Return audits as JSON-able values."""
    return [asdict(each) for each in audits]
