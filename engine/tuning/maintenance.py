"""Update stale indexes in the background; the old index serves until the new one is published.

An answer is never stale: rows that changed since an index was built are scanned exactly. Scanning costs more as changes
accumulate, so once a quarter of an index is deleted or missing, the missing rows are added to a copy of it, or it is
rebuilt if too much of it is deleted. One process does that at a time; if it dies, the old index stays.
"""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from quiver.engine.core.column import Column, Derived
from quiver.engine.execution.session import Session
from quiver.engine.storage.column_index import FOLD
from quiver.engine.storage.dataset import Table, fragment_of
from quiver.engine.storage.index_files import Cache
from quiver.engine.tuning import index_choice
from quiver.engine.tuning.index_build import build, covered
from quiver.engine.tuning.recall_check import TAKES_IN, check, questioned
from quiver.errors import QuiverError, explained
from quiver.protocols import Index
from quiver.records import UpdatedIndex

#: Rows that may be scanned beside any index, and the largest fraction of deleted rows before a rebuild.
LEAST, DEAD = 1_000, 0.1
#: An index that has grown to this many times its training size is trained again.
GROWTH = 2.0
_LOG = logging.getLogger("quiver")


@dataclass(frozen=True, slots=True)
class Lag:
    """How stale an index is, in rows of the table.

    Attributes:
        rows: rows in the index, including deleted ones.
        tail: rows added or rewritten since it was built; they are scanned.
        dead: rows deleted or rewritten since; they are filtered from its hits.
    """

    rows: int
    tail: int
    dead: int

    @property
    def share(self) -> float:
        """Changes as a multiple of the index's rows; above 1 if more rows were added than it has."""
        return (self.tail + self.dead) / max(1, self.rows)

    @property
    def behind(self) -> float:
        """Fraction of all rows, in the index or not, that changed since; 1 if the index is of no use."""
        return (self.tail + self.dead) / max(1, self.rows + self.tail)

    @property
    def due(self) -> bool:
        """Whether it should be updated."""
        return self.tail + self.dead >= LEAST and self.share > FOLD


def lag(session: Session, column: Column | Derived, kind: str) -> Lag | None:
    """Return how stale an index file is, from its note and the fragments alone; None if unknown."""
    note = session.cache.kinds(column).get(kind)
    if note is None or "counts" not in note:
        return None
    now = session.table.fragments(column.stored.name)
    counts = {int(number): count for number, count in note["counts"].items()}
    files = {int(number): name for number, name in note["files"].items()}
    same = {number for number, fragment in now.items() if files.get(number) == fragment.files}
    alive = {number: fragment.handle.count_rows() for number, fragment in now.items()}
    kept, rows = sum(alive[number] for number in same), sum(counts.values()) + note.get("dead", 0)
    return Lag(rows, sum(alive.values()) - kept, rows - kept)


def catch_up(session: Session) -> list[UpdatedIndex]:
    """Update every stale index, and check recall targets that are in doubt.

    An index that another process is updating is skipped.

    Returns:
        A description of each update: column, kind, how, vectors, seconds.

    Raises:
        QuiverError: an index cannot be rebuilt, or does not fit into memory; the others are updated first.
    """
    done, problems = [], []
    for column, kind in due(session):
        with session.cache.lock(column, kind, "upkeep.lock", wait=False) as ours:
            state = lag(session, column, kind) if ours else None
            if state is None or not state.due:  # somebody else has done it, or is about to
                continue
            try:
                done.append(_renew(session, column, kind, state))
            except QuiverError as error:
                problems.append(f"{kind} index of {column}: {error}")
    session.forget()
    for column in questioned(session):
        check(session, column, kinds=(TAKES_IN,))
    if problems:
        raise QuiverError("; ".join(problems))
    return done


def wanted(session: Session) -> bool:
    """Whether ``catch_up`` has anything to do."""
    return any(True for _ in due(session)) or bool(questioned(session))


def due(session: Session) -> Iterator[tuple[Column | Derived, str]]:
    """List the stale indexes."""
    for column in session.graph.ends:
        for kind in session.cache.kinds(column):
            state = lag(session, column, kind)
            if state is not None and state.due:
                yield column, kind


def _renew(session: Session, column: Column | Derived, kind: str, state: Lag) -> UpdatedIndex:
    started = perf_counter()
    note = session.cache.kinds(column)[kind]
    _admit(session, column, state)
    count = _extend(session, column, kind, state) if state.dead <= DEAD * state.rows else None
    if count is None:
        build(session, column, kind, note["options"])  # which measures anew what is promised
    how = "built anew" if count is None else "extended"
    vectors = session.cache.kinds(column)[kind]["vectors"] if count is None else count
    seconds = round(perf_counter() - started, 3)
    return UpdatedIndex(str(column), kind, how, vectors, seconds)


def _admit(session: Session, column: Column | Derived, state: Lag) -> None:
    """Refuse an update that does not fit beside the served index: it needs the vectors twice, as read and as indexed.

    Raises:
        QuiverError: there is too little memory.
    """
    need = 2 * 4 * column.space.dim * (state.rows + state.tail)
    if need > (room := index_choice.free()):
        raise QuiverError(
            f"updating this index needs {index_choice.size(need)} of memory, and only {index_choice.size(room)}"
            " are available"
        )


def _extend(session: Session, column: Column | Derived, kind: str, state: Lag) -> int | None:
    """Add the missing rows to a copy of an index, publish it, and return its number of vectors.

    Returns None if it cannot be extended: its kind does not support adding, it has outgrown its training, or rows were
    rewritten in place.
    """
    stamp, opened = session.cache.stamp(column, kind), session.cache.open(column, kind)
    note = session.cache.kinds(column).get(kind)
    extended = getattr(opened[0], "extended", None) if opened is not None else None
    if opened is None or note is None or extended is None:
        return None
    index, files = opened
    now = session.table.fragments(column.stored.name)
    other = [number for number, fragment in now.items() if files.get(number) != fragment.files]
    trained = note.get("trained", note["vectors"])
    if len(index) + state.tail > GROWTH * trained or np.isin(fragment_of(index.rows), other).any():
        return None
    late = session.resident(column).read(fragments=[now[number].handle for number in other])
    grown: Index = extended(late)
    fresh = {
        **note,
        **covered(session.table.version, now),
        "vectors": len(grown),
        "trained": trained,
        "dead": state.dead,
    }
    if session.cache.save(column, kind, grown, fresh, instead=stamp):
        session.resident(column).forget(kind)
        session.forget()
        check(session, column, kinds=(kind,))
    return len(grown)


class Upkeep:
    """A thread that updates stale indexes after changes; it ends when nothing is left to do, or with the process."""

    def __init__(self, uri: str, *, trusted: bool = False) -> None:
        self.uri = uri
        self._trusted = trusted
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._again = False

    def start(self) -> None:
        """Schedule an update: at once if none is running, else after it."""
        with self._lock:
            self._again = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="quiver upkeep", daemon=True)
                self._thread.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing is left to do; returns False on timeout."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return self._thread is None

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._again:
                    self._thread = None
                    return
                self._again = False
            try:
                session = Session(Table(f"{self.uri}/items.lance"), cache=Cache(self.uri), trusted=self._trusted)
                for each in catch_up(session):
                    said = (each.kind, each.column, each.how, each.vectors, each.seconds)
                    _LOG.info("%s index of %s %s: %s vectors in %s s", *said)
            except BaseException as error:  # a panic too: the thread must live; the indexes that are there still serve
                _LOG.warning("indexes of %s are not brought up to date: %s", self.uri, explained(error))
