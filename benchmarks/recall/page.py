"""HTML page of a benchmark: figures, plots, and sample questions with hits (random, worst, best, lost by cause)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from quiver.benchmarks.metric import Ranking, parse, ranks
from quiver.benchmarks.recall.outcome import Bench, Outcome
from quiver.benchmarks.recall.plot import rendered
from quiver.benchmarks.recall.report import Report, remarks, table
from quiver.engine.contact_sheet import save, section
from quiver.engine.execution.plan import Plan, Result
from quiver.errors import MissingExtra
from quiver.task import Question
from quiver.types import Floats, Hit, Item, Query, Rows, keys_of

#: Questions shown: a random sample, the worst, the best, and losses of each cause except the encoder's, which are
#: among the worst.
DRAWN, WORST, BEST, LOST = 6, 8, 4, 2
#: Targets in the plural.
_MANY = {"text": "texts", "image": "images", "audio": "sounds", "video": "videos", "pair": "pairs"}
#: Hits and right answers shown of each.
_HITS, _RIGHT = 5, 2
_STYLE = """<style>
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
td, th { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #8884 }
td:first-child, th:first-child { text-align: left }
.plots { display: flex; flex-wrap: wrap; gap: 1rem }
.plots svg { flex: 1 1 22rem; max-width: 38rem; height: auto; background: #fff; border-radius: .5rem }
 h2.part { font-size: 1.3rem; margin-top: 3.5rem }
.remarks { font-size: .85rem; opacity: .8; padding-left: 1.2rem }
</style>"""


def write(
    path: Path,
    bench: Bench,
    report: Report,
    *,
    label: bool = False,
    hidden: Callable[[str], str | None] = lambda reference: None,
) -> None:
    """Write the page atomically. It needs no other file.

    Args:
        path: the HTML file.
        bench: the results.
        report: the same results as JSON-able values.
        label: whether hits can be marked as right or wrong, for own questions; their right answers are marked already.
        hidden: returns the reason why a file is not shown, or None if it may be shown.
    """
    sections = [_STYLE, _table(report), _plots(report)]
    seen = any(item.media for item in bench.task.items[:1])  # ready-made vectors have nothing to look at
    for outcome in bench.outcomes if seen else ():
        if outcome.role == "asked" and outcome.ranking is not None:
            shelf = Shelf({item.id: item for item in bench.task.items}, hidden, label)
            sections += _looks(bench, outcome, outcome.ranking, shelf)
    save(path, sections, title=f"Quiver bench: {bench.task.name}")


def _table(report: Report) -> str:
    titles, rows = table(report)
    head = "".join(f"<th>{escape(title)}" for title in titles)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in rows)
    notes = "".join(f"<li>{escape(remark)}" for remark in remarks(report))
    return f"<table><tr>{head}{body}</table><ul class=remarks>{notes}</ul>"


def _plots(report: Report) -> str:
    try:
        drawn = rendered(report)
    except MissingExtra as error:
        return f"<p class=note>No plots: {escape(str(error))}</p>"
    pictures = (content.decode("utf-8") for content in drawn.values())
    return f"<div class=plots>{''.join(picture[picture.index('<svg') :] for picture in pictures)}</div>"


@dataclass(frozen=True, slots=True)
class Shelf:
    """A task's items, where the page looks their media up.

    Attributes:
        items: by id.
        why_hidden: returns the reason why a file is not shown, or None.
        label: whether hits can be marked.
    """

    items: Mapping[str, Item]
    why_hidden: Callable[[str], str | None]
    label: bool = False

    def get(self, ids: Sequence[str]) -> list[Item]:
        """Return items by id."""
        return [self.items[id] for id in ids if id in self.items]

    def hidden(self, reference: str) -> str | None:
        """Return the reason why a file is not shown; items of a data set are shown."""
        return self.why_hidden(reference)

    def differences(self, pairs: Sequence[tuple[Any, Any]]) -> list[Floats | None]:
        """Return no maps: several encoders may have found the items."""
        return [None] * len(pairs)


def _looks(bench: Bench, outcome: Outcome, ranking: Ranking, shelf: Shelf) -> list[str]:
    """Show some of an outcome's questions at random, its worst and best, and some of its losses by cause."""
    standing = ranks(ranking, bench.judgements)
    first = _first(standing, bench)
    values = outcome.scores.of(outcome_measure(bench))
    order = np.lexsort((np.arange(len(first)), -first, values))
    number = {id: n for n, id in enumerate(bench.judgements.ids)}
    lost = {
        cause: [number[example.question] for example in examples[:LOST]]
        for cause, examples in (outcome.attribution.examples.items() if outcome.attribution else ())
        if cause != "encoder"
    }
    drawn = np.random.default_rng(bench.seed).permutation(len(first))[:DRAWN]
    parts: dict[str, Sequence[int]] = {
        "drawn at random": drawn.tolist(),
        "worst": order[:WORST].tolist(),
        **{f"lost by {cause}": chosen for cause, chosen in lost.items() if chosen},
        "best": order[::-1][:BEST].tolist(),
    }
    return [
        html
        for name, chosen in parts.items()
        for html in (
            f"<h2 class=part>{escape(outcome.name)}: {name}</h2>",
            *(_show(bench, outcome, n, standing, shelf) for n in chosen),
        )
    ]


def outcome_measure(bench: Bench) -> str:
    """Return the measure that ranks questions from good to bad: the headline if it was measured."""
    return bench.headline if bench.headline in bench.task.measures else parse(bench.task.measures[0]).name


def _first(standing: Rows, bench: Bench) -> Rows:
    """Return (q,) the rank of the best right answer; the number of competing items if none is listed."""
    starts = bench.judgements.relevant.starts
    far = np.where(standing > 0, standing, np.iinfo(np.int64).max)
    return np.minimum(np.minimum.reduceat(far, starts[:-1]), bench.judgements.competing)


def _show(bench: Bench, outcome: Outcome, n: int, standing: Rows, shelf: Shelf) -> str:
    relevant = bench.judgements.relevant
    span = slice(relevant.starts[n], relevant.starts[n + 1])
    right = {bench.task.items[row].id: int(rank) for row, rank in zip(relevant.rows[span], standing[span], strict=True)}
    hits = _hits(bench, outcome, n, shelf)
    question = bench.task.questions[n]
    value = outcome.scores.of(outcome_measure(bench))[n]
    note = f"question {question.id}: {outcome_measure(bench)} {value:.3g}; {_says(right)}"
    result = Result(tuple(hits), Plan((), notes=(note, *_unread(outcome, question))))
    expected = _expected(right, {hit.id for hit in hits}, shelf)
    grades = None
    if shelf.label:
        ids = [bench.task.items[row].id for row in relevant.rows[span]]
        grades = dict(zip(ids, bench.judgements.grades[span].tolist(), strict=True))
    marked = () if shelf.label else right
    said = asks(question.query, bench.task.target)
    said += "" if shelf.label else f" Right answers are green: {bench.task.protocol}."
    return section(
        question.query,
        result,
        shelf,
        sentence=said,
        right=marked,
        expected=expected,
        grades=grades,
        id=question.id,
    )


def asks(query: Query, target: str) -> str:
    """Say in a sentence what a query asks for.

    >>> asks(Query({"image": "a.jpg", "text": "in red"}), "image")
    'A text and an image were given, and images were searched.'
    """
    held = [*keys_of(query.media), *(["example"] if query.like else []), *(["vector"] if query.vectors else [])]
    given = " and ".join(f"{'an' if key[0] in 'aeiou' else 'a'} {key}" for key in held) or "nothing"
    were = "were" if len(held) > 1 else "was"
    return f"{given[0].upper()}{given[1:]} {were} given, and {_MANY.get(target, target)} were searched."


def _hits(bench: Bench, outcome: Outcome, n: int, shelf: Shelf) -> list[Hit]:
    if outcome.ranking is None:
        return []
    pairs = zip(outcome.ranking.rows[n, :_HITS].tolist(), outcome.ranking.scores[n, :_HITS].tolist(), strict=True)
    return [_hit(bench.task.items[row].id, score, shelf) for row, score in pairs if row >= 0]


def _hit(id: str, score: float, shelf: Shelf) -> Hit:
    item = shelf.items[id]
    text: dict[str, Any] = {"text": item.media["text"]} if "text" in item.media else {}
    return Hit(id, score, meta={**item.meta, **text})


def _says(right: Mapping[str, int]) -> str:
    found = sorted(rank for rank in right.values() if rank)
    if not found:
        return f"none of {len(right)} right answers is listed"
    listed = f"{', '.join(map(str, found[:5]))}{' ...' if len(found) > 5 else ''}"
    return f"{len(right)} right answer{'s' * (len(right) > 1)}, at rank {listed}"


def _unread(outcome: Outcome, question: Question) -> tuple[str, ...]:
    why = outcome.missing.unread.get(question.id)
    return (f"could not be searched: {why}",) if why else ()


def _expected(right: Mapping[str, int], shown: Collection[str], shelf: Shelf) -> list[tuple[Hit, str]]:
    """Return the right answers below the hits shown, best rank first."""
    left = sorted((rank or np.iinfo(np.int64).max, id) for id, rank in right.items() if id not in shown)
    if len(left) < len(right):
        return []
    return [(_hit(id, 0.0, shelf), f"rank {right[id]}" if right[id] else "not listed") for _, id in left[:_RIGHT]]
