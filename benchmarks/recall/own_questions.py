"""The user's own questions as a task: a table of questions with answers, and the items that are searched.

``quiver bench recall questions.csv --items photos/ --encoder classic``: each row of the table has query media and, in a
column ``answer``, the id of a right answer, in the format of ``quiver fit``. Rows with the same query are one question
with several right answers. Items come from a folder, a manifest (with options, see ``own_files``) or a collection,
whose stored items are embedded again.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from quiver.engine.source.table import SUFFIXES
from quiver.engine.storage.dataset import Table
from quiver.engine.tasks import labelled_queries, own_files
from quiver.errors import BadData, BadSpec
from quiver.task import Question, Task, check
from quiver.types import KEYS, MEDIA, Item, Query, keys_of

MEASURES = ("Success@1", "Success@5", "Success@10", "MedR")
#: The Lance dataset in the folder of a collection.
_LANCE = "items.lance"
_BATCH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The items that own questions search.

    Attributes:
        items: folders, manifests or collections to search, with options as in ``"shop.csv text=name"``.
        answer: the column with the id of a right answer.
        columns: tables and columns of the items, as ``add`` and ``train`` take them: meta, key, media, text, image.
            Text and image also name columns of the questions that have these.
        target: the medium to search: text, image, audio, video or pair; None for the main medium of the items.
    """

    items: Sequence[str] = ()
    answer: str = "answer"
    target: str | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)


def is_table(text: str) -> bool:
    """Whether a text names a table of questions, not a data set."""
    return text.lower().endswith(SUFFIXES)


def load(path: str, own: Own) -> Task:
    """Read questions and items.

    Args:
        path: a CSV, TSV, JSON lines or Parquet file of questions.
        own: the items that they search.

    Returns:
        The task; its notes give the number of questions left out because no item answers them.

    Raises:
        BadData: a file cannot be read, or no question is answered by an item.
        BadSpec: no items are named, or an option does not fit.
    """
    if not own.items:
        raise BadSpec(
            f"{path} is a table of questions: add the items to search, as in "
            f"`quiver bench recall {path} --items photos/ --encoder classic`"
        )
    if not os.path.isfile(path):
        raise BadData(f"there is no file {path}; `quiver bench list` lists the data sets")
    named = {key: own.columns.get(key) for key in MEDIA}
    asked = labelled_queries.read(path, answer=own.answer, columns=named)
    items, notes = _items([_described(spec, own.columns) for spec in own.items])
    target = _target(items, own.target)
    questions, lost = _questions(asked, items, target)
    if not questions:
        raise BadData(f"{path}: no answer is the id of an item with {target}, such as {_example(lost, items)}")
    if lost:
        notes = (
            *notes,
            f"left out: {len(lost)} answers that name no item with {target}, such as {_example(lost, items)}",
        )
    if silent := len(asked.media) - len(questions):
        notes = (*notes, f"left out: {silent} of {len(asked.media)} questions that no item answers")
    protocol = f"own questions; all {len(items):,} items compete, except one that a question itself shows"
    content = json.dumps([[item.id, dict(item.media)] for item in items], sort_keys=True, default=str)
    revision = hashlib.sha256(f"{protocol} {own} {content}".encode() + Path(path).read_bytes()).hexdigest()
    return check(
        Task(
            name=os.path.basename(path),
            revision=revision,
            items=items,
            questions=questions,
            measures=MEASURES,
            target=target,
            protocol=protocol,
            source=f"{os.path.abspath(path)} and {', '.join(own.items)}, the user's own files",
            notes=(*asked.notes, *notes),
        )
    )


def _described(spec: str, columns: Mapping[str, str | None]) -> str:
    """Add the names of tables and columns to a spec of files; a collection has none."""
    path = os.path.expanduser(own_files.split(spec)[0])
    if not any(columns.values()) or os.path.isdir(os.path.join(path, _LANCE)):
        return spec
    return own_files.with_options(spec, columns)


def _items(specs: Sequence[str]) -> tuple[list[Item], tuple[str, ...]]:
    found: dict[str, Item] = {}
    notes: list[str] = []
    for spec in specs:
        path, options = own_files.split(spec)
        if not own_files.is_path(path):
            raise BadData(f"--items {spec!r}: no such file, folder or collection")
        if os.path.isdir(os.path.join(os.path.expanduser(path), _LANCE)):
            if options:
                raise BadSpec(f"--items {spec!r}: a collection takes no options")
            some = _stored(os.path.join(os.path.expanduser(path), _LANCE))
        else:
            some, told = own_files.read(path, options, what="--items")
            notes += told
        if twice := next((item.id for item in some if item.id in found), None):
            raise BadData(f"--items {spec!r}: item {twice} also occurs in another of the --items")
        found |= {item.id: item for item in some}
    return list(found.values()), tuple(notes)


def _stored(uri: str) -> list[Item]:
    """Read the items of a collection, without its vectors."""
    table = Table(uri)
    held = [name for name in MEDIA if name in table.schema.names]
    rows = [row for batch in table.batches(["id", *held, *table.meta], size=_BATCH) for row in batch.to_pylist()]
    return [
        Item(
            row["id"],
            {name: row[name] for name in held if row[name] is not None},
            {name: row[name] for name in table.meta if row[name] is not None},
        )
        for row in rows
    ]


def _target(items: Sequence[Item], wanted: str | None) -> str:
    """Return the medium to search: the requested one, else the most frequent one other than text, else text."""
    count = Counter(key for item in items for key in keys_of(item.media))
    if wanted is not None and wanted not in count:
        raise BadSpec(f"--target {wanted}: the items have {', '.join(count) or 'no media'}")
    other = [key for key in KEYS if key != "text" and count[key]]
    return wanted or max(other, key=lambda key: count[key], default="text")


def _questions(
    asked: labelled_queries.Questions, items: Sequence[Item], target: str
) -> tuple[list[Question], list[str]]:
    """Return the questions with a right answer among the items, and the answers that name no item."""
    known = {item.id: item for item in items}
    ends = _ends(known)
    shown: dict[tuple[str, str], list[str]] = {}
    for item in items:
        for key, ref in item.media.items():
            if key != "text":
                shown.setdefault((key, ref), []).append(item.id)
    found, lost = [], list[str]()
    for number, (media, answers) in enumerate(zip(asked.media, asked.answers, strict=True)):
        right: dict[str, int] = {}
        for answer in answers:
            id = answer if answer in known else ends.get(answer)
            if id is not None and target in keys_of(known[id].media):
                right[id] = 1
            else:
                lost.append(answer)
        if right:
            own = [id for pair in media.items() for id in shown.get(pair, ()) if id not in right]
            query = Query(media, target=target)
            found.append(Question(f"q{number + 1}", query, right, exclude=tuple(dict.fromkeys(own))))
    return found, lost


def _ends(known: Mapping[str, Any]) -> dict[str, str]:
    """Return ids by file name, for file names that only one item has."""
    names = Counter(id.rpartition("/")[2] for id in known)
    return {name: id for id in known if names[name := id.rpartition("/")[2]] == 1}


def _example(lost: Sequence[str], items: Sequence[Item]) -> str:
    near = get_close_matches(lost[0], [item.id for item in items], n=1, cutoff=0)
    return f"{lost[0]!r} (ids look like {near[0]!r})" if near else repr(lost[0])
