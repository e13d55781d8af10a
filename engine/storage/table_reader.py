"""The dataset of a collection as it is read: its schema, rows, vectors and fragments, at one version at a time."""

import copy
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, Self

import lance
import numpy as np
import pyarrow as pa

from quiver.conditions import Condition
from quiver.engine.core.column import Column
from quiver.engine.core.condition import Compiled, compile
from quiver.engine.core.metadata import names_of
from quiver.engine.core.sql import Sql, among, present
from quiver.engine.storage import lance_cache
from quiver.engine.storage.lance_errors import is_lance, reading, unreadable
from quiver.engine.storage.seal import Seal
from quiver.engine.storage.unknown_ids import check_stored
from quiver.engine.storage.version_watch import Sight, Watch
from quiver.errors import BadCollection, NoCollection
from quiver.records import Version
from quiver.types import MEDIA, Floats, Rows, Vectors

_LOG = logging.getLogger("quiver")
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Example:
    """A stored item used as an example by a query.

    Attributes:
        row: its row number.
        vectors: (dim,) float32 by vector column.
    """

    row: int
    vectors: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Fragment:
    """A fragment of the dataset on disk.

    Attributes:
        files: names of the files of the requested columns; they change with the contents.
        deleted: name of its deletion file; it changes with the deleted rows.
        handle: Lance's own fragment.
    """

    files: str
    deleted: str
    handle: Any


#: Versions after which a dataset is opened anew. Lance's cache keeps the file of every full-text index that it has read
#: open, one more for each commit of text; after 1,000 commits a process could open no file any more.
MOVES = 64


def _opened(uri: str, version: int | None) -> lance.LanceDataset:
    """Open a dataset; look again if another process created it between the failure and its diagnosis."""
    for last in (False, True):
        try:
            return lance.dataset(
                uri,
                version=version,
                index_cache_size_bytes=lance_cache.index_bytes(uri),
                metadata_cache_size_bytes=lance_cache.METADATA,
            )
        except BaseException as error:
            if not is_lance(error):
                raise
            problem = unreadable(uri, version, error)
            if last or isinstance(problem, NoCollection):
                raise problem from error
    raise AssertionError  # the last attempt raised


