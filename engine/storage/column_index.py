"""Searchable vector columns: indexes and vectors in memory, kept up to date with the dataset.

An index covers the rows it was built on. Later changes are found fragment by fragment: deleted or rewritten rows are
dead and never returned, and added rows (the tail) are scanned exactly. So an answer is never stale, whatever the age of
the index. A long tail is merged into the exact index. A computed column is read from its stored column and mapped over
its bridges; only changed fragments are computed again.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver import registry
from quiver.engine.core.column import Column, Derived
from quiver.engine.core.ranking import combine
from quiver.engine.core.sql import both, numbered, present
from quiver.engine.storage.dataset import Fragment, Table, fragment_of
from quiver.engine.storage.index_files import Cache
from quiver.engine.storage.live_vectors import Live
from quiver.errors import BadSpec
from quiver.indexers._rows import Recent
from quiver.protocols import Index
from quiver.types import Floats, Rows, Vectors

#: The exact index is rebuilt when dead rows and tail together exceed this fraction of it.
FOLD = 0.25
#: Up to this many dead rows, the search requests extra hits; for more, an allow-list excludes them.
_SPARE = 64
#: Thread that opens newly published indexes while the old ones are searched.
_OPENERS = ThreadPoolExecutor(1, "quiver open")


@dataclass(slots=True)
class Tuned:
    """An index and its variants with other settings, cached because an index caches internal state.

    Attributes:
        index: the index with its build settings.
    """

    index: Any
    _others: dict[tuple[tuple[str, int], ...], Index] = field(default_factory=dict)

    def spending(self, spend: Mapping[str, int]) -> Index:
        """Return the index with some of its settings changed."""
        key = tuple(sorted(spend.items()))
        if key and key not in self._others:
            params = type(self.index.params)(**{**asdict(self.index.params), **spend})
            self._others[key] = self.index.tuned(params)
        found: Index = self._others[key] if key else self.index
        return found


@dataclass(slots=True)
class LoadedIndex:
    """An index, and the changes since it was built.

    Attributes:
        index: the index.
        files: the files of each fragment when it was built.
        dead: its deleted or rewritten rows, sorted.
        tail: vectors added since.
        live: the vectors, if they are in memory anyway.
        alive: its rows that are not dead, sorted; set if so many are dead that an allow-list excludes them.
        stamp: identity of the opened index file; None without a file.
    """

    index: Index
    files: Mapping[int, str]
    dead: Rows
    tail: Index | None = None
    live: Live | None = None
    alive: Rows | None = None
    stamp: str | None = None
    _tuned: Tuned | None = None
    _within: Recent[Rows] = field(default_factory=Recent)

    def _living(self, rows: Rows) -> Rows:
        """Return the given rows that are not dead."""
        living = np.setdiff1d(rows, self.dead, assume_unique=True)
        living.flags.writeable = False
        return living

    def search(
        self, queries: Floats, k: int, allow: Rows | None, spend: Mapping[str, int] | None = None
    ) -> tuple[Floats, Rows]:
        """Search the live part of the index and the tail: (q, w) scores and rows, best first."""
        spare = 0
        within = allow
        if len(self.dead) and allow is not None:
            within = self._within.of(allow, self._living)
        elif len(self.dead) > _SPARE:
            self.alive = self._living(np.sort(self.index.rows)) if self.alive is None else self.alive
            within = self.alive
        elif len(self.dead):
            spare = len(self.dead)
        if self._tuned is None or self._tuned.index is not self.index:
            self._tuned = Tuned(self.index)
        scores, rows = self._tuned.spending(spend or {}).search(queries, k + spare, allow=within)
        if spare:
            scores = np.where(np.isin(rows, self.dead), -np.inf, scores)
        if self.tail is not None:
            more = self.tail.search(queries, k, allow=allow)
            scores, rows = np.hstack([scores, more[0]]), np.hstack([rows, more[1]])
        if spare or self.tail is not None:
            rows = np.where(np.isneginf(scores), -1, rows)
            best, rows = combine(scores, rows, how="max")
            scores = best.astype(np.float32)
        return scores[:, :k], rows[:, :k]


@dataclass(frozen=True, slots=True)
class Attached:
    """Lance's index of a column, and the version of the dataset at its lookup."""

    version: int
    tuned: Tuned


