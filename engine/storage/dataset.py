"""The stored data of a collection: one Lance dataset.

One row per item: its id (the declared primary key), its media references, the hash of their bytes, the words that
full-text search sees, its metadata, and one vector column per (key, space). Each vector column is described
in its own field metadata, and the encoders in the schema's metadata. So a checked-out version always
describes itself, and a commit changes data and description together.
"""

import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import lance
import pyarrow as pa

from quiver.conditions import Condition
from quiver.engine.core.column import Column, check_name, check_same
from quiver.engine.core.metadata import RESERVED, check_names
from quiver.engine.core.sql import Sql, among
from quiver.engine.storage.lance_errors import damaged, first_line, is_lance, lost_race
from quiver.engine.storage.table_reader import FORMAT, Example, Fragment, TableReader, fragment_of
from quiver.engine.storage.unknown_ids import check_stored
from quiver.engine.storage.write_lock import lock_of
from quiver.errors import BadCollection, BadSpec, QuiverError, Unexpected
from quiver.files import writing

_LOG = logging.getLogger("quiver")
#: Declares the primary key of a dataset: without it, concurrent upserts silently duplicate rows.
PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
#: Attempts to commit against other writers, and the longest wait between two, in seconds.
_ATTEMPTS, _LONGEST = 40, 2.0
_JOIN_ROWS = 512
#: Tiers of joining: up to this many fragments, those with fewer rows than this are joined.
_TIERS = ((64, 16_384), (512, 131_072), (float("inf"), 1_048_576))


