"""What is on disk: one Lance dataset, the one truth of a collection.

One row per item: its id (the declared primary key), its media references, the hash of their bytes, the words that
full-text search sees, its metadata, and one vector column per (key, space). What a vector column means is written
in its own field metadata, and which encoders exist in the schema's metadata, so that a checked-out version always
explains itself and a commit changes data and meaning together.
"""

import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from quiver.conditions import Condition
from quiver.engine.core.column import Column, check_name, check_same
from quiver.engine.core.condition import Compiled, compile
from quiver.engine.core.metadata import RESERVED, check_names, names_of
from quiver.engine.core.sql import Sql, among, present
from quiver.engine.storage.lance_errors import damaged, first_line, is_lance, lost_race, reading, unreadable
from quiver.engine.storage.seal import Seal
from quiver.engine.storage.version_watch import Sight, Watch
from quiver.engine.storage.write_lock import lock_of
from quiver.errors import BadCollection, BadSpec, QuiverError
from quiver.files import writing
from quiver.types import MEDIA, Floats, Rows, Vectors

_LOG = logging.getLogger("quiver")
FORMAT = 1
#: Declares the key of a dataset: without it, concurrent upserts double rows and say nothing.
PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
#: Tries to commit beside other writers, and the longest wait between two, in seconds.
_ATTEMPTS, _LONGEST = 40, 2.0
_JOIN_ROWS = 512
#: Up to so many fragments, those with fewer rows than this are joined.
_TIERS = ((64, 16_384), (512, 131_072), (float("inf"), 1_048_576))


@dataclass(frozen=True, slots=True)
class Example:
    """A stored item that a query takes as example.

    Attributes:
        row: its row number.
        vectors: (dim,) float32 by vector column.
    """

    row: int
    vectors: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Fragment:
    """A stretch of rows on disk.

    Attributes:
        files: names the files that hold the columns in question; other files, other contents.
        deleted: names its deletion file; another one, other rows alive.
        handle: Lance's own fragment.
    """

    files: str
    deleted: str
    handle: Any


