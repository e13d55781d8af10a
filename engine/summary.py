"""Summary of a collection as JSON-able values."""

from typing import Any

from quiver.engine.core.column import Column
from quiver.engine.core.sql import Sql, both, present
from quiver.engine.execution.session import Session
from quiver.engine.storage.quarantine import Quarantine
from quiver.engine.storage.table_reader import TableReader
from quiver.engine.tuning.index_build import brief
from quiver.engine.tuning.maintenance import lag
from quiver.types import MEDIA


def summary(uri: str, session: Session, quarantine: Quarantine) -> dict[str, Any]:
    """Describe items by key, windows, spaces, encoders, metadata, indexes with their recall targets, quarantine."""
    table = session.table
    media = {name: session.count(present(name)) for name in MEDIA}
    return {
        "uri": uri,
        "version": table.version,
        "items": session.count(None),
        "media": {name: count for name, count in media.items() if count},
        "windows": _windows(table),
        "columns": [_describe(session, column) for column in session.graph.columns],
        "encoders": {spec: sorted(described["keys"]) for spec, described in table.encoders.items()},
        "scorers": [str(composition) for composition in session.graph.compositions],
        "meta": {name: str(table.schema.field(name).type) for name in table.meta},
        "quarantine": [
            {name: str(row[name]) if name == "at" else row[name] for name in ("id", "uri", "reason", "at")}
            for row in quarantine.rows()
        ],
    }


def _windows(table: TableReader) -> dict[str, int]:
    """Count the windows of videos and sounds, and their films."""
    if not {"film", "start", "end"} <= set(table.meta):
        return {"count": 0, "films": 0}
    films = table.read(["film"], where=both(present("film", "start", "end"), Sql("`id` LIKE '%#t=%'")))["film"]
    return {"count": len(films), "films": len(films.unique())}


def _describe(session: Session, column: Column) -> dict[str, Any]:
    space = column.space
    found = ((kind, lag(session, column, kind)) for kind in session.cache.kinds(column))
    states = [(kind, state) for kind, state in found if state is not None]
    return {
        "key": column.key,
        "space": space.name,
        "dim": space.dim,
        "metric": space.metric,
        "revision": space.revision,
        "default": session.graph.default(column.key) == column,
        "encoder": column.encoder,
        "indexes": ["exact", *session.built(column)],
        "behind": {kind: {"tail": state.tail, "dead": state.dead, "share": state.behind} for kind, state in states},
        "promises": {kind: brief(made) for kind, made in session.promises(column).items()},
    }
