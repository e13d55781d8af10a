"""Quarantine: items that could not be added, with reasons, stored beside the collection."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from quiver.engine.core.sql import among
from quiver.engine.storage.dataset import PRIMARY_KEY
from quiver.engine.storage.lance_errors import first_line, lost_race
from quiver.engine.storage.seal import Seal
from quiver.engine.storage.write_lock import local_path, lock_of
from quiver.errors import BadCollection, QuiverError, is_panic
from quiver.files import writing

_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False, metadata=PRIMARY_KEY),
        pa.field("uri", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("at", pa.timestamp("s", tz="UTC")),
    ]
)
_ATTEMPTS = 20


class Quarantine:
    """A small Lance dataset of bad items; it exists once there is one."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._lock = lock_of(uri.rsplit("/", 1)[0])
        self._seal = Seal(uri)
        self._ids: tuple[int, frozenset[str]] = (0, frozenset())

    def add(self, problems: Iterable[tuple[str, str | None, str]]) -> None:
        """Record (id, uri, reason) triples; an id keeps its newest reason.

        Raises:
            BadCollection: the existing list is damaged.
            CannotWrite: the disk is full, or the folder cannot be written to.
        """
        now = datetime.now(UTC)
        rows = {
            _text(id): {"id": _text(id), "uri": None if uri is None else _text(uri), "reason": _text(reason), "at": now}
            for id, uri, reason in problems
        }
        if not rows:
            return
        table = pa.Table.from_pylist(list(rows.values()), schema=_SCHEMA)

        def change() -> None:
            dataset = self._open() or lance.write_dataset(_SCHEMA.empty_table(), self.uri, mode="create")
            merge = dataset.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merge.conflict_retries(0).execute(table)

        self._commit(change)

    def cure(self, ids: Sequence[str]) -> None:
        """Remove items that were added after all.

        Raises:
            BadCollection, CannotWrite: see ``add``.
        """

        def change() -> None:
            dataset = self._open()
            cured = self._held(dataset).intersection(ids) if dataset is not None else frozenset()
            if dataset is not None and cured:
                dataset.delete(among("id", sorted(cured)))

        self._commit(change)

    def rows(self) -> list[dict[str, Any]]:
        """Return every bad item: id, uri, reason, at.

        Raises:
            BadCollection: the list is damaged.
        """
        dataset = self._open()
        return [] if dataset is None else self._read(lambda: dataset.to_table().to_pylist())

    def _commit(self, change: Callable[[], None]) -> None:
        with self._lock.hold() as held, writing(self.uri):
            for attempt in range(_ATTEMPTS):
                try:
                    change()
                    if held and (dataset := self._open()) is not None:
                        self._seal.write(dataset)
                    return
                except (OSError, RuntimeError) as error:  # without a lock, another process may have been first
                    if not lost_race(error) or attempt == _ATTEMPTS - 1:
                        raise

    def _held(self, dataset: lance.LanceDataset) -> frozenset[str]:
        version = int(dataset.version)
        if self._ids[0] != version:
            found = self._read(lambda: dataset.to_table(columns=["id"]))
            self._ids = version, frozenset(found["id"].to_pylist())
        return self._ids[1]

    def _open(self) -> lance.LanceDataset | None:
        if self._absent():
            return None
        dataset = self._read(lambda: lance.dataset(self.uri))
        self._seal.check(dataset)
        return dataset

    def _absent(self) -> bool:
        """Whether no item was ever quarantined, or a process died before it listed the first."""
        folder = local_path(self.uri)
        if folder is not None:
            return not any(any(Path(folder).glob(files)) for files in ("data/*", "_versions/*.manifest"))
        try:
            lance.dataset(self.uri)
        except ValueError as error:
            if "not found" not in str(error).lower():
                raise self._damaged(error) from error
            return True
        return False

    def _read(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except BaseException as error:
            if isinstance(error, QuiverError) or not (isinstance(error, Exception) or is_panic(error)):
                raise
            raise self._damaged(error) from error

    def _damaged(self, error: BaseException) -> BadCollection:
        return BadCollection(
            f"the list of quarantined items at {self.uri} is damaged ({first_line(error)}): remove it, and add the same"
            " sources again to rebuild it"
        )


def _text(value: str) -> str:
    """Replace the parts of a file name that are not UTF-8, which no table can hold."""
    return value.encode(errors="surrogateescape").decode(errors="replace")
