"""Composition audit: what picture and words each contribute to composed questions, and whether the wording matters.

Every question is searched with both inputs, with its picture alone and with its words alone, and once more for every
other wording. A composed set whose questions fall to one half alone does not measure composition (arXiv 2605.14787); a
model whose answers change with the wording has learned a template (PinPoint, arXiv 2603.04598, finds a swing of 25 %).

An encoder that embeds pictures only cannot search by words alone: its scorer then gets both inputs, with the weight 0
for one of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.metric import chance, judge, resampled
from quiver.benchmarks.recall.outcome import Options, Outcome
from quiver.benchmarks.recall.run import bench
from quiver.benchmarks.recall.setup import Setup
from quiver.errors import BadSpec, NoRoute
from quiver.paraphrases import paraphrases
from quiver.task import Question, Task

Hits = NDArray[np.bool_]
#: Lower and upper end of a 95 % bootstrap interval over the references of questions.
Ends = tuple[float, float]
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
        intervals: of ``recall`` by number (``recall 1`` ...), ``swing`` and ``unstable``.
    """

    names: Sequence[str]
    recall: Sequence[float]
    swing: float
    unstable: float
    kept: float
    intervals: Mapping[str, Ends] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, ...]]:
        """Return rows of a table."""
        told = "another wording of the questions"
        rows = [
            (f"as \u201c{name}\u201d", _cell(recall, self.intervals.get(f"recall {n}")), told)
            for n, (name, recall) in enumerate(zip(self.names, self.recall, strict=True), 1)
        ]
        return [
            *rows,
            ("swing", _cell(self.swing, self.intervals.get("swing")), "largest less smallest recall over wordings"),
            (
                "unstable",
                _cell(self.unstable, self.intervals.get("unstable")),
                "questions that only some wordings answer",
            ),
            ("kept", _cell(self.kept), "hits of the plain wording that another wording has"),
        ]


@dataclass(frozen=True, slots=True)
class Answered:
    """One question: what finds a right answer of it."""

    id: str
    both: bool
    picture: bool
    words: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """A composition audit of one encoder. Shares are of all questions; an answer is right among the first ten.

    Attributes:
        encoder: its spec.
        questions: number of questions.
        both: answered with picture and words.
        picture: answered with the picture alone.
        words: answered with the words alone.
        alone: answered with the picture alone or with the words alone: questions that ask for no composition.
        composed: answered with both, and with neither half alone: what composition gives.
        lost: answered with a half alone, and not with both.
        lured: questions whose first hit is wrong, and among the first ten of a half alone: hard negatives that ignore
            the other half.
        random: answered by a random order, on average.
        how: how each half was searched.
        wordings: recall by wording; None if the texts follow no template.
        intervals: of the shares, by name.
        answered: every question, in order.
    """

    encoder: str
    questions: int
    both: float
    picture: float
    words: float
    alone: float
    composed: float
    lost: float
    lured: float
    random: float
    how: dict[str, str]
    wordings: Wordings | None
    intervals: Mapping[str, Ends] = field(default_factory=dict)
    answered: tuple[Answered, ...] = ()

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return titles and rows of a table."""
        named = {
            "both": ("picture and words", "answered with both"),
            "picture": ("picture alone", self.how["picture"]),
            "words": ("words alone", self.how["words"]),
            "alone": ("a half alone", "answered with the picture alone or the words alone: needs no composition"),
            "composed": ("composition", "answered with both, with neither alone"),
            "lost": ("lost", "answered with a half alone, not with both"),
            "lured": ("lured", "the first hit is wrong, and a half alone finds it"),
        }
        rows: list[tuple[str, ...]] = [
            (title, _cell(getattr(self, name), self.intervals.get(name)), told) for name, (title, told) in named.items()
        ]
        rows.append(("random", _cell(self.random), "answered by a random order"))
        if self.wordings is not None:
            rows += self.wordings.rows()
        return ("", f"share, {MEASURE}", "meaning"), rows


def _cell(share: float, ends: Ends | None = None) -> str:
    return f"{share:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends is not None else "")


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
    figures = _figures(found[0], halves, _lured(single, first[: len(asked)], lists))
    sources = [each.source or each.id for each in asked]
    return Audit(
        encoder=encoder,
        questions=len(asked),
        **{name: float(values.mean()) for name, values in figures.items()},
        random=float(chance(judge(single), [MEASURE]).of(MEASURE).mean()),
        how=how,
        wordings=_wordings(asked, ways, found, first, options) if len(ways) > 1 else None,
        intervals=_intervals(figures, sources, options),
        answered=tuple(
            Answered(each.id, *(bool(figures[name][n]) for name in ("both", "picture", "words")))
            for n, each in enumerate(asked)
        ),
    )


def _figures(both: Hits, halves: Mapping[str, Hits], lured: Hits) -> dict[str, Hits]:
    """Return (q,) whether each share counts a question, by name of the share."""
    alone = halves["picture"] | halves["words"]
    return {
        "both": both,
        **halves,
        "alone": alone,
        "composed": both & ~alone,
        "lost": alone & ~both,
        "lured": lured,
    }


def _intervals(figures: Mapping[str, Hits], sources: Sequence[str], options: Options) -> dict[str, Ends]:
    table = np.stack(list(figures.values()), axis=1).astype(np.float64)
    drawn = resampled(table, sources=sources, resamples=options.resamples, seed=options.seed)
    return {name: _ends(drawn[:, n], options.level) for n, name in enumerate(figures)}


def _ends(drawn: NDArray[np.float64], level: float) -> Ends:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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


def _lured(task: Task, first: NDArray[np.int64], lists: dict[str, NDArray[np.int64]]) -> Hits:
    """Return (q,) whether the first hit of a question is wrong, and found by a half alone."""
    places = {item.id: n for n, item in enumerate(task.items)}
    right = [{places[id] for id in each.relevant} for each in task.questions]
    lured = [
        row[0] >= 0 and row[0] not in own and any(row[0] in lists[half][n] for half in lists)
        for n, (row, own) in enumerate(zip(first, right, strict=True))
    ]
    return np.array(lured, np.bool_)


def _wordings(
    asked: Sequence[Question],
    ways: Sequence[Sequence[Question]],
    found: Hits,
    first: NDArray[np.int64],
    options: Options,
) -> Wordings:
    recall = found.mean(axis=1)
    unstable = found.any(axis=0) & ~found.all(axis=0)
    lists = first.reshape(len(ways), len(asked), -1)
    shared = [
        np.isin(plain[plain >= 0], other).mean()
        for way in lists[1:]
        for plain, other in zip(lists[0], way, strict=True)
    ]
    table = np.vstack([found, unstable]).T.astype(np.float64)
    sources = [each.source or each.id for each in asked]
    drawn = resampled(table, sources=sources, resamples=options.resamples, seed=options.seed)
    swings = drawn[:, :-1].max(axis=1) - drawn[:, :-1].min(axis=1)
    columns = {**{f"recall {n + 1}": drawn[:, n] for n in range(len(ways))}, "swing": swings, "unstable": drawn[:, -1]}
    return Wordings(
        names=[str(way[0].query.media["text"]) for way in ways],
        recall=recall.tolist(),
        swing=float(recall.max() - recall.min()),
        unstable=float(unstable.mean()),
        kept=float(np.mean(shared)),
        intervals={name: _ends(values, options.level) for name, values in columns.items()},
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
