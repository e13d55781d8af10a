"""Caption the things of a task with tellers and with two baselines, and measure.

``constant`` says of everything the sentence that is said of most things; ``random`` says of each thing a sentence about
another one, drawn with the seed. Both show how far templates alone lead on this data set.
"""

import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from tqdm import tqdm

from quiver import registry
from quiver.benchmarks import datasets
from quiver.benchmarks.captioning.reference import Thing, gather
from quiver.benchmarks.metric import caption
from quiver.errors import BadMedia, BadSpec
from quiver.protocols import Teller
from quiver.types import source_of

#: Things that are read and captioned together.
AT_ONCE = 32
#: Parts whose captions Java programs measure too, each of which takes seconds to start.
WHOLE = ("all", "changed")
Report = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How captions are made and measured.

    Attributes:
        beams: width of the beam search; 1 is greedy.
        measures: of ``caption.MEASURES``; empty for all of them.
        tokens: ``plain``, or ``ptb`` for the papers' tokenizer, which needs Java.
        limit: things that are captioned, drawn with the seed; None for all.
        seed: of draws and intervals.
        baselines: whether constant and random sentences are measured too.
    """

    beams: int = 1
    measures: tuple[str, ...] = ()
    tokens: caption.Tokens = "plain"
    limit: int | None = None
    seed: int = 0
    baselines: bool = True


@dataclass(slots=True)
class _Said:
    """Captions of a system, and why things have none."""

    name: str
    texts: list[str]
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float | None = None


def measure(dataset: str, encoders: Sequence[str] = (), *, options: Options | None = None, command: str = "") -> Report:
    """Caption a data set and measure the captions.

    Args:
        dataset: spec of a task, such as ``"clevr_change split=test pairs=all"``.
        encoders: specs of encoders that offer a teller for its medium.
        options: how.
        command: as it was typed, for the report.

    Returns:
        The report: ``systems`` with their figures and captions, and all that is needed to read them.

    Raises:
        BadData: the data is not on disk, or has no sentence about one medium.
        BadSpec: an encoder does not describe the medium, or an option makes no sense.
    """
    options = options or Options()
    if options.beams < 1 or (options.limit is not None and options.limit < 2):
        raise BadSpec("beams must be at least 1, and limit at least 2")
    task = datasets.load(dataset)
    key, things = gather(task)
    tellers = [(spec, _teller(spec, key)) for spec in encoders]
    things = _drawn(things, options)
    systems = [_tell(spec, teller, key, things, options) for spec, teller in tellers]
    if options.baselines:
        systems += [_constant(things), _random(things, options.seed)]
    return {
        "command": command,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "dataset": task.name,
        "revision": task.revision,
        "source": task.source,
        "notes": list(task.notes),
        "medium": key,
        "things": len(things),
        "sentences": sum(len(thing.texts) for thing in things),
        "options": asdict(options),
        "systems": [_measured(system, things, options) for system in systems],
    }


def _teller(spec: str, key: str) -> Teller:
    encoder = registry.load("encoders", spec)
    for teller in getattr(encoder, "tellers", ()):
        if key in teller.keys:
            found: Teller = teller
            return found
    raise BadSpec(f"{spec}: this encoder does not describe {key} in words")


def _drawn(things: list[Thing], options: Options) -> list[Thing]:
    if options.limit is None or options.limit >= len(things):
        return things
    rows = np.random.default_rng(options.seed).permutation(len(things))[: options.limit]
    return [things[row] for row in sorted(rows.tolist())]


def _tell(spec: str, teller: Teller, key: str, things: Sequence[Thing], options: Options) -> _Said:
    """Caption everything; what cannot be read has an empty caption, which counts."""
    said, read = _Said(spec, [""] * len(things)), teller.reader(key)
    started = time.perf_counter()
    for start in tqdm(range(0, len(things), AT_ONCE), desc=spec[:40], unit=" batches", disable=None):
        places, batch = [], []
        for place in range(start, min(start + AT_ONCE, len(things))):
            try:
                batch.append(read(source_of(things[place].media, key)))
                places.append(place)
            except BadMedia as error:
                said.failures[things[place].id] = str(error)
        found = teller.tell(key, batch, beams=options.beams, most=1) if batch else []
        for place, told in zip(places, found, strict=True):
            said.texts[place] = told[0].text
    said.seconds = time.perf_counter() - started
    return said


def _constant(things: Sequence[Thing]) -> _Said:
    counts = Counter(text for thing in things for text in thing.texts)
    best = min(counts, key=lambda text: (-counts[text], text))
    return _Said("constant", [best] * len(things))


def _random(things: Sequence[Thing], seed: int) -> _Said:
    rng = np.random.default_rng(seed)
    texts = []
    for place in range(len(things)):
        other = things[(place + int(rng.integers(1, len(things)))) % len(things)] if len(things) > 1 else things[place]
        texts.append(other.texts[int(rng.integers(len(other.texts)))])
    return _Said("random", texts)


def _measured(said: _Said, things: Sequence[Thing], options: Options) -> dict[str, Any]:
    """Measure a system on all things, and on those of each kind."""
    measures = options.measures or caption.MEASURES
    kinds = sorted({thing.kind for thing in things} - {""})
    parts = {"all": list(range(len(things)))}
    if "none" in kinds:
        parts["changed"] = [place for place, thing in enumerate(things) if thing.kind != "none"]
    parts |= {kind: [place for place, thing in enumerate(things) if thing.kind == kind] for kind in kinds}
    found = {}
    absent: dict[str, str] = {}
    for name, places in parts.items():
        wanted = measures if name in WHOLE else [each for each in measures if each not in caption.JAVA]
        figures = caption.evaluate(
            [said.texts[place] for place in places],
            [things[place].texts for place in places],
            measures=wanted,
            tokens=options.tokens,
        )
        absent |= figures.absent
        spread = figures.intervals([things[place].source for place in places], seed=options.seed)
        found[name] = {
            "n": len(places),
            "figures": dict(figures.corpus),
            "intervals": {key: [each.low, each.high] for key, each in spread.items()},
        }
    return {
        "name": said.name,
        "parts": found,
        "absent": absent,
        "different": len(set(said.texts)),
        "failures": said.failures,
        "seconds": said.seconds,
        "captions": {thing.id: text for thing, text in zip(things, said.texts, strict=True)},
    }
