"""Ingest: read a source, decode in workers, encode in batches, commit in blocks.

Each block of rows is one atomic commit keyed by id, so a killed run leaves only complete blocks. The same run started
again resumes: an item whose bytes have the stored hash gets only its missing vectors and metadata.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from quiver.engine.core.column import Column
from quiver.engine.core.encoder import Loaded
from quiver.engine.core.vector_check import as_float32, faults
from quiver.engine.ingest.decode import Decoded, Hashed, Job, Slot, unexcused
from quiver.engine.ingest.decode_workers import Workers
from quiver.engine.ingest.known import Known
from quiver.engine.ingest.meta_columns import admit, agree
from quiver.engine.ingest.old_windows import also_whole, said_whole
from quiver.engine.ingest.options import Options
from quiver.engine.ingest.report import Report, changes, grouped, merged, without
from quiver.engine.ingest.row_batch import Block, Changes, Filled
from quiver.engine.ingest.same_files import SameFiles
from quiver.engine.ingest.sync import Seen
from quiver.engine.ingest.watch import Watch
from quiver.engine.ingest.windows import Windows, slots_of
from quiver.engine.source import Source
from quiver.engine.source.roots import real_file
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.quarantine import Quarantine
from quiver.errors import BadSpec, SpaceMismatch, is_panic
from quiver.trust import Reach, folders_of
from quiver.types import Floats, Space, uri_of
from quiver.wording import option

#: Items per decoding task and per forward pass.
CHUNK = 64
#: Rows per commit; a commit of any size takes about 30 ms.
COMMIT_ROWS = 1024
#: Seconds after which an incomplete block is committed, so that a kill loses little work of a slow encoder.
COMMIT_SECONDS = 20.0

#: id, uri and reason of an item that cannot be read.
Bad = tuple[str, str | None, str]


class Ingest:
    """One run of adding a source to a table."""

    def __init__(
        self,
        table: Table,
        encoders: Sequence[Loaded],
        *,
        quarantine: Quarantine,
        options: Options | None = None,
        reach: Reach | None = None,
        ids: set[str] | None = None,
    ) -> None:
        self.table = table
        self.reach = reach
        self._folders: set[str] = set()
        self.encoders = tuple(encoders)
        self.quarantine = quarantine
        self.options = options or Options.of({})
        self.columns = tuple(column for loaded in encoders for column in loaded.columns)
        self.fills = [(loaded, key) for loaded in encoders for key in loaded.encoder.keys]
        self.slots = [Slot(key, loaded.encoder.reader(key)) for loaded, key in self.fills]
        self.report = Report()
        self.seen = Seen()
        self.same = SameFiles(None)
        self.ids = ids
        self._bad: list[Bad] = []
        self._replaced: list[tuple[str, str, str]] = []
        self._renewed = 0
        self._made: set[str] = set()
        self._windows: Windows | None = None
        self._failed: set[str] = set()
        self._partial: dict[tuple[str, str], dict[str, str]] = {}
        self._met: set[int] = set()
        self._watch = Watch(table, self.fills, reach)
        self._chunk = chunk_of(encoders)

    def run(self, source: Source) -> Iterator[int]:
        """Add all items; yields the number of items of each chunk, for a progress bar."""
        with ExitStack() as stack:
            yield from self._run(self._split(source, stack))

    def _split(self, source: Source, stack: ExitStack) -> Source:
        """Return the source with its videos and sounds split into windows, if this add splits them.

        Raises:
            BadSpec: no encoder embeds videos or sounds.
            BadData: columns of windows are taken.
        """
        if self.options.window is None:
            return source
        window, stride = self.options.window
        slots = slots_of([key for _, key in self.fills], window=window, stride=stride)
        if not slots:
            specs = ", ".join(loaded.spec for loaded in self.encoders)
            raise BadSpec(f"window splits videos and sounds, and {specs} embeds neither: choose another encoder")
        if stride > window:
            self.report.notes.append(
                f"windows of {window:g} s every {stride:g} s leave gaps: {stride - window:g} s between two of them are"
                f" in no window; {option('stride', f'{window:g}')} leaves none"
            )
        workers = Workers(slots, count=min(1, self.options.workers), limits=self.options.limits)
        self._windows = Windows(source, self.table, stack.enter_context(workers))
        return self._windows

    def _run(self, source: Source) -> Iterator[int]:
        started = last = time.perf_counter()
        self.table.check_fields([column.field() for column in self.columns])
        self.same = SameFiles.of(self.table, source)
        self.report.notes += agree(self.table, source.schema)
        for loaded in self.encoders:
            self.table.record(loaded.spec, loaded.describe())
        block = Block()
        try:
            with Workers(self.slots, count=self.options.workers, limits=self.options.limits) as workers:
                for known, decoded in self._decoded(source, workers):
                    self._encode(block, known, decoded)
                    if len(block) >= COMMIT_ROWS or time.perf_counter() - last > COMMIT_SECONDS:
                        self._commit(block)
                        last = time.perf_counter()
                    yield len(decoded)
                self._watch.embed_again(workers, self.table)
        except (KeyboardInterrupt, GeneratorExit):  # stopped by the consumer: keep the finished work
            self._commit(block)
            raise
        problems = source.problems()
        self._bad += [(problem.id, problem.uri or None, problem.reason) for problem in problems]
        self._commit(block)
        if self._windows is not None:
            self.report.notes += self._windows.old.settle(self._failed, self.quarantine)
        elif self.report.added:
            self.report.notes += said_whole(also_whole(self.table))
        if self.options.sync:
            self.seen.ids.update(problem.id for problem in problems)
            self.seen.damaged.update(real_file(problem.uri) for problem in problems if problem.uri)
        self.report.seconds = time.perf_counter() - started
        self.report.left_out += source.left_out
        self.report.notes += [
            *source.notes,
            *self.same.notes(),
            *without(self._partial),
            *self._idle(),
            *workers.notes,
            *self._watch.notes(),
            *changes(self._renewed, self._replaced, self.report),
        ]

    def _decoded(self, source: Source, workers: Workers) -> Iterator[tuple[Known, list[Decoded]]]:
        waiting: list[Known] = []

        def chunks() -> Iterator[list[Job]]:
            for batch in source.batches(COMMIT_ROWS):
                rows, problems = admit(batch, self.table.schema)
                self._bad += [(problem.id, problem.uri or None, problem.reason) for problem in problems]
                self.seen.ids.update(problem.id for problem in problems)
                known = Known.look_up(self.table, rows, self.columns)
                kept = self.same.keep_ids(rows, known)
                known = known if kept is None else Known.look_up(self.table, kept, self.columns)
                for start in range(0, len(rows), self._chunk):
                    waiting.append(known.slice(start, self._chunk))
                    if self.options.sync:
                        for item in waiting[-1].items:
                            self.seen.take(item.id, item.media)
                    yield self._jobs(waiting[-1])

        for decoded in workers.map(chunks()):
            yield waiting.pop(0), decoded

    def _jobs(self, known: Known) -> list[Job]:
        has = {column.name: known.has(column.name) for column in self.columns}
        missing: list[list[int]] = [[] for _ in known.items]
        for slot, (loaded, key) in enumerate(self.fills):
            full = np.all([has[name] for name, _ in _targets(loaded, key)], axis=0)
            for n in np.flatnonzero(~full).tolist():
                missing[n].append(slot)
        return [
            Job(item.id, item.media, known.hashes[n], tuple(missing[n]), hashed=self._hashed(item.id))
            for n, item in enumerate(known.items)
        ]

    def _hashed(self, id: str) -> Hashed | None:
        return None if self._windows is None else self._windows.hashed.pop(id, None)

    def _encode(self, block: Block, known: Known, decoded: Sequence[Decoded]) -> None:
        known = known.with_media({n: each.found for n, each in enumerate(decoded) if each.found is not None})
        filled: dict[str, tuple[Sequence[int], Floats]] = {}
        failed = [dict(each.failed) for each in decoded]
        self._met.update(slot for each in decoded for slot in each.media)
        self._met.update(slot for slots in failed for slot in slots)
        for slot, (loaded, key) in enumerate(self.fills):
            rows = [n for n, each in enumerate(decoded) if slot in each.media]
            for name, space in _targets(loaded, key) if rows else ():
                media = [decoded[n].media[slot] for n in rows]
                data, bad = embed(loaded, key, media, space)
                self._watch.see(name, key, space, (data, bad, media))
                for n, reason in bad.items():
                    failed[rows[n]].setdefault(slot, reason)
                good = [n for n in range(len(rows)) if n not in bad]
                filled[name] = ([rows[n] for n in good], data[good] if bad else data)
        reasons = {n: each.reason for n, each in enumerate(decoded) if each.reason is not None}
        reasons |= self._set_aside(known, decoded, failed)
        self._make_room(filled)
        if self.reach is not None:
            self._folders |= folders_of(known.items)
        self._bad += [(known.items[n].id, uri_of(known.items[n].media), why) for n, why in sorted(reasons.items())]
        block.add(known, {n: each.sha256 for n, each in enumerate(decoded) if n not in reasons}, filled)

    def _set_aside(
        self, known: Known, decoded: Sequence[Decoded], failed: Sequence[Mapping[int, str]]
    ) -> dict[int, str]:
        """Return why items are quarantined; note those that are stored without the vectors of an encoder."""
        reasons = {}
        for n in (n for n, slots in enumerate(failed) if slots):
            keys = {slot: self.slots[slot].key for slot in (*decoded[n].media, *failed[n])}
            stored = known.hashes[n] is not None and known.hashes[n] == decoded[n].sha256
            worst = unexcused(keys, failed[n], stored=stored)
            if worst is not None:
                reasons[n] = failed[n][worst]
                continue
            for slot, why in failed[n].items():
                spec, id = self.fills[slot][0].spec, known.items[n].id
                self._partial.setdefault((spec, keys[slot]), {})[id] = why.removeprefix(f"{spec}: ")
        return reasons

    def _idle(self) -> Iterator[str]:
        """Yield a note for each encoder that had nothing to embed, if items were added."""
        met = {self.fills[slot][0].spec for slot in self._met}
        for loaded in self.encoders if self.report.added else ():
            if loaded.encoder.keys and loaded.spec not in met:
                keys = " and ".join(loaded.encoder.keys)
                yield f"{loaded.spec} embedded nothing: it embeds {keys}, and no item of this add has such media"

    def _make_room(self, filled: Filled) -> None:
        """Create the columns that get their first vectors; the planner would take an empty column for a route."""
        new = {name: column.field() for column in self.columns if (name := column.name) in filled}
        if new.keys() - self._made:
            self.table.add_fields(list(new.values()))
            self._made |= new.keys()

    def _commit(self, block: Block) -> None:
        if self.reach is not None:
            self.reach.add(self._folders)
        done = commit(self.table, block, self.report)
        if self.ids is not None:
            self.ids.update(block.ids)
        self.quarantine.cure(block.ids)
        self.quarantine.add(self._bad)
        self.report.quarantined += len(self._bad)
        self.report.reasons = merged([*self.report.reasons, *grouped(self._bad)])
        self._failed.update(id for id, _, _ in self._bad if self._windows is not None)
        self._bad = []
        self._renewed += done.renewed
        self._replaced += done.replaced
        block.reset()


def chunk_of(encoders: Sequence[Loaded]) -> int:
    """Return the number of items that are decoded and embedded together: more for large batches and many devices."""
    sizes = [
        (getattr(loaded.encoder, "at_once", None) or CHUNK) * getattr(loaded.encoder, "together", 1)
        for loaded in encoders
    ]
    return int(min(max([CHUNK, *sizes]), COMMIT_ROWS))


def _targets(loaded: Loaded, key: str) -> list[tuple[str, Space]]:
    return [(Column(key, space, loaded.spec).name, space) for space in loaded.encoder.spaces(key)]


def commit(table: Table, block: Block, report: Report) -> Changes:
    """Write a block and count its changes: one commit for new rows, and one for each set of columns to fill.

    The rows to write depend on the stored rows, which are read under the write lock. If another writer commits first
    all the same, they are determined again; to write the same rows twice does no harm.

    Returns:
        The changes that were written.
    """
    counted: Changes | None = None

    def change(dataset: Any) -> None:
        nonlocal counted
        made = block.changes(table)
        for rows, insert in made.steps:
            done = table.merge(rows, insert=insert)
            counted = counted or made
            if insert:
                report.added += done["num_inserted_rows"]
                report.updated += done["num_updated_rows"]
        counted = counted or made

    if not len(block):
        return Changes(table.schema)
    table.commit(change)
    assert counted is not None, "a change that is committed was made"
    report.updated += counted.touched
    report.moved += counted.moved
    report.embedded += counted.embedded
    report.unchanged += counted.unchanged
    return counted


def embed(
    loaded: Loaded, key: str, batch: Sequence[Any], space: Space, *, queries: bool = False
) -> tuple[Floats, dict[int, str]]:
    """Embed a batch; if that fails, embed its items one by one, so that one bad item does not affect the others.

    Args:
        loaded: the encoder.
        key: the key to embed.
        batch: n outputs of its reader.
        space: the space to embed into.
        queries: whether they are queries rather than items to be stored.

    Returns:
        (n, dim) float32, and by position the reason why an item has no vector.
    """
    try:
        by = loaded.embed_query if queries else loaded.encoder.embed
        data = as_float32(by(key, batch, space))
        if data.shape != (len(batch), space.dim):
            raise SpaceMismatch(f"{space} takes ({len(batch)}, {space.dim}) vectors, not {data.shape}")
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        if len(batch) == 1:
            return np.zeros((1, space.dim), np.float32), {0: f"{loaded.spec}: {type(error).__name__}: {error}"}
        alone = [embed(loaded, key, [one], space, queries=queries) for one in batch]
        reasons = {n: bad[0] for n, (_, bad) in enumerate(alone) if bad}
        return np.concatenate([data for data, _ in alone]), reasons
    return data, {n: f"{loaded.spec}: {reason}" for n, reason in faults(data, space.metric).items()}
