"""The user's own questions as a task: queries with right answers, and the items that are searched.

``quiver bench recall --queries queries.csv --relevant qrels.csv --collection shop`` measures a collection as it is;
``quiver bench recall questions.csv --items photos/ --encoder classic`` embeds items anew. Queries and judgements are
read as ``quiver fit`` reads them (``quiver.engine.tasks.labelled_queries``). A folder in the layout of BEIR or MTEB
holds all three: corpus, queries and judgements.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from urllib.parse import unquote

from quiver.benchmarks.recall import own_layout
from quiver.engine.source.queries import GivenQuery
from quiver.engine.source.table import SUFFIXES
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.location import DATASET, absence, is_collection
from quiver.engine.tasks import labelled_queries, own_files
from quiver.errors import BadData, BadSpec, NoCollection
from quiver.task import Question, Task, check
from quiver.trust import Reach
from quiver.types import KEYS, LIKE, MEDIA, UNLIKE, Item, Query, keys_of

#: Default measures, the headline first: of graded judgements, of several right answers, and of one.
GRADED = ("nDCG@10", "R@10", "Success@1", "RR@10", "AP@10")
SEVERAL = ("Success@1", "Success@5", "Success@10", "R@10", "nDCG@10", "AP@10")
SINGLE = ("Success@1", "Success@5", "Success@10", "RR@10")
_BATCH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The user's own questions, and the items that they search.

    Attributes:
        relevant: files of relevance judgements; empty if the table of questions has a column of answers.
        collection: path or URI of the collection to measure as it is; None to embed ``items``.
        items: folders, manifests or collections to search, with options as in ``"shop.csv text=name"``.
        answer: the column with the id of a right answer.
        columns: tables and columns of the items, as ``add`` and ``train`` take them: meta, key, media, text, image,
            id_column, path_column.
            Text and image also name columns of the questions that have these; without ``items`` all are of questions.
        target: the medium to search: text, image, audio, video or pair; None for the main medium of the items.
        trust: whether to use encoders and files that only the collection names.
    """

    relevant: Sequence[str] = ()
    collection: str | None = None
    items: Sequence[str] = ()
    answer: str = "answer"
    columns: Mapping[str, str | None] = field(default_factory=dict)
    target: str | None = None
    trust: bool = False


def is_own(text: str) -> bool:
    """Whether a text names own questions (a table, vectors of queries, or a folder of BEIR), not a data set."""
    return text.lower().endswith((*SUFFIXES, ".npy", ".npz")) or own_layout.is_layout(text)


def load(path: str, own: Own) -> Task:
    """Read questions and items.

    An answer that names no item stays a right answer: it counts as not found, and the report says so.

    Args:
        path: a table of queries, or a folder in the layout of BEIR or MTEB.
        own: judgements and items.

    Returns:
        The task; its notes count all that was left out.

    Raises:
        BadData: a file cannot be read, or no question is answered by an item.
        BadSpec: no items are named, or an option does not fit.
    """
    queries, relevant, items, notes = _sources(path, own)
    # Columns of tables of items may be lacking in the questions; otherwise all are of questions, and none may be.
    shared = {key: own.columns.get(key) for key in MEDIA} if any(map(_has_columns, own.items)) else {}
    others = {} if shared else own.columns
    asked = labelled_queries.read(queries, relevant=relevant, answer=own.answer, options=others, columns=shared)
    target = _target(items, asked.asked, own)
    lacking = set() if own.collection is not None else _lacking(items, target)
    questions, absent, told = _questions(asked.asked, items, target, lacking, path=path)
    items = [*items, *(Item(id, {}) for id in absent)]
    searched = own.collection or ", ".join(own.items) or path
    protocol = f"own questions about {target}; all items compete, except those that a question itself shows"
    return check(
        Task(
            name=os.path.basename(os.path.abspath(path)),
            revision=_revision(protocol, questions, items),
            items=items,
            questions=questions,
            measures=_measures(questions),
            target=target,
            protocol=protocol,
            source=f"{os.path.abspath(path)} and {searched}, the user's own files",
            notes=(*asked.notes, *notes, *told),
        )
    )


