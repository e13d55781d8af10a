"""Add ready-made vectors, without decoding or encoding."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quiver.engine.core.column import Column
from quiver.engine.core.sql import among
from quiver.engine.core.vector_check import faults
from quiver.engine.ingest.known import Known
from quiver.engine.ingest.meta_columns import admit, agree
from quiver.engine.ingest.pipeline import COMMIT_ROWS, commit
from quiver.engine.ingest.report import Report, grouped, merged
from quiver.engine.ingest.row_batch import Block, Filled
from quiver.engine.ingest.vector_health import Health
from quiver.engine.source import GivenVectors, Problem, Rows, VectorSource
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.quarantine import Quarantine
from quiver.trust import Reach, folders_of
from quiver.types import MEDIA, Floats, Metric


def take_vectors(
    table: Table,
    source: VectorSource | GivenVectors | Rows,
    column: Column,
    report: Report,
    *,
    quarantine: Quarantine,
    reach: Reach | None = None,
) -> Iterator[int]:
    """Add ready-made vectors, without decoding or encoding; yields the number of items of each batch.

    Raises:
        BadData: the space has another dimension or metric, or metadata cannot be stored; see ``agree``.
    """
    started = time.perf_counter()
    table.check_fields([column.field()])
    report.notes += agree(table, source.schema)
    block, replaced, kept, health = Block(), 0, 0, Health(str(column))
    for batch in source.batches(COMMIT_ROWS * 4):
        rows, problems = _comparable(*admit(batch, table.schema), column.space.metric)
        if len(rows) and column.name not in table.schema.names:
            table.add_fields([column.field()])
        known = Known.look_up(table, rows, (column,))
        if reach is not None and any(rows[name].null_count < len(rows) for name in MEDIA if name != "text"):
            reach.add(folders_of(known.items))
        kept += int((known.other_media & known.stored["sha256"].is_valid().to_numpy()).sum())
        data = _matrix(rows)
        news = _unlike_stored(table, known, column, data)
        replaced += int(known.has(column.name)[news].sum())
        filled: Filled = {column.name: (news, data[news])}
        health.see(data[news])
        block.add(known, dict.fromkeys(range(len(rows))), filled)
        commit(table, block, report)
        quarantine.cure(block.ids)
        _set_aside(quarantine, problems, report)
        block.reset()
        yield len(batch)
    _set_aside(quarantine, source.problems(), report)
    report.notes += [*source.notes, *health.problems()]
    if replaced:
        many = "1 item has a new vector" if replaced == 1 else f"{replaced:,} items have new vectors"
        report.notes += (f"{many} in {column.space.name}, in place of the stored: ids decide which items are the same",)
    if kept:
        many = "1 item was" if kept == 1 else f"{kept:,} items were"
        report.notes += (f"{many} added from files or texts before and keeps that content; `add` changes it",)
    report.seconds = time.perf_counter() - started


def _matrix(rows: pa.RecordBatch) -> Floats:
    data: Floats = rows["vector"].flatten().to_numpy().reshape(len(rows), rows["vector"].type.list_size)
    return data


def _comparable(rows: pa.RecordBatch, problems: list[Problem], metric: Metric) -> tuple[pa.RecordBatch, list[Problem]]:
    """Leave out rows whose vectors cannot be indexed."""
    bad = faults(_matrix(rows), metric) if len(rows) else {}
    if not bad:
        return rows, problems
    ids, keep = rows["id"], np.ones(len(rows), bool)
    keep[list(bad)] = False
    return rows.filter(pa.array(keep)), problems + [Problem(ids[n].as_py(), "", why) for n, why in bad.items()]


def _set_aside(quarantine: Quarantine, problems: Sequence[Problem], report: Report) -> None:
    bad = [(problem.id, problem.uri or None, problem.reason) for problem in problems]
    quarantine.add(bad)
    report.quarantined += len(bad)
    report.reasons = merged([*report.reasons, *grouped(bad)])


def _unlike_stored(table: Table, known: Known, column: Column, data: Floats) -> list[int]:
    """Return the positions whose vector is not stored already."""
    held = np.flatnonzero(known.has(column.name))
    if not len(held):
        return list(range(len(data)))
    ids = known.batch["id"].take(held)
    found = table.read(["id", column.name], where=among("id", ids.to_pylist()))
    order = pc.index_in(ids, found["id"].combine_chunks())
    stored = found[column.name].combine_chunks().flatten().to_numpy().reshape(len(found), -1)[order.to_numpy()]
    same = held[(stored == data[held]).all(axis=1)]
    return sorted(set(range(len(data))).difference(same.tolist()))