class Table(TableReader):
    """The dataset of a collection, at its newest version or at a chosen one, to be read and changed."""

    def __init__(self, uri: str, *, version: int | None = None) -> None:
        super().__init__(uri, version=version)
        self._lock = lock_of(uri.rsplit("/", 1)[0])
        self._exclusive = False

    @classmethod
    def create(cls, uri: str, *, roots: Sequence[tuple[str, str]] = ()) -> "Table":
        """Create an empty dataset with some roots, or open the one that another process created meanwhile."""
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

    def at(self, version: int) -> "Table":
        """Return the dataset at a version.

        Raises:
            BadCollection: there is no such version.
        """
        return Table(self.uri, version=version)

    def commit(self, change: Callable[[lance.LanceDataset], Any], *, alone: bool = True) -> Any:
        """Apply a change to the newest version, with the collection's write lock where its store has locks.

        If another writer commits first, the change runs again from the beginning, on the new version. So a
        change reads its own inputs, and may commit in several repeatable steps.

        Args:
            change: function that changes the newest version.
            alone: whether to hold the lock; False for long changes without row conflicts, such as an index.

        Raises:
            QuiverError: the table is at a fixed version, or other writers won every time.
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
        """Replace the given columns of rows whose id exists, in one commit of a change, without a retry.

        Args:
            rows: ``id`` and some columns, each id once.
            insert: whether to add rows whose id does not exist; they need all columns.

        Returns:
            Lance's counts, such as ``num_inserted_rows``.
        """
        merge = self.dataset.merge_insert("id").when_matched_update_all().conflict_retries(0)
        if insert:
            merge = merge.when_not_matched_insert_all()
        if not self._exclusive or not self._scalar:  # by its index, Lance misses that another commit inserts an id
            merge = merge.use_index(False)
        done: dict[str, int] = merge.execute(rows)
        return done

    def index(self, column: str, kind: str) -> None:
        """Make sure that a scalar index (BTREE or BITMAP) exists."""

        def change(dataset: lance.LanceDataset) -> None:
            if not self.has_index(column):
                dataset.create_scalar_index(column, kind, replace=True)

        if not self.has_index(column):
            self.commit(change)

    def tidy(self) -> None:
        """Join small fragments and bring the indexes up to date.

        Fragments grow by tiers, so that many small adds do not each rewrite all earlier rows.
        """
        if not self._scalar:
            self.commit(self._mend)
        count = len(self.dataset.get_fragments())
        rows = next(rows for most, rows in _TIERS if count <= most)
        # One thread and small batches: joining is rare, and memory allocated by its threads is not returned.
        self.commit(
            lambda dataset: dataset.optimize.compact_files(
                target_rows_per_fragment=rows, num_threads=1, batch_size=_JOIN_ROWS
            )
        )
        for name in [index.name for index in self.dataset.describe_indices()]:
            self._extend(name)

    def _mend(self, dataset: lance.LanceDataset) -> None:
        """Make the index on ids anew, if it turned out to be damaged."""
        if not self._scalar:
            dataset.create_scalar_index("id", "BTREE", replace=True)
            self._scalar = True

    def _extend(self, index: str) -> None:
        """Add new rows to one of Lance's indexes; an index that Lance cannot extend is rebuilt, or left stale.

        A stale index gives right answers, since missing rows are scanned. Lance 14 fails to extend an IVF
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
        """Check that columns can be added, or exist already with the same type.

        Raises:
            BadData: a column exists with another type or for another space, another space has the name of ready-made
                vectors, or a metadata name is not allowed.
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
        """Store an encoder's spec, and the spaces of each of its keys."""

        def change(dataset: lance.LanceDataset) -> None:
            header = json.loads(dataset.schema.metadata[b"quiver"])
            if header["encoders"].get(spec) != described:
                header["encoders"][spec] = described
                dataset.update_schema_metadata({"quiver": json.dumps(header)})

        self.commit(change)

    def record_teller(self, column: str, spec: str) -> None:
        """Store the spec of the model that writes a caption column."""

        def change(dataset: lance.LanceDataset) -> None:
            header = json.loads(dataset.schema.metadata[b"quiver"])
            if header.get("tellers", {}).get(column) != spec:
                header["tellers"] = {**header.get("tellers", {}), column: spec}
                dataset.update_schema_metadata({"quiver": json.dumps(header)})

        self.commit(change)

    def record_default(self, key: str, column: str) -> None:
        """Store the name of the vector column to search for a key."""

        def change(dataset: lance.LanceDataset) -> None:
            header = json.loads(dataset.schema.metadata[b"quiver"])
            header["defaults"] = {**header.get("defaults", {}), key: column}
            dataset.update_schema_metadata({"quiver": json.dumps(header)})

        self.commit(change)

    def record_roots(self, roots: Sequence[tuple[str, str]], *, before: Sequence[tuple[str, str]], loose: bool) -> bool:
        """Store roots, and keep roots added by another writer meanwhile.

        Args:
            roots: (path, prefix) of every root.
            before: the roots at the time when the new ones were chosen.
            loose: whether some items have ids from before roots were stored.

        Returns:
            Whether they were stored; False if another writer took the prefix of a new one.
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

    def delete(self, where: Sql | Condition, *, expect: int | None = None, ids: Sequence[str] = ()) -> int:
        """Delete the rows that a condition selects, in one commit.

        Args:
            where: the condition.
            expect: expected number of matching rows, or None for any number.
            ids: ids that must be stored, besides.

        Returns:
            Number of deleted rows.

        Raises:
            BadSpec: the condition cannot be read or names no column, an id is not stored, or another number of rows
                matches; then nothing is deleted.
        """

        def change(dataset: lance.LanceDataset) -> int:
            sql = self._deletes(where) if isinstance(where, Condition) else where
            if ids:
                check_stored(self, ids, set(self.read(["id"], where=among("id", ids))["id"].to_pylist()))
            found = self.count(sql)
            if expect is not None and found != expect:
                raise Unexpected(f"{found:,} items match, and {expect:,} were expected: nothing is deleted")
            self._mend(dataset)
            if found:
                dataset.delete(sql, conflict_retries=0)  # another version, another count
            return found

        done: int = self.commit(change)
        return done

    def _deletes(self, condition: Condition) -> Sql:
        compiled = self.compiled(condition)
        if not self.compiled(replace(condition, within=None)).columns:
            raise BadSpec(
                f"cannot delete by {condition.text!r}: it names no column, so it selects all items or none; to delete"
                " all, write id IS NOT NULL"
            )
        return compiled.sql


def _optimize(options: dict[str, Any], dataset: lance.LanceDataset) -> None:
    dataset.optimize.optimize_indices(**options)


__all__ = ["FORMAT", "PRIMARY_KEY", "Example", "Fragment", "Table", "fragment_of"]
