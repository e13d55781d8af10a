"""Summary of a collection."""

from dataclasses import fields

from quiver.engine.core.column import Column
from quiver.engine.core.sql import Sql, both, present
from quiver.engine.execution.session import Session
from quiver.engine.statistics.score_thresholds import ScoreThreshold
from quiver.engine.storage.quarantine import Quarantine
from quiver.engine.storage.table_reader import TableReader
from quiver.engine.tuning.index_build import brief
from quiver.engine.tuning.maintenance import lag
from quiver.records import ColumnSummary, IndexLag, Quarantined, Summary, ThresholdSummary, Windows
from quiver.types import MEDIA


def summary(uri: str, session: Session, quarantine: Quarantine) -> Summary:
    """Describe items, windows, spaces, encoders, metadata, indexes with recall targets, thresholds and quarantine."""
    table = session.table
    media = {name: session.count(present(name)) for name in MEDIA}
    return Summary(
        uri=uri,
        version=table.version,
        items=session.count(None),
        media={name: count for name, count in media.items() if count},
        windows=_windows(table),
        columns=[_describe(session, column) for column in session.graph.columns],
        encoders={spec: sorted(described["keys"]) for spec, described in table.encoders.items()},
        scorers=[str(composition) for composition in session.graph.compositions],
        meta={name: str(table.schema.field(name).type) for name in table.meta},
        quarantine=[Quarantined(row["id"], row["uri"], row["reason"], str(row["at"])) for row in quarantine.rows()],
        thresholds=sorted(map(_threshold, session.thresholds().values()), key=lambda each: each.kind),
    )


def _threshold(found: ScoreThreshold) -> ThresholdSummary:
    kept = (each.name for each in fields(ThresholdSummary) if each.name != "promise")
    return ThresholdSummary(**{name: getattr(found, name) for name in kept}, promise=found.promise())


def _windows(table: TableReader) -> Windows:
    """Count the windows of videos and sounds, and their films."""
    if not {"film", "start", "end"} <= set(table.meta):
        return Windows()
    films = table.read(["film"], where=both(present("film", "start", "end"), Sql("`id` LIKE '%#t=%'")))["film"]
    return Windows(len(films), len(films.unique()))


def _describe(session: Session, column: Column) -> ColumnSummary:
    space = column.space
    found = ((kind, lag(session, column, kind)) for kind in session.cache.kinds(column))
    states = [(kind, state) for kind, state in found if state is not None]
    return ColumnSummary(
        key=column.key,
        space=space.name,
        dim=space.dim,
        metric=space.metric,
        revision=space.revision,
        default=session.graph.default(column.key) == column,
        encoder=column.encoder,
        indexes=["exact", *session.built(column)],
        behind={kind: IndexLag(state.tail, state.dead, state.behind) for kind, state in states},
        promises={kind: brief(made) for kind, made in session.promises(column).items()},
    )