class Resident:
    """One vector column of a table, ready to be searched.

    Attributes:
        table: the dataset.
        column: the column, stored or computed.
        cache: folder of its index files.
        cross: maps stored vectors (n, dim) into the space of the column; the identity for a stored column.
    """

    def __init__(
        self, table: Table, column: Column | Derived, *, cache: Cache, cross: Callable[[Floats], Floats] | None = None
    ) -> None:
        self.table = table
        self.column = column
        self.cache = cache
        self.cross = cross
        self._loaded: dict[str, LoadedIndex] = {}
        self._opening: dict[str, tuple[str | None, Future[tuple[Index, dict[int, str]] | None]]] = {}
        self._attached: Attached | None = None
        self._changing = RLock()
        self._version = -1
        self._fragments: dict[int, Fragment] = {}
        self._rows: dict[int, Rows] = {}
        self._squares: dict[int, tuple[tuple[str, str], NDArray[np.float64], int]] = {}

    def at(self, table: Table, cross: Callable[[Floats], Floats] | None, *, reopen: bool = False) -> "Resident":
        """Return the column at another version of the table; the two share what both have, and neither moves the other.

        Args:
            table: the table at that version.
            cross: as in the constructor.
            reopen: whether to open index files anew.
        """
        other = Resident(table, self.column, cache=self.cache, cross=cross)
        with self._changing:
            kept = {kind: each for kind, each in self._loaded.items() if kind == "exact" or not reopen}
            other._loaded = {kind: replace(each) for kind, each in kept.items()}
            other._opening = {} if reopen else dict(self._opening)
            other._version, other._fragments = self._version, self._fragments
            other._rows, other._squares = dict(self._rows), dict(self._squares)
        return other

    def search(
        self, kind: str, queries: Floats, k: int, *, allow: Rows | None, spend: Mapping[str, int] | None = None
    ) -> tuple[Floats, Rows]:
        """Search by one kind of index: (q, w) float32 scores and int64 rows, best first.

        Args:
            kind: kind of index.
            queries: (q, dim) float32.
            k: number of hits.
            allow: matching rows, sorted; None for all.
            spend: index settings that differ from the build settings.
        """
        if kind == "lance":
            return self.attached(spend).search(queries, k, allow=allow)
        return self.load(kind).search(queries, k, allow, spend)

    def attached(self, spend: Mapping[str, int] | None = None) -> Index:
        """Return Lance's index on disk at the current version, with some of its settings changed."""
        with self._changing:
            if self._attached is None or self._attached.version != self.table.version:
                attach = registry.module("indexers", "lance").attach
                index = attach(self.table.dataset, self.column.name, self.column.space)
                self._attached = Attached(self.table.version, Tuned(index))
            return self._attached.tuned.spending(spend or {})

    def load(self, kind: str) -> LoadedIndex:
        """Load an index if necessary, and bring it up to date; several threads may search it then."""
        with self._changing:
            return self._load(kind)

    def _load(self, kind: str) -> LoadedIndex:
        self._look()
        loaded = self._loaded.get(kind)
        if loaded is None:
            loaded = self._loaded[kind] = self._open(kind)
        elif kind != "exact" and loaded.stamp != self.cache.stamp(self.column, kind):
            loaded = self._loaded[kind] = self._turn(kind, loaded)
        if kind == "exact" and self._changed(loaded) > FOLD * max(len(loaded.index.rows), 1):
            loaded = self._loaded[kind] = self._exact()
        return loaded

    @property
    def at_hand(self) -> bool:
        """Whether the vectors are in memory."""
        return "exact" in self._loaded

    def _turn(self, kind: str, loaded: LoadedIndex) -> LoadedIndex:
        """Open a newly published index in the background; the current index serves until then."""
        stamp, opening = self.cache.stamp(self.column, kind), self._opening.get(kind)
        if opening is None or opening[0] != stamp:
            self._opening[kind] = stamp, _OPENERS.submit(self.cache.open, self.column, kind)
            return loaded
        if not opening[1].done():
            return loaded
        future = self._opening.pop(kind)[1]
        found = None if future.exception() is not None else future.result()
        if found is None:
            loaded.stamp = stamp  # it cannot be used
            return loaded
        fresh = LoadedIndex(*found, np.empty(0, np.int64), stamp=stamp)
        self._renew(fresh)
        return fresh

    def forget(self, kind: str) -> None:
        """Drop an index, so that the next search opens it anew."""
        self._loaded.pop(kind, None)

    def _changed(self, loaded: LoadedIndex) -> int:
        return len(loaded.dead) + (len(loaded.tail.rows) if loaded.tail is not None else 0)

    def _look(self) -> None:
        """Detect changes since the last check.

        An early end, such as an interrupt, leaves no half-updated state.
        """
        if self.table.version == self._version:
            return
        try:
            self._follow()
        except BaseException:
            self._loaded.clear()
            self._rows.clear()
            self._version = -1
            raise

    def _follow(self) -> None:
        now = self.table.fragments(self.column.stored.name)
        for number in set(self._rows).difference(now):
            del self._rows[number]
        for number, fragment in now.items():
            before = self._fragments.get(number)
            if number in self._rows and before is not None and before.files == fragment.files:
                if before.deleted != fragment.deleted:
                    alive = self.table.rows(fragments=[fragment.handle])
                    self._rows[number] = np.intersect1d(self._rows[number], alive)
            else:
                self._rows.pop(number, None)
        self._fragments = now
        self._version = self.table.version
        for loaded in self._loaded.values():
            self._renew(loaded)

    def _renew(self, loaded: LoadedIndex) -> None:
        same = [n for n, fragment in self._fragments.items() if loaded.files.get(n) == fragment.files]
        other = [n for n in self._fragments if n not in set(same)]
        for number in same:
            if number not in self._rows:
                alive = self.table.rows(fragments=[self._fragments[number].handle])
                ours = loaded.index.rows[fragment_of(loaded.index.rows) == number]
                self._rows[number] = np.intersect1d(ours, alive)
        live = [self._rows[number] for number in same]
        loaded.alive, loaded._within = None, Recent()
        loaded.dead = np.setdiff1d(loaded.index.rows, np.concatenate(live) if live else np.empty(0, np.int64))
        late = self._tail(other)
        loaded.tail = None if late is None else _scan(late)
        if loaded.live is not None:
            loaded.live = loaded.live.renew(loaded.dead, late)

    def _tail(self, numbers: list[int]) -> Vectors | None:
        if not numbers:
            return None
        vectors = self.read(fragments=[self._fragments[n].handle for n in numbers])
        return vectors if len(vectors) else None

    def _open(self, kind: str) -> LoadedIndex:
        if kind == "exact":
            return self._exact()
        stamp, found = self.cache.stamp(self.column, kind), self.cache.open(self.column, kind)
        if found is None:
            raise BadSpec(f"there is no {kind} index for {self.column}: build one with `quiver index`")
        loaded = LoadedIndex(*found, np.empty(0, np.int64), stamp=stamp)
        self._renew(loaded)
        return loaded

    def _exact(self) -> LoadedIndex:
        vectors = self.read()
        home = fragment_of(vectors.rows)
        self._rows = {number: vectors.rows[home == number] for number in self._fragments}
        files = {number: fragment.files for number, fragment in self._fragments.items()}
        return LoadedIndex(_scan(vectors), files, np.empty(0, np.int64), live=Live.of(vectors))

    def read(self, *, fragments: Sequence[Any] | None = None) -> Vectors:
        """Read every vector; computed ones fragment by fragment."""
        stored = self.column.stored
        if self.cross is None:
            return self.table.vectors(stored, fragments=fragments)
        some = self.table.dataset.get_fragments() if fragments is None else fragments
        size = sum(fragment.count_rows() for fragment in some)
        rows, data = np.empty(size, np.int64), np.empty((size, self.column.space.dim), np.float32)
        n = 0
        for fragment in some:
            part = self.table.vectors(stored, fragments=[fragment])
            rows[n : n + len(part)], data[n : n + len(part)] = part.rows, self.cross(part.data)
            n += len(part)
        return Vectors(self.column.space, rows[:n], data[:n])

    def rows(self) -> Rows:
        """Return the row numbers that have a vector, sorted; the vectors stay in memory from now on."""
        return self._live().rows

    def take(self, rows: Rows) -> Vectors:
        """Return the rows that have a vector, ascending, and the vectors: from memory if loaded, else from disk.

        Args:
            rows: sorted and unique.
        """
        return self._live().take(rows) if self.at_hand else self._fetch(rows)

    def _live(self) -> Live:
        loaded = self.load("exact")
        assert loaded.live is not None
        return loaded.live

    def _fetch(self, rows: Rows) -> Vectors:
        name, dim = self.column.stored.name, self.column.stored.space.dim
        found = np.empty((0, dim), np.float32)
        if len(rows):
            table = self.table.read([name], where=both(numbered(rows.tolist()), present(name)))
            order = np.argsort(table["_rowid"].to_numpy())
            rows = table["_rowid"].to_numpy()[order].astype(np.int64)
            found = table[name].combine_chunks().flatten().to_numpy().reshape(len(rows), dim)[order]
        return Vectors(self.column.space, rows, found if self.cross is None else self.cross(found))

    def moments(self) -> Floats:
        """Return the mean of the squared vectors, (dim,); only fragments that changed are read again."""
        with self._changing:
            return self._moments()

    def _moments(self) -> Floats:
        self._look()
        for number in set(self._squares).difference(self._fragments):
            del self._squares[number]
        for number, fragment in self._fragments.items():
            now = (fragment.files, fragment.deleted)
            if number not in self._squares or self._squares[number][0] != now:
                data = self.read(fragments=[fragment.handle]).data
                self._squares[number] = (now, np.square(data, dtype=np.float64).sum(axis=0), len(data))
        count = sum(each[2] for each in self._squares.values())
        total = sum((each[1] for each in self._squares.values()), np.zeros(self.column.space.dim))
        return (total / max(count, 1)).astype(np.float32)


def _scan(vectors: Vectors) -> Index:
    """Build the exact index."""
    index: Index = registry.module("indexers", "exact").build(vectors)
    return index
