"""Training data: data sets and the user's own files, as tasks to train on and to validate on.

A data set of ``quiver.benchmarks.datasets`` gives its own train and validation parts. Files are split by a metadata
column ``split``, or else nine to one by a hash of their ``group`` column or id, so that a file stays in its part
when files are added later.
"""

import hashlib
import importlib.util
import inspect
import os
import shlex
import typing
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quiver import attribute_edits, registry
from quiver.benchmarks import datasets
from quiver.engine.tasks import own_files
from quiver.errors import BadData, BadSpec
from quiver.item_table import ItemTable, TextQuestions
from quiver.paraphrases import WORDINGS, Wording
from quiver.task import Question, Task, check
from quiver.types import KEYS, Item, Rows, strings

#: Names of the training and the validation part in data sets.
_LEARN = ("train", "development", "train9k")
_VALIDATION = ("validation", "val", "valid")
#: Parts of the user's own files.
_PARTS = ("train", "validation", "test")
#: Accepted values of a column ``split``.
_SPLITS = dict.fromkeys(("train", "training"), "train")
_SPLITS |= dict.fromkeys(("validation", "val", "valid", "dev"), "validation")
_SPLITS |= dict.fromkeys(("test", "testing"), "test")
#: Options of the command line that name tables and columns.
_FLAGS = ("meta", "key", "media", "text", "image")
#: Words in the names of columns of texts about items, likeliest first.
_TEXTS = ("caption", "text", "description", "title", "name")
#: Default share of validation groups: one in this many.
_SHARE = 10

Pair = tuple[Task, Task | None]


def lessons(specs: str | Sequence[str]) -> Pair:
    """Read training data.

    Args:
        specs: each a data set such as ``"world track=films"``, or a folder, glob, manifest or webdataset tar, which
            takes the options of ``own_files``, as in ``"shop.csv image=photo text=caption"``. ``edits=colour,gender``
            asks its pictures for others that differ in one of these columns (see ``quiver.attribute_edits``),
            ``queries`` times at most.

    Returns:
        The training task, and the validation task or None.

    Raises:
        BadData: the data does not exist, or cannot be split.
        BadSpec: a spec is invalid, or names a split itself.
    """
    specs = strings(specs, "specs")
    if not specs:
        raise BadSpec("no training data: give a data set, a folder or a manifest")
    pairs = [_dataset(spec) if is_dataset(spec) else _files(spec) for spec in specs]
    held = [validation for _, validation in pairs if validation is not None]
    return join([learn for learn, _ in pairs]), join(held) if held else None


def with_columns(specs: Sequence[str], given: Mapping[str, str | None]) -> list[str]:
    """Add options that name tables and columns to every spec of files.

    Args:
        specs: specs as for ``lessons``.
        given: options of ``own_files.OPTIONS``; None for options that were not given.

    Raises:
        BadSpec: an option is given, but no spec names files.
    """
    said = [name for name, value in given.items() if value is not None]
    if said and all(is_dataset(spec) for spec in specs):
        raise BadSpec(
            f"--{said[0]} applies to your own tables only, and {', '.join(specs)} is a data set: leave the option out"
        )
    return [spec if is_dataset(spec) else own_files.with_options(spec, given) for spec in specs]