def _sources(path: str, own: Own) -> tuple[str, Sequence[str], list[Item], tuple[str, ...]]:
    """Return the table of queries, the judgements, the items, and notes."""
    queries, relevant, corpus = path, list(own.relevant), ""
    if own_layout.is_layout(path):
        found = own_layout.find(path)
        queries, relevant, corpus = found.queries, relevant or [found.relevant], found.corpus
    elif not os.path.isfile(os.path.expanduser(path)):
        raise BadData(f"there is no file {path}; `quiver bench list` lists the data sets")
    if own.collection is not None:
        if own.items:
            raise BadSpec("give --collection, which is searched as it is, or --items, which are embedded: not both")
        return queries, relevant, stored_items(own.collection), ()
    if own.items:
        items, notes = _items([_described(spec, own.columns) for spec in own.items], trust=own.trust)
        return queries, relevant, items, notes
    if not corpus:
        raise BadSpec(
            f"{path} is a table of questions: add the collection to search, as in `quiver bench recall {path}"
            f" --collection shop`, or files to embed, as in `quiver bench recall {path} --items photos/ --encoder"
            " classic`"
        )
    return queries, relevant, own_layout.items(corpus), ()


def _described(spec: str, columns: Mapping[str, str | None]) -> str:
    """Add the names of tables and columns to a spec of files; a collection has none."""
    if not any(columns.values()) or not _has_columns(spec):
        return spec
    return own_files.with_options(spec, columns)


def _has_columns(spec: str) -> bool:
    """Whether a spec of items names files, whose tables have columns, and no collection."""
    return not is_collection(os.path.expanduser(own_files.split(spec)[0]))


def _items(specs: Sequence[str], *, trust: bool) -> tuple[list[Item], tuple[str, ...]]:
    found: dict[str, Item] = {}
    notes: list[str] = []
    for spec in specs:
        path, options = own_files.split(spec)
        if not own_files.is_path(path):
            raise BadData(f"--items {spec!r}: no such file, folder or collection")
        some: Sequence[Item]
        if is_collection(os.path.expanduser(path)):
            if options:
                raise BadSpec(f"--items {spec!r}: a collection takes no options")
            some = stored_items(path)
            if (why := unread(path, some, trust=trust)) is not None:
                raise BadSpec(f"--items {spec!r}: {why}")
        else:
            some, told = own_files.read(path, options, what="--items")
            notes += told
        if twice := next((item.id for item in some if item.id in found), None):
            raise BadData(f"--items {spec!r}: item {twice} also occurs in another of the --items")
        found |= {item.id: item for item in some}
    return list(found.values()), tuple(notes)


def stored_items(place: str) -> list[Item]:
    """Read the items of a collection, without its vectors."""
    table = _opened(place)
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


def _opened(place: str) -> Table:
    """Open the items of a collection.

    Raises:
        NoCollection: there is none.
    """
    uri = place if "://" in place else os.path.abspath(os.path.expanduser(place))
    try:
        return Table(f"{uri}/{DATASET}")
    except NoCollection as error:
        raise NoCollection(absence(uri)) from error


def unread(place: str, items: Sequence[Item], *, trust: bool) -> str | None:
    """Say why the files of a collection's items are not read; None if they may be."""
    reach = Reach(place, everything=trust)
    refs = (ref for item in items for name, ref in item.media.items() if name != "text")
    return next((why for ref in refs if (why := reach.refuses(ref)) is not None), None)


def _target(items: Sequence[Item], asked: Sequence[GivenQuery], own: Own) -> str:
    """Return the medium to search: the requested one, else the most frequent one other than text, else text.

    Raises:
        BadSpec: the questions ask for several media, or no item has the requested one.
    """
    wanted = {each.given["target"] for each in asked if "target" in each.given}
    if own.target is not None:
        wanted.add(own.target)
    if len(wanted) > 1:
        raise BadSpec(f"the questions search {' and '.join(sorted(wanted))}: measure one medium at a time")
    if own.collection is not None:
        count = Counter(dict.fromkeys(sorted({c.key for c in _opened(own.collection).columns}, key=KEYS.index), 1))
    else:
        count = Counter()
    count.update(key for item in items for key in keys_of(item.media) if own.collection is None or key in count)
    chosen = next(iter(wanted), None)
    if chosen is not None and chosen not in count:
        raise BadSpec(f"--target {chosen}: the items have {', '.join(count) or 'no media'}")
    other = [key for key in KEYS if key != "text" and count[key]]
    return chosen or max(other, key=lambda key: count[key], default="text")


