"""Session of a collection: the graph, columns and filter results kept in memory between queries."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quiver import trust
from quiver.conditions import Condition
from quiver.engine.core.column import Column, Crossing, Derived
from quiver.engine.core.encoder import Loaded, cross, load_checked
from quiver.engine.core.graph import Composition, Graph
from quiver.engine.core.sql import Sql, among, present
from quiver.engine.statistics import (
    fusion_weights,
    machine,
    recall_curves,
    rerank_weights,
    score_thresholds,
    scorer_recall,
)
from quiver.engine.statistics.cost_model import Machine
from quiver.engine.statistics.facts import Facts
from quiver.engine.statistics.recall_curves import Promise
from quiver.engine.statistics.score_thresholds import ScoreThreshold
from quiver.engine.statistics.scorer_latency import Pace
from quiver.engine.storage import full_text, groups
from quiver.engine.storage.column_index import Resident
from quiver.engine.storage.dataset import Example, Table
from quiver.engine.storage.groups import Groups
from quiver.engine.storage.index_files import Cache
from quiver.engine.storage.item_cache import Shelf, View
from quiver.protocols import Held, Scorer
from quiver.types import AUTO, Floats, Query, Rows, Space

T = TypeVar("T")
#: Up to this many excluded ids are dropped from the lists; more of them act as a filter.
EXCLUDED = 64
#: Number of filter results and of plans cached for the current version.
_CONDITIONS = 64
_UNREAD = object()


class QueryCache(Protocol):
    """Cache of embedded queries, such as benchmark questions that are searched in several ways."""

    def encoded(self, queries: Sequence[Query], key: str, space: Space) -> Floats:
        """Return one vector per query for a key, (q, dim)."""
        ...

    def held(self, queries: Sequence[Query], composition: Composition) -> Held:
        """Return the result of ``Scorer.hold`` for the queries."""
        ...


class Session:
    """A table at one version, with a cache of all data read from it; several threads may search it at once.

    Attributes:
        table: the dataset.
        cache: the index files, and the folder of measurements.
        query_cache: source of query vectors; None if stages embed the queries themselves.
        trusted: whether to use encoders and files that only the collection names.
        reach: rules on which files of its items may be read.
        shelf: cache of item metadata.
    """

    def __init__(
        self, table: Table, *, cache: Cache, query_cache: QueryCache | None = None, trusted: bool = False
    ) -> None:
        self.table = table
        self.trusted = trusted
        self.reach = trust.Reach(table.uri.rsplit("/", 1)[0], everything=trusted)
        self.cache = cache
        self.query_cache = query_cache
        self.shelf = Shelf(table)
        self._residents: dict[Column | Derived, Resident] = {}
        self._paces: dict[Composition, Pace] = {}
        self._version = -1
        self._known: dict[tuple[str, Any], Any] = {}
        self._asked: dict[tuple[str, Any], Any] = {}

    def rules(self) -> trust.Reach:
        """Read anew which files of this collection may be shown."""
        return trust.Reach(self.reach.collection, everything=self.trusted)

    def refresh(self) -> None:
        """Move to the newest version; only for a session that no other thread uses."""
        self.table.refresh()
        if self.table.version != self._version:
            self.forget()
            self._version = self.table.version

    def newest(self) -> "Session":
        """Return a session at the newest version: this one if there is no newer version, else another one.

        The two share indexes, vectors and metadata that both versions have. This one stays at its version, so that
        answers that began on it are not disturbed.
        """
        return self.at(self.table.newest())

    def at(self, table: Table) -> "Session":
        """Return a session at a table that ``newest`` of this one's table has returned."""
        return self if table is self.table else self._at(table)

    def reread(self) -> "Session":
        """Return a session at the same version that reads statistics anew; open indexes stay."""
        return self._at(self.table)

    def renewed(self) -> "Session":
        """Return a session at the same version that reads statistics and index files anew."""
        return self._at(self.table, reopen=True)

    def _at(self, table: Table, *, reopen: bool = False) -> "Session":
        other = copy.copy(self)
        other.table = table
        other.forget()
        other._version = table.version
        self.shelf.table = table
        other._residents = {
            column: resident.at(table, other._cross_into(column), reopen=reopen)
            for column, resident in list(self._residents.items())
        }
        return other

    def forget(self) -> None:
        """Drop cached data, because a file beside the table, such as an index, has changed."""
        self._known, self._asked = {}, {}

    def resident(self, column: Column | Derived) -> Resident:
        """A searchable column."""
        found = self._residents.get(column)
        if found is None:
            fresh = Resident(self.table, column, cache=self.cache, cross=self._cross_into(column))
            found = self._residents.setdefault(column, fresh)
        return found

    def _cross_into(self, column: Column | Derived) -> Callable[[Floats], Floats] | None:
        return partial(self.cross, column.bridges) if isinstance(column, Derived) else None

    def encoder(self, spec: str) -> Loaded:
        """A loaded encoder of this collection, checked against the manifest."""
        with trust.accepting(self.trusted):
            return load_checked(spec, self.table.encoders[spec], place=self.table.uri)

    def scorer(self, composition: Composition) -> Scorer:
        """A scorer of this collection."""
        return self.encoder(composition.encoder).scorer(composition)

    def pace(self, composition: Composition) -> Pace:
        """The latency of a scorer of this collection; every use of the scorer updates it."""
        found = self._paces.get(composition)
        return found or self._paces.setdefault(composition, Pace.read(self.cache.root, composition))

    def cross(self, crossings: Sequence[Crossing], vectors: Floats) -> Floats:
        """Map vectors (n, dim) over bridges, one after the other."""
        return cross([self.encoder(crossing.encoder).bridge(crossing) for crossing in crossings], vectors)

    def sql(self, condition: Condition) -> Sql:
        """A user's condition, checked against the columns of the current version.

        Raises:
            BadSpec: it cannot be read, or does not fit the columns.
        """
        sql: Sql = self._once("sql", condition, lambda: self.table.compiled(condition).sql)
        return sql

    def matching(self, condition: Condition) -> Rows:
        """Row numbers selected by a condition, sorted. Read-only, so that indexes recognise the array."""
        rows: Rows = self._once("rows", condition, lambda: self.table.rows(self.sql(condition)))
        rows.flags.writeable = False
        return rows

    def numbers(self, ids: Iterable[str]) -> Mapping[str, int]:
        """Return the row numbers of items by id; unknown ids are absent."""
        names = sorted(set(ids))
        if not names:
            return {}
        found = self.table.read(["id"], where=among("id", names))
        return dict(zip(found["id"].to_pylist(), found["_rowid"].to_pylist(), strict=True))

    def allowed(self, query: Query) -> Rows:
        """Return the row numbers that a query is restricted to, sorted: by its condition and its ids.

        The array is read-only, so that indexes recognise it.
        """
        key = (query.condition, query.candidates, query.exclude if len(query.exclude) > EXCLUDED else ())
        rows: Rows = self._once("allowed", key, lambda: self._allowed(*key))
        rows.flags.writeable = False
        return rows

    def _allowed(
        self, condition: Condition | None, candidates: tuple[str, ...] | None, exclude: tuple[str, ...]
    ) -> Rows:
        if candidates is None:
            rows = self._once("all rows", None, self.table.rows) if condition is None else self.matching(condition)
        else:
            rows = np.array(sorted(self.numbers(candidates).values()), np.int64)
            rows = rows if condition is None else np.intersect1d(rows, self.matching(condition), assume_unique=True)
        return np.setdiff1d(rows, list(self.numbers(exclude).values()), assume_unique=True) if exclude else rows

    def count(self, where: Sql | Condition | None) -> int:
        """Exact number of rows selected by a condition."""
        count: int = self._once("count", where, lambda: self._counted(where))
        return count

    def _counted(self, where: Sql | Condition | None) -> int:
        return self.table.count(self.sql(where) if isinstance(where, Condition) else where)

    @property
    def graph(self) -> Graph:
        """The spaces and arrows."""
        graph: Graph = self._once("graph", None, self._graph)
        return graph

    def _graph(self) -> Graph:
        return Graph.of(self.table.encoders, self.table.columns, self.table.defaults)

    def only_space(self, query: Query) -> str:
        """Return the name of the space of a vector that was given without one.

        Raises:
            BadSpec: the vector could belong to several spaces, or there is none.
        """
        return self.graph.only_space(query.target, query.spaces)

    @property
    def view(self) -> View:
        """The readable columns and fragments of items at the current version."""
        view: View = self._once("view", None, lambda: View.of(self.table))
        return view

    def items(self, rows: Rows) -> dict[int, dict[str, Any]]:
        """Return id, media and metadata of rows, by row number."""
        return self.shelf.items(self.view, rows)

    def values(self, column: str, rows: Rows) -> pa.Array:
        """Return the values of a metadata column, in the order of the rows."""
        return pa.array(self.shelf.values(self.view, rows, column), self.table.schema.field(column).type)

    def groups(self, column: str) -> Groups:
        """Return the group of every row by its value of a metadata column."""
        groups: Groups = self._once("groups", column, lambda: Groups.read(self.table, column))
        return groups

    def planned(self, shape: Any, make: Callable[[], T]) -> T:
        """The cached plan for queries of a shape, until the collection changes."""
        plan: T = self._once("plan", shape, make)
        return plan

    def built(self, column: Column | Derived) -> tuple[str, ...]:
        """The built index kinds of a column, besides exact, preferred first."""
        return self._once("built", column, lambda: self._built(column))

    def _built(self, column: Column | Derived) -> tuple[str, ...]:
        lance = ("lance",) if isinstance(column, Column) and self.table.has_index(column.name) else ()
        return (*sorted(self.cache.kinds(column)), *lance)

    def rows(self, column: Column | Derived) -> int:
        """Number of vectors of a column."""
        return self.count(present(column.stored.name))

    def fragments(self, column: Column | Derived) -> dict[str, tuple[str, int]]:
        """Files and number of rows of each fragment, by its number; used later to detect changes."""
        found = self.table.fragments(column.stored.name)
        return {str(number): (each.files, each.handle.count_rows()) for number, each in found.items()}

    @property
    def machine(self) -> Machine:
        """The cost model of this machine."""
        found: Machine = self._once("machine", None, machine.machine)
        return found

    def promises(self, column: Column | Derived) -> dict[str, Promise]:
        """The recall targets of a column's indexes, by kind, with the fraction of rows changed since."""
        promises: dict[str, Promise] = self._once("promises", column, lambda: self._promises(column))
        return promises

    def _promises(self, column: Column | Derived) -> dict[str, Promise]:
        read = {kind: recall_curves.read(self.cache.promise(column, kind)) for kind in self.built(column)}
        found = {kind: made for kind, made in read.items() if made is not None}
        now = self.fragments(column) if found else {}
        return {kind: made.now(now) for kind, made in found.items()}

    def thresholds(self) -> Mapping[str, ScoreThreshold]:
        """The learned score thresholds by kind of query, with the share of vectors that changed since."""
        found: Mapping[str, ScoreThreshold] = self._once("thresholds", None, self._thresholds)
        return found

    def _thresholds(self) -> dict[str, ScoreThreshold]:
        columns = {column.name: column for column in self.graph.columns}
        known = {key: each for key, each in score_thresholds.read(self.cache.root).items() if each.column in columns}
        return {key: self._drifted(each, columns[each.column]) for key, each in known.items()}

    def _drifted(self, threshold: ScoreThreshold, column: Column) -> ScoreThreshold:
        found = self.table.read(["id", column.name], where=among("id", list(threshold.sample)))
        held = found.filter(pc.is_valid(found[column.name])).combine_chunks()
        vectors = held[column.name].combine_chunks().flatten().to_numpy().reshape(-1, column.space.dim)
        sample = score_thresholds.noted(held["id"].to_pylist(), vectors)
        return score_thresholds.drifted(threshold, self.rows(column), sample)

    def facts(self, query: Query, examples: Mapping[str, Example], *, queries: int = 1) -> Facts:
        """Gather the planner's facts for a batch of queries like this one; its example items have been read."""
        if query.group_by is not None:
            groups.check(self.table, query.group_by)
        matching = len(self.allowed(query)) if restricted(query) else None
        graph, text = self.graph, "text" in query.media
        return Facts(
            graph,
            items=self.count(None),
            version=self.table.version,
            matching=matching,
            examples=example_columns(query, examples),
            built={column.name: self.built(column) for column in graph.ends},
            measured=self._once("measured", None, lambda: scorer_recall.read(self.cache.root, graph.compositions)),
            paces={each: self.pace(each) for each in graph.compositions if not each.recalls},
            blends=self._once("blends", None, lambda: rerank_weights.read(self.cache.root, graph.compositions)),
            balances=self._once("balances", None, lambda: fusion_weights.read(self.cache.root)),
            promises={column.name: found for column in graph.ends if (found := self.promises(column))},
            machine=self.machine,
            thresholds=self.thresholds() if query.min_score == AUTO else {},
            order=None if query.order_by is None else groups.order(self.table, query.order_by),
            queries=queries,
            words=text and self._once("any words", None, lambda: full_text.any_words(self.table)),
            words_outdated=self._once("words", None, lambda: full_text.outdated(self.table)),
        )

    def _once(self, what: str, of: Any, read: Callable[[], Any]) -> Any:
        known = self._known if of is None or isinstance(of, Column | Derived) else self._asked
        found = known.get((what, of), _UNREAD)
        if found is _UNREAD:
            limited = known is self._asked
            found = read()
            if limited and len(known) > _CONDITIONS:
                known.clear()
            found = known.setdefault((what, of), found)  # of two threads that read it, both take the first
        return found


def restricted(query: Query) -> bool:
    """Whether a filter or ids restrict the rows."""
    return query.where is not None or query.candidates is not None or len(query.exclude) > EXCLUDED


def example_columns(query: Query, examples: Mapping[str, Example]) -> frozenset[str]:
    """Return the names of the columns in which every example item of a query has a vector."""
    if not query.examples:
        return frozenset()
    return frozenset.intersection(*(frozenset(examples[id].vectors) for id in query.examples))
