"""Check of the stored vectors of a collection: see ``vector_health``."""

import numpy as np

from quiver.engine.core.column import Column
from quiver.engine.core.sql import among, present
from quiver.engine.execution.session import Session
from quiver.engine.ingest.decode import Slot, decode
from quiver.engine.ingest.vector_health import Health
from quiver.engine.ingest.watch import Again
from quiver.errors import BadSpec, QuiverError
from quiver.records import VectorHealth
from quiver.types import MEDIA, Rows


def check(session: Session, *, sample: int, again: int) -> list[VectorHealth]:
    """Check every stored column; see ``Collection.check_vectors``."""
    for name, value in (("sample", sample), ("again", again)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BadSpec(f"{name} must be a whole number of at least 0, not {value!r}")
    return [_check(session, column, sample, again) for column in session.graph.columns]


def _check(session: Session, column: Column, sample: int, again: int) -> VectorHealth:
    rows = session.table.rows(present(column.name))
    health = Health(f"{column.key} in {column.space.name}")
    problems: list[str] = []
    some = _some(rows, sample)
    if column.space not in session.graph.features and len(some):
        vectors = session.resident(column).take(some)
        health.see(vectors.data, _contents(session, column, vectors.rows))
    if again and len(rows) and column.encoder is not None:
        try:
            health.again = _again(session, column, _some(rows, again))
        except QuiverError as error:  # no weights here, or the encoder has changed
            problems.append(f"{column.key} in {column.space.name} cannot be embedded again: {error}")
    return VectorHealth(
        key=column.key,
        space=column.space.name,
        sampled=health.count,
        cosine=health.cosine,
        alike=health.alike,
        again=health.again,
        problems=[*health.problems(), *problems],
    )


def _contents(session: Session, column: Column, rows: Rows) -> list[str]:
    """Return what tells the content of each row from that of others: its text, or the hash of its files, or its id."""
    ids = {row: item["id"] for row, item in session.items(rows).items()}
    kept = "text" if column.key == "text" else "sha256"
    found = session.table.table(["id", kept], among("id", list(ids.values())))
    contents = dict(zip(found["id"].to_pylist(), found[kept].to_pylist(), strict=True))
    return [contents.get(id := ids[int(row)]) or id for row in rows]


def _some(rows: Rows, count: int) -> Rows:
    """Return at most ``count`` rows, evenly spread."""
    if len(rows) <= count:
        return rows
    chosen: Rows = rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)] if count else rows[:0]
    return chosen


def _again(session: Session, column: Column, rows: Rows) -> dict[str, float]:
    assert column.encoder is not None, "ready-made vectors have none"
    loaded = session.encoder(column.encoder)
    ids = [item["id"] for item in session.items(rows).values()]
    found = session.table.table(["id", *MEDIA, "sha256", column.name], among("id", ids))
    stored = Again(column, 0, found, session.rules())
    slot = Slot(column.key, loaded.encoder.reader(column.key))
    return stored.compare([decode(job, [slot]) for job in stored.jobs], loaded)
