"""Windows: long videos and sounds become items of their own, each with its film, its first and its last second.

The window from 10 to 20 s of ``films/long.mp4`` is the item ``films/long.mp4#t=10,20``, and its reference is that
moment of the file. Each film is measured and hashed once, in a worker process, before its windows are decoded.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from quiver.engine.core.metadata import describe
from quiver.engine.ingest.decode import Decoded, Hashed, Job, Slot, stamps, with_text
from quiver.engine.ingest.decode_workers import Workers
from quiver.engine.ingest.old_windows import Film, OldWindows
from quiver.engine.source.record import LeftOut, Problem, Source, columns, rebatch
from quiver.engine.storage.dataset import Table
from quiver.errors import BadData
from quiver.media import digests, length, moment, split, times
from quiver.media.windows import Span
from quiver.types import MEDIA

#: Metadata of a window: the id of its film, its first and its last second.
FIELDS = pa.schema([("film", pa.string()), ("start", pa.float64()), ("end", pa.float64())])
#: Media that are split, the first of them deciding on the times.
SPLIT = ("video", "audio")
#: Films that are measured before their windows go on.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Cut:
    """The windows of a film, their hashes, and the stamps of its file when they were read."""

    spans: Sequence[Span]
    hashes: Sequence[str]
    stamps: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, fields: Any) -> "Cut | None":
        """Return the answer of a ``SplitReader``; None if it does not have the form of one."""
        try:
            spans, hashes, stamped = fields
            whole = len(spans) == len(hashes) and all(
                isinstance(start, float) and isinstance(stop, float) and 0 <= start <= stop < math.inf
                for start, stop in spans
            )
            whole = whole and all(isinstance(each, str) and len(each) == 64 for each in hashes)
            whole = whole and all(isinstance(time, int) and isinstance(size, int) for time, size in stamped)
        except (TypeError, ValueError):
            return None
        return cls(spans, hashes, tuple(stamped)) if whole else None


@dataclass(frozen=True, slots=True)
class SplitReader:
    """Reads how a film is split; runs in a worker process.

    Attributes:
        key: ``video`` or ``audio``.
        window: length of a window (s).
        stride: seconds from one window to the next.
    """

    key: str
    window: float
    stride: float

    def __call__(self, source: Any) -> tuple[list[Span], list[str], tuple[tuple[int, int], ...]]:
        """Return the fields of a ``Cut``, plain: the windows of a file or a moment, in seconds of the file."""
        whole, first, _ = times(source)
        now = stamps({self.key: whole})
        made = split(length(source, self.key), window=self.window, stride=self.stride)
        spans = [(round(first + start, 6), round(first + stop, 6)) for start, stop in made]
        return spans, list(digests(whole, spans)), now


@dataclass(slots=True)
class Windows:
    """A source whose videos and sounds are split; its other items stay as they are.

    Attributes:
        source: the source of the films.
        table: the collection.
        workers: one worker process, with a ``SplitReader`` for each of the media that are split.
        hashed: content hashes of windows by id, until they are decoded.
        old: stored windows of the same films.
    """

    source: Source
    table: Table
    workers: Workers
    hashed: dict[str, Hashed] = field(default_factory=dict)
    old: OldWindows = field(init=False)
    _problems: list[Problem] = field(default_factory=list)
    _count: int = 0
    _films: int = 0
    _bare: int = 0

    def __post_init__(self) -> None:
        self.old = OldWindows(self.table)
        check_columns(self.source.schema, self.table.schema)

    @property
    def total(self) -> None:
        """The number of windows is not known before the films are measured."""
        return

    @property
    def schema(self) -> pa.Schema:
        """The metadata columns of the films, and film, start and end."""
        return pa.schema([*self.source.schema, *FIELDS])

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the source, and the number of windows."""
        films = "1 film makes" if self._films == 1 else f"{self._films:,} films make"
        made = [f"{films} {self._count:,} window{'' if self._count == 1 else 's'}"] if self._films else []
        if self._bare:
            made.append(f"{self._bare:,} films have pictures beside them, which their windows do not get")
        return (*self.source.notes, *made)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files and rows that are not items."""
        return tuple(self.source.left_out)

    def problems(self) -> list[Problem]:
        """Return the problems of the source, and the films that cannot be split."""
        return [*self.source.problems(), *self._problems]

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """Yield windows, and items that are not split."""
        yield from rebatch(self._records(size), size)

    def _records(self, size: int) -> Iterator[pa.RecordBatch]:
        keys = [slot.key for slot in self.workers.slots]
        for batch in self.source.batches(size):
            held = [batch.column(key).to_pylist() for key in keys]
            media = [
                {key: each for key, each in zip(keys, row, strict=True) if each} for row in zip(*held, strict=True)
            ]
            whole = [n for n, own in enumerate(media) if not own]
            if whole:
                yield self._with_fields(batch.take(pa.array(whole)), [None] * len(whole), [None] * len(whole))
            films = [n for n, own in enumerate(media) if own]
            for start in range(0, len(films), _AT_ONCE):
                part = films[start : start + _AT_ONCE]
                yield from self._split(batch.take(pa.array(part)), [media[n] for n in part])

    def _split(self, batch: pa.RecordBatch, media: Sequence[Mapping[str, str]]) -> Iterator[pa.RecordBatch]:
        """Yield the windows of some films, each of them a row of a batch."""
        ids = batch.column("id").to_pylist()
        first = [dict([next(iter(held.items()))]) for held in media]
        # Its reader hashes the windows, so the film as a whole needs no hash.
        jobs = [Job(id, own, hashed=Hashed("", stamps(own))) for id, own in zip(ids, first, strict=True)]
        found = [each for chunk in self.workers.map([job] for job in jobs) for each in chunk]
        films = []
        for n, (decoded, job) in enumerate(zip(found, jobs, strict=True)):
            fields = next(iter(decoded.media.values()), None)
            cut = None if fields is None else Cut.of(fields)
            if decoded.reason is not None or (fields is not None and cut is None):
                reason = decoded.reason or "its windows could not be read"
                self._problems.append(Problem(decoded.id, next(iter(job.media.values())), reason))
            elif cut is None:  # it has only sound, and no encoder embeds sounds
                yield self._with_fields(batch.slice(n, 1), [None], [None])
            else:
                yield (windows := self._windows(batch.slice(n, 1), decoded, cut))
                films.append(Film(_film_id(decoded.id), next(iter(job.media.values())), windows.column("id")))
        self.old.look_up(films)

    def _windows(self, row: pa.RecordBatch, decoded: Decoded, cut: Cut) -> pa.RecordBatch:
        own = decoded.found or {name: row.column(name)[0].as_py() for name in MEDIA}
        film, text = _film_id(decoded.id), row.column("text")[0].as_py()
        references = {name: times(own[name])[0] for name in SPLIT if own.get(name)}
        rows = row.take(pa.array([0] * len(cut.spans)))
        arrays = {name: pa.nulls(len(rows), pa.string()) for name in MEDIA if name != "text"}
        for name, reference in references.items():
            arrays[name] = pa.array([moment(reference, *span) for span in cut.spans], pa.string())
        arrays["id"] = pa.array([moment(film, *span) for span in cut.spans], pa.string())
        for name, values in arrays.items():
            rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
        if len(references) == 1:
            made = zip(arrays["id"].to_pylist(), cut.hashes, strict=True)
            self.hashed |= {id: Hashed(with_text(each, text), cut.stamps) for id, each in made}
        self._films, self._count = self._films + 1, self._count + len(rows)
        self._bare += any(row.column(name)[0].is_valid for name in ("image", "before"))
        return self._with_fields(rows, [film] * len(rows), cut.spans)

    def _with_fields(
        self, rows: pa.RecordBatch, films: Sequence[str | None], spans: Sequence[Span | None]
    ) -> pa.RecordBatch:
        starts, ends = ([None if span is None else span[n] for span in spans] for n in (0, 1))
        made = [pa.array(each, kind) for each, kind in zip((films, starts, ends), FIELDS.types, strict=True)]
        return pa.RecordBatch.from_arrays([*rows.columns, *made], schema=columns(self.schema))


def slots_of(keys: Sequence[str], *, window: float, stride: float) -> list[Slot]:
    """Return what measures the films of some media."""
    return [Slot(key, SplitReader(key, window, stride)) for key in SPLIT if key in keys]


def check_columns(given: pa.Schema, stored: pa.Schema) -> None:
    """Check that the columns film, start and end are free for windows.

    Raises:
        BadData: the source has one of its own, or the collection has one of another type.
    """
    for each in FIELDS:
        if each.name in given.names:
            raise BadData(
                f"the table has a column {each.name}, which window fills with {_meaning(each.name)}: rename yours"
            )
        here = stored.field(each.name).type if each.name in stored.names else each.type
        fits = pt.is_string(here) if pt.is_string(each.type) else pt.is_floating(here) or pt.is_integer(here)
        if not fits:
            raise BadData(
                f"the collection has a column {each.name} of {describe(here)}, which window needs for"
                f" {_meaning(each.name)}: make a collection of its own for the windows"
            )


def _meaning(name: str) -> str:
    return "the id of the film" if name == "film" else "seconds"


def _film_id(id: str) -> str:
    """Return the id of the film; a film that is itself a moment of a file, ``long.mp4#t=60,120``, is part of it."""
    return times(id)[0]
