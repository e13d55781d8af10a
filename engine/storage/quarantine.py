"""Items that could not be taken in, each with its reason, beside the collection."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import lance
import pyarrow as pa

from quiver.engine.storage.dataset import PRIMARY_KEY, quoted

_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False, metadata=PRIMARY_KEY),
        pa.field("uri", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("at", pa.timestamp("s", tz="UTC")),
    ]
)


class Quarantine:
    """A small Lance dataset of bad items; it exists once there is one."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._ids: set[str] | None = None

    def _open(self) -> lance.LanceDataset | None:
        try:
            return lance.dataset(self.uri)
        except ValueError:
            return None

    def _held(self) -> set[str]:
        if self._ids is None:
            self._ids = {row["id"] for row in self.rows()}
        return self._ids

    def add(self, problems: Iterable[tuple[str, str | None, str]]) -> None:
        """Record (id, uri, reason) triples; an id keeps its newest reason."""
        now = datetime.now(UTC)
        rows = {id: {"id": id, "uri": uri, "reason": reason, "at": now} for id, uri, reason in problems}
        if not rows:
            return
        table = pa.Table.from_pylist(list(rows.values()), schema=_SCHEMA)
        dataset = self._open() or self._create()
        dataset.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(table)
        self._held().update(rows)

    def _create(self) -> lance.LanceDataset:
        try:
            return lance.write_dataset(_SCHEMA.empty_table(), self.uri, mode="create")
        except OSError:  # another process was first
            return lance.dataset(self.uri)

    def cure(self, ids: Sequence[str]) -> None:
        """Forget items that were taken in after all."""
        cured = self._held().intersection(ids)
        dataset = self._open() if cured else None
        if dataset is not None:
            dataset.delete(f"id IN {quoted(sorted(cured))}")
            self._held().difference_update(cured)

    def rows(self) -> list[dict[str, Any]]:
        """Return every bad item: id, uri, reason, at."""
        dataset = self._open()
        rows: list[dict[str, Any]] = dataset.to_table().to_pylist() if dataset is not None else []
        return rows
