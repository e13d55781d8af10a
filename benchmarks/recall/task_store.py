"""The work folder of a task: its items as collections, one for each encoder, kept from run to run.

``<work>/<task>/items/<encoder>`` holds a collection, ``<work>/<task>/queries`` the vectors of the questions. The task's
part is named by its revision and the encoder's by the revisions of its spaces, so that neither other annotations nor
other weights ever meet what was made before.
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
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.index_files import Cache
from quiver.errors import BadData, NoRoute
from quiver.files import cache_home
from quiver.task import Task
from quiver.types import Item, Rows


def home(task: Task, work: Path | None) -> Path:
    """Return the folder of a task below ``work``, by default below ``~/.cache/quiver/bench``."""
    return (work or cache_home() / "bench") / slug(task.name, task.name, task.revision)


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """The items of a task with the vectors of some encoders.

    Attributes:
        uri: the collection.
        specs: the encoders.
        session: what a run searches.
        at: row number by id, for the items that are there.
        ordered: (m,) int64 their row numbers, ascending.
        places: (m,) int64 their places in the task's items, in the same order.
        reasons: why an item is missing, by id.
        wordy: whether items have text that words can be looked for in.
        seconds: how long adding took; next to nothing the second time.
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

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its vector columns."""
        return self.session.table.columns

    def fresh(self) -> "Stock":
        """Return the same with nothing remembered: an index that was built since is seen."""
        return replace(self, session=_session(self.uri, self.at))

    def numbers(self, ids: Iterable[str]) -> Rows:
        """Return the row numbers of items, in the order given; those that are missing have none."""
        return np.array([self.at[id] for id in ids if id in self.at], np.int64)

    def place(self, rows: Rows) -> Rows:
        """Turn row numbers of any shape into places in the task's items; -1, and rows of no item, become -1."""
        if not len(self.ordered):
            return np.full(rows.shape, -1, np.int64)
        near = np.minimum(np.searchsorted(self.ordered, rows), len(self.ordered) - 1)
        return np.where(self.ordered[near] == rows, self.places[near], -1)


def fill(task: Task, specs: Sequence[str], *, folder: Path, progress: bool | None = None) -> Stock:
    """Put a task's items into the collection of some encoders, and see which of them can be found there.

    Metadata stays out unless a question has a condition on it: full-text search would read the answers there.

    Raises:
        BadData: no item has anything of what is searched for.
        BadSpec: an encoder cannot be named so.
        NoRoute: none of the encoders embeds what is searched for.
    """
    loaded = [load(spec) for spec in specs]
    if not any(task.target in each.encoder.keys for each in loaded):
        raise NoRoute(f"{WITH.join(specs)} embeds no {task.target}, which is what {task.name} searches")
    spaces = [f"{space}{space.revision}" for each in loaded for space in (column.space for column in each.columns)]
    place = folder / "items" / slug(" ".join(specs), *specs, *spaces)
    meta = any(question.query.where is not None for question in task.questions)
    items = [each if meta else Item(each.id, each.media) for each in task.items]
    started = perf_counter()
    collection = quiver.open(place)
    collection.add(*items, encoder=specs, progress=progress)
    reasons = {row["id"]: row["reason"] for row in collection.info()["quarantine"]}
    return _look_up(task, collection.uri, tuple(specs), reasons, perf_counter() - started)


def _session(uri: str, at: Mapping[str, int]) -> TaskSession:
    return TaskSession(Table(f"{uri}/items.lance"), cache=Cache(uri), at=at)


def _look_up(task: Task, uri: str, specs: tuple[str, ...], bad: Mapping[str, str], seconds: float) -> Stock:
    table = Table(f"{uri}/items.lance")
    wanted = [column.name for column in table.columns if column.key == task.target]
    if not wanted:
        why = f", such as {min(bad)}: {bad[min(bad)]}" if bad else ""
        raise BadData(f"{task.name}: not one {task.target} of its {len(task.items)} items could be embedded{why}")
    found = table.read(["id"], where=either(*map(present, wanted)))
    at = dict(zip(found["id"].to_pylist(), found["_rowid"].to_pylist(), strict=True))
    places = {at[item.id]: place for place, item in enumerate(task.items) if item.id in at}
    ordered = np.array(sorted(places), np.int64)
    reasons = {item.id: bad.get(item.id, f"it has no {task.target}") for item in task.items if item.id not in at}
    order = np.array([places[row] for row in ordered.tolist()], np.int64)
    wordy = any("text" in item.media for item in task.items)
    return Stock(uri, specs, _session(uri, at), at, ordered, order, reasons, wordy, seconds)