def _questions(
    asked: Sequence[GivenQuery], items: Sequence[Item], target: str, lacking: Set[str], *, path: str
) -> tuple[list[Question], list[str], tuple[str, ...]]:
    """Return the questions, the answers that name no item, and notes.

    Raises:
        BadData: no answer is an item with the target.
    """
    known, shown = _Known(items), _shown(items)
    found: list[Question] = []
    absent: dict[str, None] = {}
    idle: list[str] = []
    for each in asked:
        right = {known.item(id): grade for id, grade in each.answers.items() if grade > 0}
        examples = (*each.given.get(LIKE, ()), *each.given.get(UNLIKE, ()), *each.given.get("exclude", ()))
        competing = {id: grade for id, grade in right.items() if id not in examples}
        if not competing:
            idle.append(each.id)
            continue
        absent.update(dict.fromkeys(id for id in competing if id not in known.ids))
        media = each.given.get("media", {})
        own = [id for pair in media.items() if _plain(pair) for id in shown.get(pair, ()) if id not in right]
        query = Query(**{**each.given, "target": target, "exclude": ()})
        excluded = tuple(dict.fromkeys((*own, *examples)))
        found.append(Question(each.id, query, competing, exclude=excluded))
    right_ids = [id for question in found for id in question.relevant]
    useless = [id for id in right_ids if id in absent or id in lacking]
    if len(useless) == len(right_ids):
        example = known.example(useless[0]) if useless else repr(asked[0].id)
        raise BadData(f"{path}: no answer is the id of an item with {target}, such as {example}")
    notes = []
    if useless:
        notes.append(
            f"{len(useless)} of {len(right_ids)} right answers name no item with {target}, such as"
            f" {known.example(useless[0])}: they count as not found"
        )
    if idle:
        notes.append(
            f"left out: {len(idle)} of {len(asked)} questions whose right answers are their own examples or excluded,"
            f" such as {idle[0]!r}"
        )
    return found, list(absent), tuple(notes)


def _lacking(items: Sequence[Item], target: str) -> set[str]:
    """Return the ids of items without the target medium."""
    return {item.id for item in items if target not in keys_of(item.media)}


def _plain(pair: tuple[str, Any]) -> bool:
    return pair[0] != "text" and isinstance(pair[1], str)


def _shown(items: Sequence[Item]) -> dict[tuple[str, str], list[str]]:
    """Return the ids of the items that show a file, by medium and file."""
    shown: dict[tuple[str, str], list[str]] = {}
    for item in items:
        for key, ref in item.media.items():
            if key != "text":
                shown.setdefault((key, ref), []).append(item.id)
    return shown


class _Known:
    """The ids of items, and other spellings of them: a file name that one item has, and percent-encoded ids."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.ids = {item.id for item in items}
        names = Counter(id.rpartition("/")[2] for id in self.ids)
        self._others = {unquote(id): id for id in self.ids if "%" in id}
        self._others |= {name: id for id in self.ids if names[name := id.rpartition("/")[2]] == 1}

    def item(self, id: str) -> str:
        """Return the id of the item that an answer names; the answer itself if there is none."""
        return id if id in self.ids else self._others.get(id, id)

    def example(self, lost: str) -> str:
        """Show an id that names no item, and what ids look like."""
        near = get_close_matches(lost, [item.id for item in self.items], n=1, cutoff=0) if len(self.ids) < 1e5 else []
        return f"{lost!r} (ids look like {near[0]!r})" if near else repr(lost)


def _measures(questions: Sequence[Question]) -> tuple[str, ...]:
    """Return the default measures: those of grades if there are any, of recall if questions have several answers."""
    if any(grade > 1 for question in questions for grade in question.relevant.values()):
        return GRADED
    return SEVERAL if any(len(question.relevant) > 1 for question in questions) else SINGLE


def _revision(protocol: str, questions: Sequence[Question], items: Sequence[Item]) -> str:
    """Hash the contents: the same questions about the same items are comparable, however they were searched."""
    total = hashlib.sha256(protocol.encode())
    for item in sorted(items, key=lambda item: item.id):
        total.update(json.dumps([item.id, dict(item.media)], sort_keys=True).encode())
    for question in questions:
        query = question.query
        vectors = {name: [float(x) for x in vector.ravel()] for name, vector in query.vectors.items()}
        held = [dict(query.media), query.like, query.unlike, query.where, vectors, dict(question.relevant)]
        total.update(json.dumps([question.id, *held, question.exclude], sort_keys=True, default=str).encode())
    return total.hexdigest()
