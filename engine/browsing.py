"""The reading side of a collection beside searches: count, facets, duplicates, get, head, scan, export and close."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from quiver.conditions import Condition, condition_of
from quiver.engine.core.sql import among, both
from quiver.engine.execution.differences import differences
from quiver.engine.execution.duplicates import duplicates
from quiver.engine.exporting import Exported, export
from quiver.engine.serving.searcher import Searcher
from quiver.engine.storage.facets import facets
from quiver.engine.storage.scanning import Scan
from quiver.engine.storage.unknown_ids import check_stored
from quiver.engine.tuning.maintenance import Upkeep
from quiver.errors import BadSpec
from quiver.records import Duplicates, Facets, VectorHealth
from quiver.types import Floats, Item, strings
from quiver.wording import option


class Browsing:
    """The items of a collection, without ranking."""

    _searcher: Searcher
    _background: Upkeep | None

    def __len__(self) -> int:
        return self.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for index updates in the background, and release vectors, indexes and files; a second call does nothing.

        Every later use raises BadSpec. Results of earlier searches stay readable. Committed changes are on disk without
        it.
        """
        if self._background is not None:
            self._background.wait()
        self._searcher.close()

    @property
    def version(self) -> int:
        """The version that a search reads now: the newest one, or the one checked out."""
        return self._searcher.session().table.version

    @property
    def looks(self) -> bool:
        """Whether each search looks for a newer version, as by default; otherwise only ``refresh`` does.

        A look costs microseconds in a folder, and a request to an object store.
        """
        return self._searcher.looks

    @looks.setter
    def looks(self, value: bool) -> None:
        self._searcher.looks = value

    def refresh(self) -> bool:
        """Look for changes that other processes made: a newer version, indexes and learned figures.

        Returns:
            Whether there were any.
        """
        return self._searcher.look()

    def count(self, where: str | Condition | None = None, params: Mapping[str, Any] | Sequence[Any] = ()) -> int:
        """Count all items, or the items that match an SQL condition; exact. ``params`` as in ``search``.

        Raises:
            BadSpec: the condition is invalid.
        """
        condition = condition_of(where, params)
        return self._searcher.session().count(condition)

    def facets(
        self,
        column: str,
        where: str | Condition | None = None,
        params: Mapping[str, Any] | Sequence[Any] = (),
        *,
        limit: int = 20,
    ) -> Facets:
        """Count the values of a metadata column, or of ``text``, over all items or those that match a condition.

        Items without a value are counted apart. An item counts once for each different member of a list. Numbers, dates
        and times are also counted by range: of a round width, or by calendar unit (UTC).

        Args:
            column: the column.
            where: an SQL condition, as in ``search``.
            params: values of its parameters.
            limit: largest number of values to return.

        Raises:
            BadSpec: there is no such column, the condition is invalid, or ``limit`` is no positive whole number.
        """
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise BadSpec(f"{option('limit')} must be a positive whole number, not {limit!r}")
        condition = condition_of(where, params)
        session = self._searcher.session()
        return facets(session.table, column, None if condition is None else session.sql(condition), limit=limit)

    def duplicates(
        self,
        where: str | None = None,
        params: Mapping[str, Any] | Sequence[Any] = (),
        *,
        space: str | None = None,
        target: str | None = None,
        threshold: float = 0.98,
    ) -> Duplicates:
        """Find groups of near-duplicate items: files with equal content, and vectors that are almost equal.

        Every item of a group has at least this cosine similarity to the first item of its group, or the same file
        content as another item of it. All vectors are read into memory, and compared in blocks: at most n^2 / 2
        comparisons of n items.

        Args:
            where: an SQL condition, as in ``search``: compare the matching items only.
            params: values of its parameters.
            space: name of the space of the vectors; by default the default space of the target.
            target: text, image, audio, video or pair; by default the first one that has vectors.
            threshold: least cosine similarity, above 0 and at most 1. What it means depends on the encoder: look at
                some groups near it.

        Raises:
            BadSpec: the threshold, the target or the condition is invalid, or there are no such vectors.
        """
        condition = condition_of(where, params)
        session = self._searcher.session()
        sql = None if condition is None else session.sql(condition)
        return duplicates(session, space=space, key=target, threshold=threshold, where=sql)

    def differences(self, pairs: Sequence[tuple[Any, Any]]) -> list[Floats | None]:
        """Return where the pictures of each pair (before, after) differ, as the first encoder tells that can.

        Returns:
            For each pair (2, rows, columns) float32: a grid over each whole picture, larger where the encoder looks
            more; None for a pair that cannot be read, and for all if no encoder of the collection is a
            ``PairExplainer``.
        """
        return differences(self._searcher.session(), pairs)

    def check_vectors(self, *, sample: int = 1000, again: int = 8) -> list[VectorHealth]:
        """Look for signs that an encoder is not well: all vectors alike, equal vectors, or other ones than before.

        Args:
            sample: stored vectors of each column that are looked at, evenly spread.
            again: stored items of each column that are embedded again, to compare their vectors; 0 loads no encoder.

        Returns:
            What was found for each column of vectors.

        Raises:
            BadSpec: a number is invalid.
        """
        from quiver.engine.ingest.health_check import check

        return check(self._searcher.session(), sample=sample, again=again)

    def get(self, ids: str | Iterable[str], *, missing_ok: bool = True) -> list[Item]:
        """Return the stored items among these ids, in the order of the ids.

        Args:
            ids: one id or several.
            missing_ok: skip ids that are not stored.

        Raises:
            BadSpec: an id is not stored, without ``missing_ok``.
        """
        named = strings(ids, "get")
        session = self._searcher.session()
        rows = session.table.rows(among("id", named))
        found = {item["id"]: Item(**item) for item in session.items(rows).values()}
        if not missing_ok:
            check_stored(session.table, named, found)
        return [found[id] for id in named if id in found]

    def stored(self, ids: str | Iterable[str], *, where: str | Condition | None = None) -> list[str]:
        """Return those of some ids that are stored, and fulfil a condition, in the order given.

        Raises:
            BadSpec: the condition is invalid.
        """
        named, condition = strings(ids, "stored"), condition_of(where, ())
        session = self._searcher.session()
        sql = both(among("id", named), None if condition is None else session.sql(condition))
        found = set(session.table.read(["id"], where=sql)["id"].to_pylist()) if named else set()
        return [id for id in named if id in found]

    @property
    def types(self) -> dict[str, str]:
        """The Arrow type of each metadata column, in words."""
        table = self._searcher.session().table
        return {name: str(table.schema.field(name).type) for name in table.meta}

    def named(self, where: str | Condition) -> set[str]:
        """Return the columns that a condition names.

        Raises:
            BadSpec: the condition is invalid.
        """
        condition = condition_of(where, ())
        return set() if condition is None else set(self._searcher.session().table.compiled(condition).columns)

    def renew(self) -> None:
        """Read statistics and indexes anew from the next search on, because another process has changed them."""
        self._searcher.renew()

    def head(
        self, n: int = 5, where: str | Condition | None = None, params: Mapping[str, Any] | Sequence[Any] = ()
    ) -> list[Item]:
        """Return the first items, or the first that match a condition, in the order on disk.

        Args:
            n: number of items.
            where: an SQL condition, as in ``search``.
            params: values of its parameters.

        Raises:
            BadSpec: the condition is invalid, or ``n`` is no positive whole number.
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise BadSpec(f"head takes a positive number of items, not {n!r}")
        return self.get(self._scan(("id",), where, params).first(n)["id"].to_pylist())

    def scan(
        self,
        columns: str | Sequence[str] | None = None,
        where: str | Condition | None = None,
        params: Mapping[str, Any] | Sequence[Any] = (),
        *,
        spaces: str | Sequence[str] = (),
        batch_size: int = 4096,
    ) -> Iterator[pa.RecordBatch]:
        """Iterate over items as Arrow record batches, in the order on disk; all batches come from one version.

        Args:
            columns: ``id``, media and metadata columns; by default all that have values.
            where: an SQL condition, as in ``search``.
            params: values of its parameters.
            spaces: names of spaces whose vectors are read too, as fixed-size lists of float32. The column has the name
                of the space, or ``SPACE (KEY)`` if several keys have vectors in it.
            batch_size: number of rows of a batch; the last may be smaller.

        Raises:
            BadSpec: a column or a space does not exist, or the condition is invalid.
        """
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise BadSpec(f"batch_size must be a positive whole number, not {batch_size!r}")
        names = None if columns is None else strings(columns, "columns")
        from quiver.engine.source.record import rebatch  # with it come the readers of tables, which searches do without

        return rebatch(self._scan(names, where, params, strings(spaces, "spaces")).batches(batch_size), batch_size)

    def export(
        self,
        path: str | Path,
        *,
        space: str | None = None,
        where: str | Condition | None = None,
        params: Mapping[str, Any] | Sequence[Any] = (),
        factory: str = "Flat",
    ) -> Exported:
        """Write items and vectors to a file that other programs read; ``add`` and ``add_vectors`` read it back.

        The suffix of the file decides: ``.parquet`` has ids, media, metadata and the vectors of every space (or of
        ``space``); ``.npy`` has the vectors of one space, (n, dim) float32; ``.faiss`` is a FAISS index of them. Beside
        ``.npy`` and ``.faiss``, a Parquet file of the same name has ids, media and metadata: row n describes vector n.

        Args:
            path: the file; an existing one is replaced, the table beside it only together with it.
            space: name of the space; by default the only one.
            where: an SQL condition, as in ``search``.
            params: values of its parameters.
            factory: FAISS factory string of the index, such as ``"IVF256,Flat"``.

        Returns:
            The files written, and the number of items and vectors.

        Raises:
            BadSpec: the suffix is unknown, the space or condition is invalid, or there are several spaces.
            CannotWrite: the file cannot be written.
        """
        chosen = () if space is None else (space,)
        return export(path, lambda spaces: self._scan(None, where, params, spaces), chosen, factory=factory)

    def _scan(
        self,
        columns: Sequence[str] | None,
        where: str | Condition | None,
        params: Mapping[str, Any] | Sequence[Any],
        spaces: Sequence[str] | None = (),
    ) -> Scan:
        condition = condition_of(where, params)
        session = self._searcher.session()
        sql = None if condition is None else session.sql(condition)
        return Scan.of(session.table.at(session.table.version), columns, sql, spaces)
