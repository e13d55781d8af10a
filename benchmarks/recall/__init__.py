"""``quiver bench recall``: measure on a data set or on the user's own questions; list the data sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quiver import registry
from quiver.benchmarks import datasets
from quiver.benchmarks.recall import own_questions, rerank_weights, run, vectors
from quiver.benchmarks.recall.outcome import Bench, Options
from quiver.benchmarks.recall.own_questions import Own
from quiver.benchmarks.recall.setup import Setup, read
from quiver.errors import BadSpec
from quiver.types import strings


def measure(
    dataset: str,
    encoders: str | Sequence[str] = (),
    *,
    plan: Path | None = None,
    options: Options | None = None,
    own: Own | None = None,
) -> Bench:
    """Measure encoders on the data set that a spec names; on ready-made vectors, measure indexes.

    Args:
        dataset: such as ``"fashion_products track=image split=test"``, or the path of a table of own questions.
        encoders: specs.
        plan: a plan file, see ``quiver.benchmarks.recall.setup``; default: exact search.
        options: measurement options.
        own: the items that own questions search.

    Raises:
        BadData: the data is not on disk, or has no valid right answers.
        BadSpec: unknown data set, encoder, plan or measure.
        NoRoute: no encoder leads from the questions to the target medium.
    """
    encoders = strings(encoders, "encoders")
    setups = (Setup(),) if plan is None else read(plan)
    if own_questions.is_table(dataset):
        return _own(dataset, encoders, own or Own(), setups, options)
    if own is not None and own.items:
        raise BadSpec(f"--items needs a table of your own questions, and {dataset!r} is a data set: leave --items out")
    name, _ = registry.split(dataset)
    module = datasets.module(name)
    if hasattr(module, "load"):
        if not encoders:
            raise BadSpec(f"{name} is searched with an encoder: give --encoder, such as classic")
        learnt = dict.fromkeys(setup.fuse for setup in setups if setup.fuse)
        splits = {split: datasets.load(rerank_weights.other(dataset, split)) for split in learnt}
        return run.bench(datasets.load(dataset), encoders, setups=setups, options=options, splits=splits)
    if not hasattr(module, "neighbours"):
        raise BadSpec(f"{name} is not a known data set; `quiver bench list` lists them")
    if encoders:
        raise BadSpec(f"{name} holds ready-made vectors: it takes no encoder; name indexes in a --plan file")
    return vectors.bench(datasets.load(dataset, entry="neighbours"), setups=setups, options=options)


def _own(path: str, encoders: Sequence[str], own: Own, setups: Sequence[Setup], options: Options | None) -> Bench:
    task = own_questions.load(path, own)
    if not encoders:
        raise BadSpec(f"give --encoder, as in `quiver bench recall {path} --items {own.items[0]} --encoder classic`")
    if learnt := [setup for setup in setups if setup.fuse]:
        raise BadSpec(f"fuse={learnt[0].fuse} learns on another split of a data set, and own questions have none")
    return run.bench(task, encoders, setups=setups, options=options)


def listed() -> list[dict[str, Any]]:
    """List the data sets: name, one-line description, and whether it is on disk (None if it needs no files)."""
    from quiver.benchmarks.datasets import _place

    found = []
    for name in datasets.names():
        module = datasets.module(name)
        if not (hasattr(module, "load") or hasattr(module, "neighbours")):
            continue
        home = getattr(module, "HOME", None)
        folders = getattr(module, "FOLDERS", () if home is None else (home.name,))
        there = any(place.is_dir() for each in folders for place in _place.places(each, None)) if folders else None
        says = (module.__doc__ or "").strip().partition("\n")[0]
        found.append({"name": name, "says": says, "here": there, "url": getattr(home, "url", None)})
    return found
