"""Does a search find the medium that is wanted? ``python -m quiver.benchmarks.study.targets``.

A model that embeds several media into one space tends to rank items of the query's own medium first, whatever the query
asks for, and instructions in the query do not change that (MMEB-V3, arXiv 2604.23321). Here each text, sound and video
of a data set is an item of its own, all in one collection. Every one of them asks for its counterpart in each other
medium, in up to three ways:

* ``no target``: the query alone.
* ``in words``: for texts, with the wanted medium in front ("a video of: a red ball bounces").
* ``target``: the query with ``target=``, which lets items of the wanted medium compete alone.

The item that asks does not compete. Right are the counterparts of the same source; where the text asks or is wanted,
those of sources with the same text too, since a text cannot tell them apart.

Figures, with 95 % intervals over sources: share of the first K hits that are of the wanted medium, share of questions
with a right answer among the first K, and both of a random order of all items, and of those of the wanted medium.

Shapes: q questions, K hits.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

import quiver
from quiver.benchmarks import datasets
from quiver.benchmarks.metric import resampled
from quiver.engine.collection import Collection
from quiver.errors import BadSpec, NoRoute
from quiver.task import Task
from quiver.types import Query

#: Hits that count.
K = 10
RESAMPLES = 2_000
#: What is said in front of a text to ask for a medium.
SAID = {"text": "a description of", "image": "a picture of", "audio": "the sound of", "video": "a video of"}
RANDOM = "random"
#: Between the medium and the source in ids of items.
_MARK = ":"
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Counterparts:
    """One source with its media.

    Attributes:
        id: of the source.
        media: reference by key; at least two.
    """

    id: str
    media: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one way to ask, as (value, low, high).

    Attributes:
        wanted: share of the first K hits that are of the wanted medium.
        found: share of questions with a right answer among the first K.
    """

    wanted: tuple[float, float, float]
    found: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table: what asks, what is wanted, how it is asked, and the figures."""

    asks: str
    wants: str
    way: str
    figures: Figures


def counterparts(task: Task) -> list[Counterparts]:
    """Return the items of a task with their media, and as text the first question that each answers.

    Raises:
        BadSpec: no item has two media.
    """
    texts: dict[str, str] = {}
    for question in task.questions:
        for id in question.relevant:
            if "text" in question.query.media:
                texts.setdefault(id, str(question.query.media["text"]))
    every = [
        Counterparts(item.id, {**({"text": texts[item.id]} if item.id in texts else {}), **item.media})
        for item in task.items
    ]
    if not (found := [each for each in every if len(each.media) > 1]):
        raise BadSpec(f"{task.name}: no item has two media or a text that asks for it")
    return found


def fill(folder: Path, things: Sequence[Counterparts], encoder: str) -> Collection:
    """Add every medium of every source as an item of its own."""
    collection = quiver.open(folder)
    rows = [{"id": f"{key}{_MARK}{each.id}", key: source} for each in things for key, source in each.media.items()]
    collection.add(rows, encoder=encoder)
    return collection


def right(things: Sequence[Counterparts], asks: str, wants: str) -> dict[str, set[str]]:
    """Return the ids of the right answers of each source that has both media, by its id."""
    sources: dict[str, list[str]] = {}
    told = "text" in (asks, wants)
    able = [each for each in things if wants in each.media]

    def name(each: Counterparts) -> str:
        return each.media["text"] if told else each.id

    for each in able:
        sources.setdefault(name(each), []).append(f"{wants}{_MARK}{each.id}")
    return {each.id: set(sources[name(each)]) for each in able if asks in each.media}


def ways(things: Sequence[Counterparts], asks: str, wants: str) -> Iterator[tuple[str, list[Query]]]:
    """Yield each way to ask, with its queries."""

    def made(said: str = "", target: str | None = None) -> list[Query]:
        return [
            Query({asks: said + each.media[asks]}, target=target, k=K, exclude=(f"{asks}{_MARK}{each.id}",))
            for each in things
        ]

    yield "no target", made()
    if asks == "text":
        yield "in words", made(f"{SAID[wants]}: ")
    yield "target", made(target=wants)


def figures(rows: Doubles, *, seed: int = 0) -> Figures:
    """Return the means of (q, 2) figures, with intervals."""
    low, high = np.quantile(resampled(rows, resamples=RESAMPLES, seed=seed), [0.025, 0.975], axis=0)
    wanted, found = zip(rows.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return Figures(wanted, found)


def chance(answers: Sequence[int], wanted: int, competing: int) -> Figures:
    """Return the figures of a random order of all competing items, on average.

    Args:
        answers: number of right answers of each question.
        wanted: items of the wanted medium.
        competing: items that can be found.
    """
    drawn = np.arange(min(K, competing))
    missed = [float(np.prod((competing - each - drawn) / (competing - drawn))) for each in answers]
    share, found = wanted / competing, 1 - float(np.mean(missed))
    return Figures((share, share, share), (found, found, found))


def study(collection: Collection, things: Sequence[Counterparts]) -> list[Line]:
    """Ask for every medium by every other one, in every way that the collection answers."""
    keys = [key for key in SAID if any(key in each.media for each in things)]
    counts = {key: sum(key in each.media for each in things) for key in keys}
    lines = []
    for asks, wants in permutations(keys, 2):
        answers = right(things, asks, wants)
        asking = [each for each in things if each.id in answers]
        sizes = [len(answers[each.id]) for each in asking]
        lines.append(Line(asks, wants, RANDOM, chance(sizes, counts[wants], sum(counts.values()) - 1)))
        lines.append(Line(asks, wants, f"{RANDOM}, target", chance(sizes, counts[wants], counts[wants])))
        for way, queries in ways(asking, asks, wants):
            try:
                found = collection.search_batch(queries)
            except NoRoute:
                break
            hits = [[hit.id for hit in answer] for answer in found]
            lines.append(Line(asks, wants, way, figures(_rows(hits, [answers[each.id] for each in asking], wants))))
    return lines


def _rows(hits: Sequence[Sequence[str]], answers: Sequence[set[str]], wants: str) -> Doubles:
    """Return (q, 2): share of the first K of the wanted medium, and whether a right answer is there."""
    return np.array(
        [
            (sum(id.partition(_MARK)[0] == wants for id in found) / K, not own.isdisjoint(found))
            for found, own in zip(hits, answers, strict=True)
        ],
        np.float64,
    )


def _cell(figure: tuple[float, float, float], *, exact: bool = False) -> str:
    value, low, high = figure
    return f"{value:.3f}" if exact else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each encoder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", default="world track=films seed=1 count=300", help="data set of items with several media"
    )
    parser.add_argument(
        "--encoder", action="append", help="encoder spec; may be repeated; default: mmv checkpoint=world"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args(arguments)
    things = counterparts(datasets.load(given.data))
    reports: dict[str, Any] = {}
    for encoder in given.encoder or ["mmv checkpoint=world"]:
        with TemporaryDirectory() as folder:
            collection = fill(Path(folder) / "items", things, encoder)
            lines = study(collection, things)
            collection.close()
        print(f"\n`{encoder}`: {len(things):,} sources\n")
        print(
            f"| asks | wanted | | of the wanted medium, first {K} | right among the first {K} |\n|---|---|---|---|---|"
        )
        for line in lines:
            cells = [
                _cell(each, exact=line.way.startswith(RANDOM)) for each in (line.figures.wanted, line.figures.found)
            ]
            print(f"| {line.asks} | {line.wants} | {line.way} | {' | '.join(cells)} |", flush=True)
        reports[encoder] = [
            [line.asks, line.wants, line.way, line.figures.wanted, line.figures.found] for line in lines
        ]
    if given.json is not None:
        given.json.write_text(json.dumps({"sources": len(things), "figures": reports}, indent=2))


if __name__ == "__main__":
    main()