class Table:
    """The dataset of a collection, at its newest version or at a chosen one."""

    def __init__(self, uri: str, *, version: int | None = None) -> None:
        try:
            self.dataset = lance.dataset(uri, version=version)
        except BaseException as error:
            if not is_lance(error):
                raise
            raise unreadable(uri, version, error) from error
        self.uri = uri
        self.pinned = version is not None
        self._lock = lock_of(uri.rsplit("/", 1)[0])
        self._watch = Watch(uri)
        self._newest: Sight | None = None
        self._exclusive = False
        self._check_format()
        self._seal = Seal(uri)
        if not self.pinned:
            self._seal.check(self.dataset)

    @classmethod
    def create(cls, uri: str, *, roots: Sequence[tuple[str, str]] = ()) -> "Table":
        """Create an empty dataset with some roots, or open the one that somebody else created meanwhile."""
        header = {"quiver": json.dumps({"format": FORMAT, "encoders": {}, "roots": list(map(list, roots))})}
        fields = [pa.field("id", pa.string(), nullable=False, metadata=PRIMARY_KEY)]
        fields += [pa.field(name, pa.string()) for name in RESERVED[1:]]
        schema = pa.schema(fields, metadata=header)
        try:
            with writing(uri):
                lance.write_dataset(schema.empty_table(), uri, mode="create", enable_stable_row_ids=False)
        except (OSError, ValueError) as error:
            if "already exists" not in str(error):
                raise BadCollection(f"cannot create a collection at {uri}: {first_line(error)}") from error
        return cls(uri)

    def _check_format(self) -> None:
        try:
            header = self._header()
            _ = self.columns, [described["keys"].items() for described in header.get("encoders", {}).values()]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadCollection(f"{self.uri} does not describe itself as Quiver does: {error!r:.80}") from error
        if header.get("format", 0) > FORMAT:
            raise BadCollection(f"{self.uri} has format {header['format']}; this Quiver reads {FORMAT}: upgrade it")
        if "format" not in header:
            raise BadCollection(f"{self.uri} is a Lance dataset, but not a Quiver collection")
        if self.dataset.has_stable_row_ids:  # freshness rests on row numbers being addresses
            raise BadCollection(f"{self.uri} was rewritten with stable row ids, which Quiver cannot read yet")

    def _header(self) -> dict[str, Any]:
        stored: dict[str, Any] = json.loads((self.dataset.schema.metadata or {}).get(b"quiver", b"{}"))
        return stored

    @property
    def version(self) -> int:
        """The version of the dataset in view."""
        return int(self.dataset.version)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema in view."""
        return self.dataset.schema

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every vector column."""
        return tuple(column for column in map(Column.of, self.schema) if column is not None)

    @property
    def meta(self) -> tuple[str, ...]:
        """Names of the metadata columns."""
        return names_of(self.schema)

    @property
    def encoders(self) -> dict[str, dict[str, Any]]:
        """What each encoder spec embeds: ``{spec: {"keys": {key: [space, ...]}, "bridges": [...]}}``."""
        return dict(self._header().get("encoders", {}))

    def at(self, version: int) -> "Table":
        """Return the table as it was at a version.

        Raises:
            BadCollection: there is no such version.
        """
        return Table(self.uri, version=version)

    def refresh(self) -> None:
        """Move to the newest version, unless a version was chosen.

        By another dataset, since one that moves cannot be read by other threads meanwhile.
        """
        if self.pinned:
            return
        version = self.version
        sight = self._watch.look(version)
        if sight is not None and sight == self._newest:
            return
        if (latest := self.dataset.latest_version) != version:
            self.dataset = self.dataset.checkout_version(latest)
        self._newest = sight if latest == version and self._watch.named(version) else None

    def commit(self, change: Callable[[lance.LanceDataset], Any], *, alone: bool = True) -> Any:
        """Apply a change to the newest version, with the collection's write lock where its store has locks.

        Where another writer came first, the change is made again from the beginning, with what is there by then. So a
        change looks up what it depends on itself, and may commit in several steps of which each may be repeated.

        Args:
            change: what to do with the newest version.
            alone: whether to hold the lock; not for what takes long and conflicts with no rows, such as an index.

        Raises:
            QuiverError: the table shows a chosen version, or other writers won every time.
        """
        if self.pinned:
            raise QuiverError(
                f"version {self.version} of {self.uri} is checked out: open the collection anew to change it"
            )
        with self._lock.hold() if alone else nullcontext(False) as self._exclusive:
            for attempt in range(_ATTEMPTS):
                self.dataset.checkout_latest()
                try:
                    with writing(self.uri):
                        done = change(self.dataset)
                except BaseException as error:
                    if not is_lance(error):
                        raise
                    if not lost_race(error):
                        raise damaged(self.uri, error) from error
                    if attempt == _ATTEMPTS - 1:
                        raise QuiverError(f"other processes keep writing to {self.uri}: try again later") from error
                    time.sleep(random.random() * min(_LONGEST, 0.05 * 2**attempt))
                else:
                    self.dataset.checkout_latest()
                    if self._exclusive:
                        self._seal.write(self.dataset)
                    return done
        raise AssertionError  # the last attempt raised

    def merge(self, rows: pa.Table, *, insert: bool) -> dict[str, int]:
        """Replace the given columns of rows whose id exists, in one commit of a change; a lost race is not repeated.

        Args:
            rows: ``id`` and some columns, each id once.
            insert: whether to add rows whose id does not exist; they need all columns.

        Returns:
            What Lance counted, such as ``num_inserted_rows``.
        """
        merge = self.dataset.merge_insert("id").when_matched_update_all().conflict_retries(0)
        if insert:
            merge = merge.when_not_matched_insert_all()
        if not self._exclusive:  # by its index, Lance does not see that another commit inserts the same id
            merge = merge.use_index(False)
        done: dict[str, int] = merge.execute(rows)
        return done

    def history(self) -> list[dict[str, Any]]:
        """Return every version: number, time and rows."""
        return [
            {
                "version": each["version"],
                "at": each["timestamp"].isoformat(timespec="seconds"),
                "items": int(each["metadata"].get("total_rows", 0)),
            }
            for each in self.dataset.versions()
        ]

    def has_index(self, column: str) -> bool:
        """Say whether any index exists on a column."""
        return any(column in index.field_names for index in self.dataset.describe_indices())

    def index(self, column: str, kind: str) -> None:
        """See that a scalar index of values exists: BTREE or BITMAP."""

        def change(dataset: lance.LanceDataset) -> None:
            if not self.has_index(column):
                dataset.create_scalar_index(column, kind, replace=True)

        if not self.has_index(column):
            self.commit(change)

    def tidy(self) -> None:
        """Join small fragments and bring the indexes up to date.

        Fragments grow by tiers, so that many small adds do not each rewrite all that came before them.
        """
        count = len(self.dataset.get_fragments())
        rows = next(rows for most, rows in _TIERS if count <= most)
        # One thread and small batches: joining is rare, and what its threads allocate is not given back.
        self.commit(
            lambda dataset: dataset.optimize.compact_files(
                target_rows_per_fragment=rows, num_threads=1, batch_size=_JOIN_ROWS
            )
        )
        for name in [index.name for index in self.dataset.describe_indices()]:
            self._extend(name)

    def _extend(self, index: str) -> None:
        """Add new rows to one of Lance's indexes; one that Lance cannot extend is trained again, or left stale.

        A stale index makes no answer wrong, since rows that it lacks are scanned. Lance 14 fails to extend an IVF
        index with an empty partition.
        """
        for retrain in (False, True):
            options = {"index_names": [index], "retrain": retrain}
            try:
                self.commit(partial(_optimize, options))
            except BadCollection as error:
                _LOG.info("the index %s of %s cannot be extended: %s", index, self.uri, error)
            else:
                return

    def check_fields(self, fields: Sequence[pa.Field]) -> None:
        """See that columns can be added, or are there already as they should be.

        Raises:
            BadData: a column exists with another type or for another space, another space has the name of ready-made
                vectors, or metadata cannot be called so.
        """
        check_names([field.name for field in fields if Column.of(field) is None], stored=self.meta)
        known = {field.name: field for field in self.schema}
        for field in fields:
            check_same(known.get(field.name, field), field)
            check_name(Column.of(field), self.columns)

    def add_fields(self, fields: Sequence[pa.Field]) -> None:
        """Add empty columns, skipping those that exist.

        Raises:
            BadData: see ``check_fields``.
        """

        def change(dataset: lance.LanceDataset) -> None:
            self.check_fields(fields)
            new = [field for field in fields if field.name not in dataset.schema.names]
            if new:
                dataset.add_columns(pa.schema(new))

        self.commit(change)

    def record(self, spec: str, described: Mapping[str, Any]) -> None:
        """Write down an encoder: its spec, and the spaces it embeds each key in."""

        def change(dataset: lance.LanceDataset) -> None:
            header = json.loads(dataset.schema.metadata[b"quiver"])
            if header["encoders"].get(spec) != described:
                header["encoders"][spec] = described
                dataset.update_schema_metadata({"quiver": json.dumps(header)})

        self.commit(change)

    @property
    def roots(self) -> tuple[list[tuple[str, str]] | None, bool]:
        """The folders and files that items came from, as (path, prefix of ids), and whether items have older ids.

        None for a collection that was made before roots were kept.
        """
        header = self._header()
        stored = header.get("roots")
        return None if stored is None else [(path, prefix) for path, prefix in stored], bool(header.get("loose"))

    def record_roots(self, roots: Sequence[tuple[str, str]], *, before: Sequence[tuple[str, str]], loose: bool) -> bool:
        """Write down roots, beside those that another writer added meanwhile.

        Args:
            roots: (path, prefix) of every root.
            before: those that were read when the new ones were chosen.
            loose: whether some items have ids from the time before roots were kept.

        Returns:
            Whether they were written; False if another writer took the prefix of a new one.
        """
        known, kept = set(map(tuple, before)), set(map(tuple, roots))
        new = [list(root) for root in roots if tuple(root) not in known]
        gone = [list(root) for root in before if tuple(root) not in kept]

        def change(dataset: lance.LanceDataset) -> bool:
            header = json.loads(dataset.schema.metadata[b"quiver"])
            here = [root for root in header.get("roots") or [list(each) for each in before] if root not in gone]
            if any(other == prefix and where != path for path, prefix in new for where, other in here):
                return False
            header |= {"roots": here + [root for root in new if root not in here], "loose": loose}
            dataset.update_schema_metadata({"quiver": json.dumps(header)})
            return True

        done: bool = self.commit(change)
        return done

    def reading(self, where: Sql | None) -> AbstractContextManager[None]:
        """Turn what Lance says of a condition or a damaged file into one clear line."""
        return reading(where, place=self.uri)

    def compiled(self, condition: Condition) -> Compiled:
        """Check a user's condition against the columns in view, and write it in Lance's SQL.

        Raises:
            BadSpec: it cannot be read, or does not fit the columns.
        """
        return compile({name: self.schema.field(name).type for name in ("id", *MEDIA, *self.meta)}, condition)

    def delete(self, where: Sql | Condition, *, expect: int | None = None) -> int:
        """Delete the rows that a condition selects, in one commit.

        Args:
            where: which.
            expect: how many there must be, or None for any number.

        Returns:
            How many there were.

        Raises:
            BadSpec: the condition cannot be read or names no column, or another number of rows matches; then nothing
                is deleted.
        """

        def change(dataset: lance.LanceDataset) -> int:
            sql = self._deletes(where) if isinstance(where, Condition) else where
            found = self.count(sql)
            if expect is not None and found != expect:
                raise BadSpec(f"{found:,} items match, and {expect:,} were expected: nothing is deleted")
            if found:
                dataset.delete(sql, conflict_retries=0)  # another version, another count
            return found

        done: int = self.commit(change)
        return done

    def _deletes(self, condition: Condition) -> Sql:
        compiled = self.compiled(condition)
        if not compiled.columns:
            raise BadSpec(
                f"cannot delete by {condition.text!r}: it names no column, so it selects all items or none; to delete"
                " all, write id IS NOT NULL"
            )
        return compiled.sql

    def count(self, where: Sql | None = None) -> int:
        """Count rows, exactly.

        Raises:
            BadSpec: a value cannot be computed.
        """
        with self.reading(where):
            return int(self.dataset.count_rows(where))

    def any(self, where: Sql) -> bool:
        """Say whether a condition selects any row; reads no further than to the first one."""
        with self.reading(where):
            return self.dataset.scanner(columns=[], filter=where, with_row_id=True, limit=1).to_table().num_rows > 0

    def read(
        self, columns: Sequence[str], *, where: Sql | None = None, fragments: Sequence[Any] | None = None
    ) -> pa.Table:
        """Read columns of the rows a condition selects, with their row numbers as ``_rowid``."""
        with self.reading(where):
            return self._scanner(columns, where, fragments).to_table()

    def _scanner(self, columns: Sequence[str], where: Sql | None, fragments: Sequence[Any] | None) -> Any:
        chosen = None if fragments is None else list(fragments)
        return self.dataset.scanner(columns=list(columns), filter=where, with_row_id=True, fragments=chosen)

    def examples(self, ids: Sequence[str]) -> dict[str, Example]:
        """Read the row numbers and vectors of items, by id.

        Raises:
            BadSpec: an item does not exist.
        """
        names = [column.name for column in self.columns]
        found = self.read(["id", *names], where=among("id", ids))
        vectors = {name: list(found[name]) for name in names}
        examples = {
            id: Example(row, {name: v[n].values.to_numpy() for name, v in vectors.items() if v[n].is_valid})
            for n, (id, row) in enumerate(zip(found["id"].to_pylist(), found["_rowid"].to_pylist(), strict=True))
        }
        if absent := set(ids).difference(examples):
            raise BadSpec(f"no item has the id {min(absent)!r}")
        return examples

    def fragments(self, *columns: str) -> dict[int, Fragment]:
        """Describe the fragments, as far as some columns are concerned, by their number."""
        fields = {id for column in columns for id in _ids(self.dataset.lance_schema.field(column))}
        return {
            fragment.fragment_id: Fragment(
                files=" ".join(
                    [file.path for file in fragment.data_files() if fields.intersection(file.fields)]
                    + [repr(overlay) for overlay in fragment.metadata.overlays]
                ),
                deleted=repr(fragment.deletion_file()),
                handle=fragment,
            )
            for fragment in self.dataset.get_fragments()
        }

    def stream(self, columns: Sequence[str], fragment: Fragment) -> Iterator[pa.RecordBatch]:
        """Stream columns of a fragment, as it was when it was described, with row numbers as ``_rowid``."""
        with self.reading(None):
            yield from self._scanner(columns, None, [fragment.handle]).to_batches()

    def rows(self, where: Sql | None = None, *, fragments: Sequence[Any] | None = None) -> Rows:
        """Return the row numbers a condition selects, sorted."""
        return np.sort(self.read([], where=where, fragments=fragments)["_rowid"].to_numpy().astype(np.int64))

    def vectors(self, column: Column, *, fragments: Sequence[Any] | None = None) -> Vectors:
        """Read every vector of a column, streamed into one array; rows as they lie on disk."""
        name = column.name
        size = self.count() if fragments is None else sum(fragment.count_rows() for fragment in fragments)
        data = np.empty((size, column.space.dim), dtype=np.float32)
        rows = np.empty(size, dtype=np.int64)
        n = 0
        scanner = self._scanner([name], present(name), fragments)
        with self.reading(None):
            for batch in scanner.to_batches():
                end = n + len(batch)
                rows[n:end] = batch["_rowid"].to_numpy()
                data[n:end] = batch[name].flatten().to_numpy().reshape(len(batch), -1)
                n = end
        return Vectors(column.space, rows[:n], data[:n])

    def batches(self, columns: Sequence[str], *, where: Sql | None = None, size: int) -> Iterator[pa.RecordBatch]:
        """Stream columns of the rows a condition selects."""
        with self.reading(where):
            yield from self.dataset.scanner(columns=list(columns), filter=where, batch_size=size).to_batches()


def _ids(field: Any) -> Iterator[int]:
    """Yield the numbers of a field and of what it is made of: the files of a list name its items alone."""
    yield field.id()
    for child in field.children():
        yield from _ids(child)


def fragment_of(rows: Rows) -> Rows:
    """Return the fragment each row number lies in: a row number is an address, fragment and offset."""
    return rows >> 32


def _optimize(options: dict[str, Any], dataset: lance.LanceDataset) -> None:
    dataset.optimize.optimize_indices(**options)