def advice(learn: Task, specs: Sequence[str], *, model: str, edits: bool, more: Sequence[str] = ()) -> str:
    """Return a command that gives a task of the user's own files its questions; "" if it has some.

    Args:
        learn: the task of the files.
        specs: specs as for ``lessons``.
        model: name of the model to train.
        edits: whether the model learns from pictures and attribute edits, not from texts.
        more: further arguments of the command, such as settings.
    """
    own = [spec for spec in specs if not is_dataset(spec)]
    if learn.questions or not own:
        return ""
    values: dict[str, list[str]] = defaultdict(list)
    for item in learn.items:
        for name, value in item.meta.items():
            if isinstance(value, str):
                values[name].append(value)
    path, options = own_files.split(own[0])
    flags = [word for name in _FLAGS if name in options for word in (f"--{name}", options.pop(name))]
    if edits:
        apart = [name for name, each in values.items() if 1 < len(set(each)) <= len(each) // 2]
        if not apart:
            return "No column has values shared by several pictures: give a table of such columns with --meta TABLE."
        options["edits"] = ",".join(apart[:2])
    elif not values:
        return "There is no text column: give a table with --meta TABLE --text COLUMN."
    else:
        flags += ["--text", min(values, key=lambda name: (_rank(name), -len(set(values[name]))))]
    spec = own_files.with_options(path, options) if options else path
    return f"Try: {shlex.join(['quiver', 'train', model, '--data', spec, *flags, *more])}"


def _rank(column: str) -> int:
    """Return the rank of a column name as a column of texts about items: smaller is likelier."""
    return next((place for place, word in enumerate(_TEXTS) if word in column.casefold()), len(_TEXTS))


def is_dataset(spec: str) -> bool:
    """Whether a spec names a data set: one of Quiver's, or a third-party one by its dotted name."""
    name = spec.split(maxsplit=1)[0] if spec.strip() else spec
    if name in datasets.names():
        return True
    if own_files.is_path(spec) or own_files.is_path(name) or not all(part.isidentifier() for part in name.split(".")):
        return False
    return "." in name and importlib.util.find_spec(name.partition(".")[0]) is not None


def full_name(spec: str) -> str:
    """Return a spec with absolute paths, valid from any folder."""
    if is_dataset(spec):
        return registry.canonical(spec)
    path, options = _read(spec)
    return own_files.written(path, options)


def join(tasks: Sequence[Task]) -> Task:
    """Join several tasks: shared items are merged, and ids of different items get their task's name as prefix.

    Every item is a candidate for every question that does not name its candidates.
    """
    if len(tasks) == 1:
        return tasks[0]
    labels = _labels(tasks)
    clashing = _clashing(tasks)
    asked = Counter(question.id for task in tasks for question in task.questions)
    items: dict[str, Item] = {}
    questions: list[Question] = []
    for task, label in zip(tasks, labels, strict=True):
        new = {item.id: f"{label}/{item.id}" if item.id in clashing else item.id for item in task.items}
        for item in task.items:
            known = items.get(new[item.id])
            meta = {**known.meta, **item.meta} if known else item.meta
            items[new[item.id]] = replace(item, id=new[item.id], meta=meta)
        taken = {question.id for question in task.questions if asked[question.id] > 1}
        questions += [_renamed(each, new, f"{label}/" if each.id in taken else "") for each in task.questions]
    revision = hashlib.sha256(" ".join(task.revision for task in tasks).encode()).hexdigest()
    return check(
        replace(
            tasks[0],
            name=" + ".join(task.name for task in tasks),
            revision=revision,
            items=list(items.values()),
            questions=questions,
            protocol="joined, and all items compete: " + "; ".join(task.protocol for task in tasks),
            source="; ".join(dict.fromkeys(task.source for task in tasks)),
            notes=tuple(f"{label}: {note}" for task, label in zip(tasks, labels, strict=True) for note in task.notes),
        )
    )


def _labels(tasks: Sequence[Task]) -> list[str]:
    """Return a short, unique name for each task."""
    names = [os.path.basename(task.name.split(maxsplit=1)[0]) for task in tasks]
    return [f"{name}#{place + 1}" if names.count(name) > 1 else name for place, name in enumerate(names)]


def _clashing(tasks: Sequence[Task]) -> set[str]:
    media: dict[str, Mapping[str, str]] = {}
    return {item.id for task in tasks for item in task.items if media.setdefault(item.id, item.media) != item.media}


def _renamed(question: Question, new: Mapping[str, str], prefix: str) -> Question:
    return replace(
        question,
        id=prefix + question.id,
        query=replace(question.query, like=tuple(new.get(id, id) for id in question.query.like)),
        relevant={new[id]: grade for id, grade in question.relevant.items()},
        exclude=tuple(new.get(id, id) for id in question.exclude),
        candidates=None if question.candidates is None else tuple(new[id] for id in question.candidates),
    )


def _dataset(spec: str) -> Pair:
    name, options = registry.split(spec)
    if "split" in options:
        raise BadSpec(f"--data {spec!r} names a split: training reads the train and the validation part itself")
    load = getattr(datasets.module(name), "load", None)
    if load is None:
        raise BadSpec(f"{name} consists of ready-made vectors, which models cannot be trained on")
    parameter = inspect.signature(load, eval_str=True).parameters.get("split")
    known = () if parameter is None else typing.get_args(parameter.annotation)
    parts = [next((each for each in wanted if each in known), None) for wanted in (_LEARN, _VALIDATION)]
    if parameter is not None and not known:  # any name will do: the data set reports its missing files
        parts = ["train", "validation"]
    if parts[0] is None:
        has = f"its splits are {', '.join(map(str, known))}" if known else "it has no splits"
        raise BadSpec(f"{name} has no training part: {has}")
    learn: Task = datasets.load(f"{spec} split={parts[0]}")
    if parts[1] is None:
        return replace(learn, notes=(*learn.notes, "no validation part: the last state is kept")), None
    return learn, datasets.load(f"{spec} split={parts[1]}")


def _read(spec: str) -> tuple[str, dict[str, str]]:
    """Split a spec of files into path and options."""
    path, options = own_files.split(spec)
    if not own_files.is_path(path):
        known = ", ".join(datasets.names())
        raise BadSpec(f"--data {spec!r} is neither an existing file or folder nor a data set; data sets: {known}")
    return path, options


def _files(spec: str) -> Pair:
    path, options = _read(spec)
    edits, queries, wording = (options.pop(name, "") for name in ("edits", "queries", "wording"))
    if (queries or wording) and not edits:
        what = "queries is the number of edits" if queries else "wording is that of edits"
        raise BadSpec(f"--data {spec!r}: {what}: give edits=COLUMN,... too")
    if wording not in ("", *WORDINGS):
        raise BadSpec(f"--data {spec!r}: wording must be one of {', '.join(WORDINGS)}, not {wording!r}")
    items, notes = own_files.read(path, options, what="--data", more=("edits", "queries", "wording"))
    pair = _split(full_name(spec), items, notes=notes)
    return _edit(pair, edits.split(","), queries, typing.cast(Wording, wording or "plain")) if edits else pair


def _edit(pair: Pair, attributes: Sequence[str], queries: str, wording: Wording) -> Pair:
    """Replace the questions of both parts by attribute edits."""
    count = int(queries) if queries.isdecimal() else attribute_edits.QUERIES
    if queries and not queries.isdecimal():
        raise BadSpec(f"queries must be a number, not {queries!r}")
    learn, validation = pair
    learn = attribute_edits.edited(learn, attributes, queries=count, wording=wording)
    if not learn.questions:
        raise BadData(f"{learn.name}: no two training pictures differ in exactly one of {', '.join(attributes)}")
    if validation is not None:
        validation = attribute_edits.edited(validation, attributes, queries=count, wording=wording)
        if not validation.questions:
            note = "no two validation pictures differ in exactly one of the edits: the last state is kept"
            return replace(learn, notes=(*learn.notes, note)), None
    return learn, validation


def _split(name: str, items: ItemTable, *, notes: Sequence[str]) -> Pair:
    split, group, ids = items.column("split"), items.column("group"), items.table["id"]
    named, grouped = split is not None, group is not None
    if split is not None:
        chosen = _named(ids, split, name)
    else:
        chosen = _hashed(ids)
        if group is not None:
            chosen = np.where(pc.is_valid(group).to_numpy(), _hashed(group), chosen)
    parts = {part: items.take(np.flatnonzero(chosen == number)) for number, part in enumerate(_PARTS)}
    if not parts["train"]:
        raise BadData(f"{name}: none of its {len(items)} items is in the train split")
    by = "column split" if named else f"a hash of {'column group' if grouped else 'the id'}"
    counts = ", ".join(f"{len(part):,} {called}" for called, part in parts.items() if part)
    protocol = f"split by {by} ({counts}); text to the items of that text, all items of the split compete"
    if not parts["validation"]:
        notes = [*notes, "no validation part: the last state is kept"]
    learn, validation = (
        _task(name, parts[part], protocol=f"{part} {protocol}", notes=notes) for part in ("train", "validation")
    )
    return learn, validation if parts["validation"] else None


def _named(ids: pa.ChunkedArray, split: pa.ChunkedArray, name: str) -> Rows:
    """Return the place in ``_PARTS`` that a column says of each item: (n,)."""
    values, numbers = _distinct(split)
    said = ["" if value is None else str(value).strip().lower() for value in values]
    found = np.array([_PARTS.index(_SPLITS[each]) if each in _SPLITS else -1 for each in said], np.int64)[numbers]
    if len(bad := np.flatnonzero(found < 0)):
        row = int(bad[0])
        raise BadData(
            f"{name}: item {ids[row].as_py()} has split={said[numbers[row]] or 'nothing'}; "
            "it must be train, validation or test"
        )
    return found


def _hashed(column: pa.ChunkedArray) -> Rows:
    """Assign each value to training or validation by its SHA-256: (n,) places in ``_PARTS``."""
    values, numbers = _distinct(column)
    digests = (hashlib.sha256(str(value).encode()).digest() for value in values)
    parts = (int(int.from_bytes(digest[:8], "big") % _SHARE == 0) for digest in digests)
    return np.fromiter(parts, np.int64, len(values))[numbers]


def _distinct(column: pa.ChunkedArray) -> tuple[list[Any], Rows]:
    """Return the distinct values of a column, null too, and the place of each item's value among them."""
    try:
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # of lists and other nested values
        return column.to_pylist(), np.arange(len(column))
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def _task(name: str, items: ItemTable, *, protocol: str, notes: Sequence[str]) -> Task:
    count = {key: int(items.holds(key).sum()) for key in KEYS}
    target = max(KEYS[1:], key=lambda key: count[key])
    target = target if count[target] else "text"
    return Task(
        name=name,
        revision=hashlib.sha256(f"{protocol} {items.digest()}".encode()).hexdigest(),
        items=items,
        questions=TextQuestions(items, target),
        measures=("Success@1", "Success@5", "Success@10"),
        target=target,
        protocol=protocol,
        source=f"{name}, the user's own files",
        notes=tuple(notes),
    )
