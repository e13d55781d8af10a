"""A benchmark with many items and questions: does memory stay flat, and is evaluation cheap next to search?

``python -m quiver.benchmarks.speed.scale`` generates 100,000 vectors and 10,000 questions, each a noisy copy of one of
them, and runs a whole benchmark: a collection, exact search and FAISS, figures, intervals, tests and attribution.
It prints the seconds of each part, and the resident memory at the start and at its peak.

The module is also an encoder, so that the benchmark runs in full: ``quiver.benchmarks.speed.scale items=1000`` encodes
the texts ``item 17`` and ``question 5`` as the vectors with those numbers.
"""

import argparse
import hashlib
import json
import resource
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from quiver.benchmarks.machine import machine, resident_mib
from quiver.benchmarks.recall.outcome import Bench, Options
from quiver.benchmarks.recall.run import bench
from quiver.benchmarks.recall.setup import Setup
from quiver.errors import BadSpec
from quiver.media import TextReader
from quiver.protocols import Encoder, Reader
from quiver.task import Question, Task
from quiver.types import Floats, Item, Query, Space

INDEXES = ("exact", "faiss factory=HNSW32 ef=64")


def load(
    *, items: int = 100_000, questions: int = 10_000, dim: int = 128, noise: float = 3.0, seed: int = 0
) -> Encoder:
    """Load the synthetic vectors.

    Args:
        items: number of items; their components are normal.
        questions: number of questions; evenly spaced items plus noise.
        dim: dimension of both.
        noise: standard deviation of the noise; that of the vectors is 1.
        seed: random seed.
    """
    if items < 1 or questions < 1 or dim < 1:
        raise BadSpec(f"items, questions and dim must be positive, not {items}, {questions} and {dim}")
    return Made(items, questions, dim, noise, seed)


@dataclass(frozen=True, slots=True)
class Made:
    """Vectors by number; see ``load``."""

    items: int
    questions: int
    dim: int
    noise: float
    seed: int

    @property
    def keys(self) -> tuple[str, ...]:
        """Only text."""
        return ("text",)

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the one space."""
        revision = hashlib.sha256(repr(self).encode()).hexdigest()
        return (Space("made", self.dim, "l2", revision),) if key == "text" else ()

    def reader(self, key: str) -> Reader:
        """Return texts unchanged."""
        return TextReader()

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Look vectors up: (n, dim) float32."""
        tables = made(self)
        return np.stack([tables[kind][int(number)] for kind, number in (text.split() for text in batch)])


@lru_cache(maxsize=1)
def made(encoder: Made) -> dict[str, Floats]:
    """Generate the vectors of items and questions."""
    rng = np.random.default_rng(encoder.seed)
    items = rng.standard_normal((encoder.items, encoder.dim), np.float32)
    noise = rng.standard_normal((encoder.questions, encoder.dim), np.float32)
    return {"item": items, "question": items[asked(encoder.items, encoder.questions)] + encoder.noise * noise}


def asked(items: int, questions: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Return the source item of each question."""
    return np.arange(questions, dtype=np.int64) * items // questions


def task(*, items: int, questions: int) -> Task:
    """Return the task: the right answer of a question is its source item."""
    return Task(
        name=f"scale items={items} questions={questions}",
        revision=f"{items:x}{questions:x}",
        items=[Item(f"i{n}", {"text": f"item {n}"}) for n in range(items)],
        questions=[
            Question(f"q{n}", Query({"text": f"question {n}"}), {f"i{item}": 1})
            for n, item in enumerate(asked(items, questions).tolist())
        ],
        measures=("Success@10", "RR@10", "nDCG@10"),
        target="text",
        protocol="each question is a noisy copy of an item's vector; the item is its right answer",
        source="made here",
    )


def measure(work: Path, *, items: int, questions: int) -> dict[str, Any]:
    """Run the benchmark and return its figures, seconds and memory as JSON-able values."""
    before = resident_mib()
    started = perf_counter()
    options = Options(work=work, baselines=False, progress=False)
    spec = f"{__spec__.name if __spec__ else __name__} items={items} questions={questions}"
    setups = [Setup(index) for index in INDEXES]
    found = bench(task(items=items, questions=questions), [spec], setups=setups, options=options)
    total = perf_counter() - started
    return {
        "items": items,
        "questions": questions,
        "seconds": {"all": total, "evaluation": found.seconds, **_seconds(found, questions)},
        "resident_mib": {"before": before, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024},
        "figures": {each.name: each.intervals["Success@10"].value for each in found.outcomes},
        "attribution": {each.name: dict(each.attribution.counts) for each in found.outcomes if each.attribution},
        "machine": machine(),
    }


def _seconds(found: Bench, questions: int) -> dict[str, float]:
    spent = {"add": found.outcomes[0].seconds["add"]}
    for each in found.outcomes:
        if each.latency is not None:
            spent[f"search {each.name}"] = each.latency.batch * questions / 1e3
    return spent


def main() -> None:
    """Read the arguments, measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--work", type=Path, default=None, help="folder for the collection")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quiver-scale-") as place:
        found = measure(given.work or Path(place), items=given.items, questions=given.questions)
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
