"""Work folder of a task: one collection of its items per encoder, reused between runs.

``<work>/<task>/items/<encoder>`` is a collection, ``<work>/<task>/queries`` has the vectors of the questions. The names
contain the revision of the task and of the encoder's spaces, so other annotations or other weights never reuse old
files.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

import quiver
from quiver.benchmarks.recall.setup import WITH
from quiver.benchmarks.recall.slug import slug
from quiver.benchmarks.recall.task_session import TaskSession
from quiver.engine.core.column import Column
from quiver.engine.core.encoder import load
from quiver.engine.core.sql import either, present
from quiver.engine.serving.searcher import Searcher
from quiver.engine.storage import full_text
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.index_files import Cache
from quiver.engine.storage.location import DATASET
from quiver.errors import BadData, NoRoute
from quiver.files import cache_home
from quiver.task import Task
from quiver.types import Item, Rows


def home(task: Task, work: Path | None) -> Path:
    """Return the folder of a task below ``work``, by default below ``~/.cache/quiver/bench``."""
    return (work or cache_home() / "bench") / slug(task.name, task.name, task.revision)


@dataclass(frozen=True, slots=True)
class StoredSystem:
    """A collection to measure as it is.

    Attributes:
        place: path or URI.
        trust: whether to use encoders and files that only the collection names.
        unread: reason why the files of its items are not read, so that no other encoder embeds them; None if they are.
    """

    place: str
    trust: bool = False
    unread: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """The items of a task with the vectors of some encoders.

    Attributes:
        uri: the collection.
        specs: the encoders.
        session: the session that a run searches.
        at: row number by id, for the stored items.
        ordered: (m,) int64 their row numbers, ascending.
        places: (m,) int64 their places in the task's items, in the same order.
        reasons: reason why an item is missing, by id.
        wordy: whether items have text for full-text search; in the user's own collection, metadata counts too.
        seconds: time of adding the items; almost zero on a second run.
        own: whether this is the user's own collection, which is searched as it is.
    """

    uri: str
    specs: tuple[str, ...]
    session: TaskSession
    at: Mapping[str, int]
    ordered: Rows
    places: Rows
    reasons: Mapping[str, str]
    wordy: bool
    seconds: float
    own: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """The vector columns."""
        return self.session.table.columns

    @property
    def name(self) -> str:
        """The name of the collection."""
        return self.uri.rstrip("/").rpartition("/")[2]

    def fresh(self) -> "Stock":
        """Return the same stock with empty caches, so that a newly built index is seen."""
        table = Table(f"{self.uri}/{DATASET}")
        return replace(self, session=TaskSession(table, cache=Cache(self.uri), row_of=self.at))

    def numbers(self, ids: Iterable[str]) -> Rows:
        """Return the row numbers of items in the given order; missing items are skipped."""
        return np.array([self.at[id] for id in ids if id in self.at], np.int64)

    def place(self, rows: Rows) -> Rows:
        """Convert row numbers of any shape to places in the task's items; -1 and unknown rows become -1."""
        if not len(self.ordered):
            return np.full(rows.shape, -1, np.int64)
        near = np.minimum(np.searchsorted(self.ordered, rows), len(self.ordered) - 1)
        return np.where(self.ordered[near] == rows, self.places[near], -1)


def fill(task: Task, specs: Sequence[str], *, folder: Path, progress: bool | None = None) -> Stock:
    """Add a task's items to the collection of some encoders, and find those that are missing there.

    Metadata is left out unless a question filters by it: full-text search would find the answers there.

    Raises:
        BadData: no item has the target medium.
        BadSpec: unknown encoder.
        NoRoute: none of the encoders embeds the target medium.
    """
    loaded = [load(spec) for spec in specs]
    if not any(task.target in each.encoder.keys for each in loaded):
        raise NoRoute(f"{WITH.join(specs)} embeds no {task.target}, which is what {task.name} searches")
    spaces = [f"{space}{space.revision}" for each in loaded for space in (column.space for column in each.columns)]
    place = folder / "items" / slug(" ".join(specs), *specs, *spaces)
    meta = any(question.query.where is not None for question in task.questions)
    items = [each if meta else Item(each.id, each.media) for each in task.items if each.media]
    if not items:
        raise NoRoute(f"the items of {task.name} have no media that {WITH.join(specs)} could embed")
    started = perf_counter()
    collection = quiver.open(place)
    collection.add(*items, encoder=specs, progress=progress)
    reasons = {row["id"]: row["reason"] for row in collection.info()["quarantine"]}
    table = Table(f"{collection.uri}/{DATASET}")
    wanted = [column.name for column in table.columns if column.key == task.target]
    if not wanted:
        why = f", such as {min(reasons)}: {reasons[min(reasons)]}" if reasons else ""
        raise BadData(f"{task.name}: not one {task.target} of its {len(task.items)} items could be embedded{why}")
    session = TaskSession(table, cache=Cache(collection.uri), row_of=_numbers(table, wanted))
    stock = _look_up(task, collection.uri, session, reasons)
    return replace(stock, specs=tuple(specs), seconds=perf_counter() - started)


def stored(task: Task, place: str, *, trust: bool = False) -> Stock:
    """Return the user's own collection as it is: with its encoders, its indexes and what it has learned.

    Raises:
        BadCollection: there is none.
        NoRoute: it stores no vectors of the target.
        Untrusted: it links to places that the user has not named.
    """
    collection = quiver.open(place, catch_up=False, trust=trust)
    reasons = {row["id"]: row["reason"] for row in collection.info()["quarantine"]}
    opened = Searcher(collection.uri, trusted=trust).session()
    wanted = [end.stored.name for end in opened.graph.ends if end.key == task.target]
    if not wanted:
        raise NoRoute(f"{place} stores no vectors of {task.target}")
    at = _numbers(opened.table, wanted)
    session = TaskSession(opened.table, cache=Cache(collection.uri), row_of=at, own=True, trusted=trust)
    stock = _look_up(task, collection.uri, session, reasons)
    wordy = full_text.any_words(opened.table)  # its searches read metadata, too
    return replace(stock, specs=tuple(opened.table.encoders), wordy=wordy, own=True)


def _numbers(table: Table, columns: Sequence[str]) -> dict[str, int]:
    """Return the row numbers, by id, of the items with a vector in one of the columns."""
    found = table.read(["id"], where=either(*map(present, columns)))
    return dict(zip(found["id"].to_pylist(), found["_rowid"].to_pylist(), strict=True))


def _look_up(task: Task, uri: str, session: TaskSession, bad: Mapping[str, str]) -> Stock:
    at = session.row_of
    places = {at[item.id]: place for place, item in enumerate(task.items) if item.id in at}
    ordered = np.array(sorted(places), np.int64)
    reasons = {item.id: bad.get(item.id) or _absence(item, task) for item in task.items if item.id not in at}
    order = np.array([places[row] for row in ordered.tolist()], np.int64)
    wordy = any("text" in item.media for item in task.items)
    return Stock(uri, (), session, at, ordered, order, reasons, wordy, 0.0)


def _absence(item: Item, task: Task) -> str:
    """Say why an item cannot be found."""
    return f"it has no {task.target}" if item.media or item.meta else "there is no such item"
