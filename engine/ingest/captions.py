"""Write captions of stored items: read their media, describe them with a model, and commit the sentences in batches.

The same run started again goes on where it stopped: an item with a current caption is not described again. A caption
that a user wrote or changed is never replaced. What was read before a commit is compared with the stored row under the
write lock, so that a change by another process in between is kept too.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from quiver.engine.core import caption
from quiver.engine.core.caption import Provenance, State
from quiver.engine.core.sql import among
from quiver.engine.ingest.decode import Decoded, Job, Slot
from quiver.engine.ingest.decode_workers import Workers
from quiver.engine.ingest.known import items_of
from quiver.engine.ingest.options import Options
from quiver.engine.ingest.report import Report, grouped, merged
from quiver.engine.ingest.words import words
from quiver.engine.source.given import Stored
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.quarantine import Quarantine
from quiver.errors import BadData, is_panic
from quiver.protocols import Teller
from quiver.types import keys_of, uri_of

#: Inputs that a teller without ``at_once`` is given at a time.
AT_ONCE = 16
#: Rows that are read at a time, and the most captions of one commit.
_ROWS = 1024
#: Seconds after which captions are committed, so that a kill loses little work of a slow model.
_SECONDS = 20.0
#: Start of the quarantine reason of an item without a caption.
_REASON = "no caption: "


@dataclass(frozen=True, slots=True)
class Order:
    """What to write.

    Attributes:
        tellers: the model for each key.
        column: the caption column.
        beams: width of the beam search.
        ids: the items to describe; None for all.
    """

    tellers: Mapping[str, Teller]
    column: str = caption.CAPTION
    beams: int = 1
    ids: Collection[str] | None = None

    def model(self, key: str) -> str:
        """Describe the model of a key for the provenance of its captions."""
        teller = self.tellers[key]
        return caption.model_of(teller.name, teller.revision, self.beams)

    @property
    def at_once(self) -> int:
        """Number of inputs that the models are given at a time."""
        return max(1, min(int(getattr(teller, "at_once", AT_ONCE)) for teller in self.tellers.values()))


@dataclass(frozen=True, slots=True)
class Row:
    """A stored item that needs a caption: its media, and its caption columns as they were read."""

    id: str
    media: Mapping[str, str]
    key: str
    sha256: str | None
    caption: str | None
    by: str | None


@dataclass(slots=True)
class _Counts:
    current: int = 0
    own: int = 0
    silent: int = 0
    other: int = 0
    found: list[tuple[Row, str]] = field(default_factory=list)
    bad: list[tuple[str, str | None, str]] = field(default_factory=list)


class Captions:
    """One run of writing captions of stored items."""

    def __init__(self, table: Table, order: Order, *, quarantine: Quarantine, options: Options, report: Report) -> None:
        self.table, self.order, self.quarantine = table, order, quarantine
        self.options, self.report = options, report
        self.keys = tuple(order.tellers)
        self._counts = _Counts()
        self._failed: frozenset[str] = frozenset()
        self._passed = 0  # items that need no caption, since the last step

    def run(self, source: Stored) -> Iterator[int]:
        """Describe all items that need it; yields the number of items of each step, for a progress bar."""
        started = last = time.perf_counter()
        self.table.add_fields(caption.fields(self.order.column))
        self._failed = frozenset(row["id"] for row in self.quarantine.rows() if row["reason"].startswith(_REASON))
        slots = [Slot(key, self.order.tellers[key].reader(key)) for key in self.keys]
        try:
            with Workers(slots, count=self.options.workers, limits=self.options.limits) as workers:
                for rows, decoded in self._decoded(source, workers):
                    self._describe(rows, decoded)
                    if len(self._counts.found) >= _ROWS or time.perf_counter() - last > _SECONDS:
                        self._commit()
                        last = time.perf_counter()
                    yield len(rows) + self._passed
                    self._passed = 0
        finally:  # stopped by the user or by an error: keep the finished work
            self._commit()
        refused = [each for each in source.problems() if self.order.ids is None or each.id in self.order.ids]
        self._set_aside([(each.id, each.uri or None, f"{_REASON}{each.reason}") for each in refused])
        self.report.seconds += time.perf_counter() - started
        self.report.notes += [*workers.notes, *self._notes()]

    def _decoded(self, source: Stored, workers: Workers) -> Iterator[tuple[list[Row], list[Decoded]]]:
        waiting: list[list[Row]] = []
        size = self.order.at_once

        def chunks() -> Iterator[list[Job]]:
            rest: list[Row] = []
            for batch in source.batches(_ROWS):
                rest += self._needed(batch)
                while len(rest) >= size:
                    waiting.append(rest[:size])
                    rest = rest[size:]
                    yield self._jobs(waiting[-1])
            if rest:
                waiting.append(rest)
                yield self._jobs(rest)

        for decoded in workers.map(chunks()):
            yield waiting.pop(0), decoded

    def _needed(self, batch: pa.RecordBatch) -> list[Row]:
        """Return the items of a batch that the models have to describe."""
        items = items_of(batch)
        if self.order.ids is not None:
            items = [item for item in items if item.id in self.order.ids]
        column = self.order.column
        names = ["id", "sha256", column, caption.columns_of(self.table.schema)[column]]
        found = self.table.table(names, among("id", [item.id for item in items])).to_pylist() if items else []
        stored = {row["id"]: [row[name] for name in names[1:]] for row in found}
        rows = []
        for item in items:
            key = next((key for key in self.keys if key in keys_of(item.media)), None)
            if key is None:
                self._counts.other += 1
            elif item.id in stored:  # else deleted meanwhile
                sha256, text, by = stored[item.id]
                rows.append(Row(item.id, item.media, key, sha256, text, by))
        needed = [row for row in rows if self._is_needed(row)]
        self._passed += len(items) - len(needed)
        return needed

    def _is_needed(self, row: Row) -> bool:
        found = caption.state(row.caption, row.by, row.sha256, self.order.model(row.key))
        self._counts.current += found is State.CURRENT
        self._counts.own += found is State.OWN
        return found is State.MISSING

    def _jobs(self, rows: Sequence[Row]) -> list[Job]:
        return [Job(row.id, row.media, known=row.sha256, missing=(self.keys.index(row.key),)) for row in rows]

    def _describe(self, rows: Sequence[Row], decoded: Sequence[Decoded]) -> None:
        whole = list(zip(rows, decoded, strict=True))
        for slot, key in enumerate(self.keys):
            part = []
            for row, each in whole:
                if row.key != key:
                    continue
                if (reason := _fault(row, each)) is None:
                    part.append((row, each.media[slot]))
                else:
                    self._fail(row, reason)
            told = describe(self.order.tellers[key], key, [media for _, media in part], beams=self.order.beams)
            for (row, _), (text, why) in zip(part, told, strict=True):
                if why is None:
                    self._counts.found.append((row, text))
                else:
                    self._fail(row, f"{self.order.tellers[key].name}: {why}")

    def _fail(self, row: Row, reason: str) -> None:
        self._counts.bad.append((row.id, uri_of(row.media), f"{_REASON}{reason}"))

    def _commit(self) -> None:
        found, self._counts.found = self._counts.found, []
        if found:
            written = write(self.table, self.order, found)
            self.report.captioned += written
            self._counts.silent += sum(not text for _, text in found)
            self.quarantine.cure([row.id for row, _ in found if row.id in self._failed])
        bad, self._counts.bad = self._counts.bad, []
        self._set_aside(bad)

    def _set_aside(self, bad: list[tuple[str, str | None, str]]) -> None:
        self.quarantine.add(bad)
        self.report.quarantined += len(bad)
        self.report.reasons = merged([*self.report.reasons, *grouped(bad)])

    def _notes(self) -> list[str]:
        counts, keys = self._counts, " or ".join(self.keys)
        said = (
            (counts.current, "captions that are current"),
            (counts.own, "captions of your own, which stay"),
            (counts.silent, "items about which the model said nothing"),
            (counts.other, f"items without the media that the model describes ({keys})"),
        )
        return [f"{what}: {many:,}" for many, what in said if many]


def _fault(row: Row, decoded: Decoded) -> str | None:
    """Return why an item cannot be described, or None."""
    if decoded.reason is not None:
        return decoded.reason
    if row.sha256 is not None and decoded.sha256 != row.sha256:
        return "its files have changed since it was added: add it again"
    return None


def describe(teller: Teller, key: str, batch: Sequence[Any], *, beams: int) -> list[tuple[str, str | None]]:
    """Describe a batch; if that fails, describe its items one by one, so that one bad item does not affect the others.

    Returns:
        The best caption of each input, or an empty string with the reason why there is none.
    """
    if not batch:
        return []
    try:
        told = teller.tell(key, batch, beams=beams, most=1)
        if len(told) != len(batch) or not all(told):
            raise BadData(f"it gave captions for {sum(map(bool, told))} of {len(batch)} inputs")
        texts = [" ".join(each[0].text.split()) for each in told]
        for text in texts:
            text.encode()  # half a character cannot be stored
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        if len(batch) == 1:
            return [("", f"{type(error).__name__}: {error}")]
        return [one for each in batch for one in describe(teller, key, [each], beams=beams)]
    return [(text, None) for text in texts]


def write(table: Table, order: Order, found: Sequence[tuple[Row, str]]) -> int:
    """Commit captions, but not those of rows whose caption or content another writer changed since they were read.

    Returns:
        Number of captions written.
    """
    column, by = order.column, caption.columns_of(table.schema)[order.column]
    before = [row for row, _ in found]
    texts = [text or None for _, text in found]
    origins = [
        str(Provenance.of(order.model(row.key), row.sha256, text)) for row, text in zip(before, texts, strict=True)
    ]
    read = {"sha256": [row.sha256 for row in before], column: [row.caption for row in before]}
    read[by] = [row.by for row in before]

    def change(_: object) -> int:
        ids = pa.array([row.id for row in before], pa.string())
        names = caption.searched(table.schema)
        stored = table.table(["id", "text", "sha256", by, *names], among("id", ids.to_pylist()))
        stored = stored.take(pc.index_in(ids, stored["id"].combine_chunks()))
        new = {"id": ids, column: pa.array(texts, pa.string()), by: pa.array(origins, pa.string())}
        spoken = [pa.chunked_array([new[column]]) if name == column else stored[name] for name in names]
        same = stored["id"].is_valid()
        for name, values in read.items():
            same = pc.and_(same, _equal(stored[name], pa.array(values, pa.string())))
        rows = pa.table({**new, "words": words(stored["text"], spoken)}).filter(same)
        if len(rows):
            table.merge(rows, insert=False)
        return len(rows)

    written: int = table.commit(change)
    return written


def _equal(here: pa.ChunkedArray, there: pa.Array) -> pa.ChunkedArray:
    """Compare two columns of text; null equals null."""
    both_null = pc.and_(here.is_null(), there.is_null())
    return pc.or_(both_null, pc.fill_null(pc.equal(here, there), False))
