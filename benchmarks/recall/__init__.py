"""``quiver bench recall``: measure on a data set or on the user's own questions; list the data sets."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from quiver import registry
from quiver.benchmarks import datasets
from quiver.benchmarks.recall import own_file, own_questions, rerank_weights, run, vectors
from quiver.benchmarks.recall.outcome import Bench, Options
from quiver.benchmarks.recall.own_questions import Own
from quiver.benchmarks.recall.setup import Setup, read
from quiver.benchmarks.recall.task_store import StoredSystem
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
        dataset: such as ``"fashion_products track=image split=test"``, or own questions: a table, a folder in the
            layout of BEIR or MTEB, or a TOML file (see ``own_file``).
        encoders: specs.
        plan: a plan file, see ``quiver.benchmarks.recall.setup``; default: exact search, and in a collection what its
            searches do.
        options: measurement options.
        own: judgements and items of own questions.

    Raises:
        BadData: the data is not on disk, or has no valid right answers.
        BadSpec: unknown data set, encoder, plan or measure.
        NoRoute: no encoder leads from the questions to the target medium.
    """
    encoders, own, options = strings(encoders, "encoders"), own or Own(), options or Options()
    if own_file.is_file(dataset):
        file = own_file.read(dataset)
        plan = plan or (Path(dataset) if file.planned else None)
        options = replace(options, measures=options.measures or file.measures)
        dataset, encoders, own = file.queries, encoders or file.encoders, own_file.merged(file.own, own)
    setups = () if plan is None else read(plan)
    if own_questions.is_own(dataset):
        return _own(dataset, encoders, own, setups, options)
    if own.items or own.collection or own.relevant:
        raise BadSpec(
            f"--items, --collection and --relevant need your own questions, and {dataset!r} is a data set: leave them"
            " out, or name a table with --queries"
        )
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
    return vectors.bench(datasets.load(dataset, entry="neighbours"), setups=setups or (Setup(),), options=options)


def _own(path: str, encoders: Sequence[str], own: Own, setups: Sequence[Setup], options: Options) -> Bench:
    task = own_questions.load(path, own)
    if not encoders and own.collection is None:
        items = f" --items {own.items[0]}" if own.items else ""
        raise BadSpec(f"give --encoder, as in `quiver bench recall {path}{items} --encoder classic`")
    if learnt := [setup for setup in setups if setup.fuse]:
        raise BadSpec(f"fuse={learnt[0].fuse} learns on another split of a data set, and own questions have none")
    if own.collection is None:
        return run.bench(task, encoders, setups=setups, options=options)
    unread = own_questions.unread(own.collection, task.items, trust=own.trust)
    if unread is not None and encoders:
        raise BadSpec(f"--encoder embeds the files of {own.collection}: {unread}")
    collection = StoredSystem(own.collection, own.trust, unread)
    return run.bench(task, encoders, setups=setups, options=options, collection=collection)


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
