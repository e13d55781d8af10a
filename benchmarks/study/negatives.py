"""Do negative examples keep things out? ``python -m quiver.benchmarks.study.negatives``.

Items with labels ask "like this, but not in red". Right are items that agree with the asker in the columns ``--same``
and have another value in the column ``--avoid``; to be avoided are those that agree and have the value. The value is
the asker's own, so that likeness itself leads there (``--whose own``), or one of the others, drawn by a seed
(``--whose other``). An item asks if there are enough of both kinds. The negative examples are some of the items to be
avoided, drawn by a seed; they are left out of every answer, also of those that do not use them, so that all answers are
drawn from the same items.

Ways to ask, each left out where the encoders cannot:

* ``like``: the asker alone.
* ``unlike``: negative examples as well (``like=``, ``unlike=``), with each of ``--weights``.
* ``unlike_text``: the label in words as a negative example.
* ``not in words``: the asker composed with the words "the same but not in red"; ``named in words`` is the same with
  "the same in red", which shows what the word "not" does.
* ``where``: a condition on the label, where labels are known: nothing is left to avoid.

Figures, with 95 % intervals over askers: share of the first K hits that are to be avoided, share that are right, and
share of questions whose first hit is to be avoided.

Shapes: q questions, K hits.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from quiver.types import UNLIKE, Item, Query

#: Hits that count.
K = 10
RESAMPLES = 2_000
TITLES = ("to be avoided", "right", "first hit to be avoided")
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Asker:
    """One question.

    Attributes:
        id: the item that asks.
        value: the value to be avoided.
        negatives: the negative examples.
        avoid: ids of the other items to be avoided.
        right: ids of the right answers.
        competing: number of items that can be found.
    """

    id: str
    value: str
    negatives: tuple[str, ...]
    avoid: frozenset[str]
    right: frozenset[str]
    competing: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A share and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def askers(
    items: Sequence[Item], same: Sequence[str], avoid: str, *, whose: str = "own", given: int = 3, seed: int = 0
) -> list[Asker]:
    """Return the questions: every item with ``given`` + K others to be avoided, and K right answers.

    Args:
        items: with labels as metadata.
        same: columns in which an answer agrees with the asker.
        avoid: column whose value is to be avoided.
        whose: ``own`` for the asker's value, ``other`` for another one that is drawn.
        given: number of negative examples.
        seed: of what is drawn.

    Raises:
        BadSpec: an item lacks a column, or no item has so much company.
    """
    if missing := next((name for item in items for name in (*same, avoid) if name not in item.meta), None):
        raise BadSpec(f"{missing} is no column of all items; columns are {', '.join(sorted(items[0].meta))}")
    rng = np.random.default_rng(seed)
    kinds: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for item in items:
        values = kinds.setdefault(tuple(str(item.meta[name]) for name in same), {})
        values.setdefault(str(item.meta[avoid]), []).append(item.id)
    found = []
    for item in items:
        values, own = kinds[tuple(str(item.meta[name]) for name in same)], str(item.meta[avoid])
        able = sorted(name for name, ids in values.items() if len(ids) - (name == own) >= given + K)
        able = [name for name in able if (name == own) == (whose == "own")]
        if not able:
            continue
        value = able[rng.integers(len(able))]
        bad = [id for id in values[value] if id != item.id]
        right = {id for name, ids in values.items() if name != value for id in ids} - {item.id}
        if len(right) < K:
            continue
        drawn = tuple(bad[n] for n in rng.permutation(len(bad))[:given])
        competing = len(items) - 1 - given
        found.append(Asker(item.id, value, drawn, frozenset(bad) - set(drawn), frozenset(right), competing))
    if not found:
        raise BadSpec(f"no item has {given + K} others of one {avoid} and {K} of another: take other columns")
    return found


def queries(
    asked: Sequence[Asker], key: str, avoid: str, weights: Sequence[float]
) -> Iterator[tuple[str, list[Query]]]:
    """Yield each way to ask, with its queries."""

    def made(**given: Any) -> list[Query]:
        wanted: dict[str, Any] = {"target": key, "k": K}
        return [
            Query(**{**wanted, "like": (each.id,), "exclude": each.negatives}, **_filled(given, each)) for each in asked
        ]

    yield "like", made()
    for weight in weights:
        asking = made(unlike=lambda each: each.negatives)
        yield f"unlike, weight {weight:g}", [replace(query, weights={UNLIKE: weight}) for query in asking]
    yield "unlike_text", made(unlike_media=lambda each: {"text": each.value.lower()})
    yield "not in words", made(media=lambda each: {"text": f"the same but not in {each.value.lower()}"})
    yield "named in words", made(media=lambda each: {"text": f"the same in {each.value.lower()}"})
    yield "where", made(where=lambda each: f'"{avoid}" <> {_quoted(each.value)}')


def _filled(given: Mapping[str, Any], asker: Asker) -> dict[str, Any]:
    return {name: make(asker) for name, make in given.items()}


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def shares(hits: Sequence[Sequence[str]], asked: Sequence[Asker]) -> Doubles:
    """Return (q, 3): share of the first K to be avoided, share right, and whether the first is to be avoided."""
    return np.array(
        [
            (
                sum(id in each.avoid for id in found) / K,
                sum(id in each.right for id in found) / K,
                bool(found) and found[0] in each.avoid,
            )
            for found, each in zip(hits, asked, strict=True)
        ],
        np.float64,
    )


def chance(asked: Sequence[Asker]) -> Doubles:
    """Return the same figures of a random order, on average."""
    rows = [(len(each.avoid) / each.competing, len(each.right) / each.competing) for each in asked]
    return np.array([(avoided, right, avoided) for avoided, right in rows])


def figures(rows: Doubles, *, seed: int = 0) -> list[Figure]:
    """Return the means of figures (q, 3), with intervals."""
    low, high = np.quantile(resampled(rows, resamples=RESAMPLES, seed=seed), [0.025, 0.975], axis=0)
    means = rows.mean(axis=0).tolist()
    return [Figure(*each) for each in zip(means, low.tolist(), high.tolist(), strict=True)]


def study(
    collection: Collection, asked: Sequence[Asker], key: str, avoid: str, *, weights: Sequence[float] = (1.0,)
) -> dict[str, list[Figure]]:
    """Ask a collection in every way that it can; figures by way, random first."""
    found = {"random": figures(chance(asked))}
    for way, asking in queries(asked, key, avoid, weights):
        if "words" in way and not collection.info().scorers:
            continue  # without a composer, words would be searched apart from the picture
        try:
            answers = collection.search_batch(asking)
        except (NoRoute, BadSpec):
            continue
        found[way] = figures(shares([[hit.id for hit in answer] for answer in answers], asked))
    return found


def fill(folder: Path, items: Sequence[Item], key: str, encoder: str) -> Collection:
    """Add the items to a collection, with their labels."""
    collection = quiver.open(folder)
    collection.add([{**item.meta, "id": item.id, key: item.media[key]} for item in items], encoder=encoder)
    return collection


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each encoder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="fashion_products track=image", help="data set whose items have labels")
    parser.add_argument("--encoder", action="append", required=True, help="encoder spec; may be repeated")
    parser.add_argument("--key", default="image", help="what is searched")
    parser.add_argument("--same", default="gender,article_type", help="columns in which answers agree")
    parser.add_argument("--avoid", default="base_colour", help="column whose value is to be avoided")
    parser.add_argument("--whose", choices=("own", "other"), default="other", help="whose value is to be avoided")
    parser.add_argument("--given", type=int, default=3, help="number of negative examples")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.5, 1.0, 2.0], help="weights of unlike")
    parser.add_argument("--questions", type=int, default=500, help="most questions, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args(arguments)
    items = datasets.load(given.data).items
    asked = askers(items, given.same.split(","), given.avoid, whose=given.whose, given=given.given, seed=given.seed)
    chosen = np.sort(np.random.default_rng(given.seed).permutation(len(asked))[: given.questions])
    asked = [asked[n] for n in chosen]
    reports: dict[str, Any] = {}
    for encoder in given.encoder:
        with TemporaryDirectory() as folder:
            collection = fill(Path(folder) / "items", items, given.key, encoder)
            found = study(collection, asked, given.key, given.avoid, weights=given.weights)
            collection.close()
        print(f"\n`{encoder}`: {len(asked):,} questions, {len(items):,} items\n")
        print("| | " + " | ".join(TITLES) + " |\n" + "|---" * 4 + "|")
        for way, row in found.items():
            print(f"| {way} | " + " | ".join(map(str, row)) + " |", flush=True)
        reports[encoder] = {way: [each.value for each in row] for way, row in found.items()}
    if given.json is not None:
        given.json.write_text(json.dumps({"questions": len(asked), "items": len(items), "figures": reports}, indent=2))


if __name__ == "__main__":
    main()