class TableReader:
    """The dataset of a collection, at its newest version or at a chosen one, to be read."""

    def __init__(self, uri: str, *, version: int | None = None) -> None:
        self.dataset = _opened(uri, version)
        self.uri = uri
        self.pinned = version is not None
        self._watch = Watch(uri)
        self._newest: Sight | None = None
        self._moves = 0
        self._scalar = True
        self._check_format()
        self._seal = Seal(uri)
        if not self.pinned:
            self._seal.check(self.dataset)

    def _check_format(self) -> None:
        try:
            header = self._header()
            _ = self.columns, [described["keys"].items() for described in header.get("encoders", {}).values()]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadCollection(f"{self.uri} has no readable Quiver manifest in its schema: {error!r:.80}") from error
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
        """The current version of the dataset."""
        return int(self.dataset.version)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the current version."""
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
        """Descriptions by encoder spec: ``{spec: {"keys": {key: [space, ...]}, "bridges": [...]}}``."""
        return dict(self._header().get("encoders", {}))

    @property
    def tellers(self) -> dict[str, str]:
        """The spec of the model that last wrote each caption column."""
        return dict(self._header().get("tellers", {}))

    @property
    def defaults(self) -> dict[str, str]:
        """Name of the vector column to search for a key, where the user chose one."""
        return dict(self._header().get("defaults", {}))

    def refresh(self) -> None:
        """Move to the newest version, unless a fixed version was chosen."""
        newest = self.newest()
        self.dataset, self._newest, self._moves = newest.dataset, newest._newest, newest._moves

    def newest(self) -> Self:
        """Return the table at its newest version: itself if there is no newer one, else another object.

        Other threads cannot read a dataset object that moves, so this one stays where it is.

        Raises:
            BadCollection: the folder cannot be read.
        """
        if self.pinned:
            return self
        version = self.version
        sight = self._watch.look(version)
        if sight is not None and sight == self._newest:
            return self
        with self.reading(None):
            if (latest := self.dataset.latest_version) == version:
                self._newest = sight if self._watch.named(version) else None
                return self
            moved = copy.copy(self)
            moved._newest, moved._moves = None, (self._moves + 1) % MOVES
            moved.dataset = self.dataset.checkout_version(latest) if moved._moves else _opened(self.uri, latest)
        return moved

    def history(self) -> list[Version]:
        """Return every version: number, time and rows."""
        return [
            Version(
                each["version"],
                each["timestamp"].isoformat(timespec="seconds"),
                int(each["metadata"].get("total_rows", 0)),
            )
            for each in self.dataset.versions()
        ]

    def has_index(self, column: str) -> bool:
        """Whether any index exists on a column."""
        return any(column in index.field_names for index in self.dataset.describe_indices())

    @property
    def roots(self) -> tuple[list[tuple[str, str]] | None, bool]:
        """The source folders and files of items, as (path, prefix of ids), and whether items have older ids.

        None for a collection from before roots were stored.
        """
        header = self._header()
        stored = header.get("roots")
        return None if stored is None else [(path, prefix) for path, prefix in stored], bool(header.get("loose"))

    def reading(self, where: Sql | None) -> AbstractContextManager[None]:
        """Turn Lance's error about a condition or a damaged file into one clear line."""
        return reading(where, place=self.uri)

    def compiled(self, condition: Condition) -> Compiled:
        """Check a user's condition against the current columns, and write it in Lance's SQL.

        Raises:
            BadSpec: it cannot be read, or does not fit the columns.
        """
        return compile({name: self.schema.field(name).type for name in ("id", *MEDIA, *self.meta)}, condition)

    def count(self, where: Sql | None = None) -> int:
        """Count rows, exactly.

        Raises:
            BadSpec: a value cannot be computed.
        """
        if self._scalar:
            with suppress(BadCollection), self.reading(where):
                return int(self.dataset.count_rows(where))
        return len(self.read([], where=where))

    def any(self, where: Sql) -> bool:
        """Whether a condition selects any row; reads only up to the first one."""
        with self.reading(where):
            return self.dataset.scanner(columns=[], filter=where, with_row_id=True, limit=1).to_table().num_rows > 0

    def read(
        self, columns: Sequence[str], *, where: Sql | None = None, fragments: Sequence[Any] | None = None
    ) -> pa.Table:
        """Read columns of the rows selected by a condition, with their row numbers as ``_rowid``."""
        chosen = None if fragments is None else list(fragments)
        return self.table(columns, where, fragments=chosen, with_row_id=True)

    def table(self, columns: Sequence[str] | Mapping[str, str], where: Sql | None, **options: Any) -> pa.Table:
        """Read columns, or expressions by name, of the rows a condition selects; ``options`` are those of a scanner.

        Where one of Lance's indexes of values is damaged, rows are scanned instead, and from then on.
        """
        wanted = columns if isinstance(columns, Mapping) else list(columns)
        problem: BadCollection | None = None
        if self._scalar:
            try:
                with self.reading(where):
                    return self.dataset.scanner(columns=wanted, filter=where, **options).to_table()
            except BadCollection as error:
                problem = error
        if problem is not None and where is None:  # no index was asked
            raise problem
        with self.reading(where):
            found = self.dataset.scanner(columns=wanted, filter=where, use_scalar_index=False, **options).to_table()
        if problem is not None:
            _LOG.warning("an index of %s is damaged: until the next change, rows are scanned (%s)", self.uri, problem)
            self._scalar = False
        return found

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
        check_stored(self, ids, examples)
        return examples

    def first_ids(self, where: Sql | None, *, limit: int) -> list[str]:
        """Return ids of items that a condition selects, at most ``limit`` of them."""
        with self.reading(where):
            found = self.dataset.scanner(columns=["id"], filter=where, limit=limit, use_scalar_index=False).to_table()
        ids: list[str] = found["id"].to_pylist()
        return ids

    def fragments(self, *columns: str) -> dict[int, Fragment]:
        """Describe the fragments for some columns, by fragment number."""
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
        """Stream columns of a fragment in its described state, with row numbers as ``_rowid``."""
        with self.reading(None):
            yield from self._scanner(columns, None, [fragment.handle]).to_batches()

    def rows(self, where: Sql | None = None, *, fragments: Sequence[Any] | None = None) -> Rows:
        """Return the row numbers selected by a condition, sorted."""
        return np.sort(self.read([], where=where, fragments=fragments)["_rowid"].to_numpy().astype(np.int64))

    def vectors(self, column: Column, *, fragments: Sequence[Any] | None = None) -> Vectors:
        """Read every vector of a column, streamed into one array; rows in the order on disk."""
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
        """Stream columns of the rows selected by a condition."""
        with self.reading(where):
            yield from self.dataset.scanner(columns=list(columns), filter=where, batch_size=size).to_batches()


def _ids(field: Any) -> Iterator[int]:
    """Yield the ids of a field and of its children: the files of a list column name only its items."""
    yield field.id()
    for child in field.children():
        yield from _ids(child)


def fragment_of(rows: Rows) -> Rows:
    """Return the fragment of each row number: a row number is an address of fragment and offset."""
    return rows >> 32
