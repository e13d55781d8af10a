"""Check a recall target with fresh queries and the settings that plans use; tune the index again if it misses."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from quiver.engine.core.column import Column, Derived
from quiver.engine.execution.session import Session
from quiver.engine.statistics.recall_curves import DRIFT, Promise, write
from quiver.engine.tuning.index_build import again, brief, renew
from quiver.engine.tuning.index_tuning import SURE, Measurement
from quiver.engine.tuning.sample_queries import draw
from quiver.records import CheckedIndex, MeasuredRecall

#: The kind of index that absorbs rows when they are added; others are rebuilt.
TAKES_IN = "lance"


def check(session: Session, column: Column | Derived, *, kinds: Sequence[str] = ()) -> list[CheckedIndex]:
    """Check the recall targets of a column, or of some kinds of index.

    A target is missed if the measured recall is significantly below it (95 %, one-sided).

    Returns:
        For each index: column, kind, recall promised, recall found for each depth and selectivity, whether the promise
        was kept, and what it is now.
    """
    promises = session.promises(column).values()
    return [_check(session, column, promise) for promise in promises if not kinds or promise.kind in kinds]


def promised(session: Session) -> list[str]:
    """Return the names of the spaces, stored or computed, whose indexes have recall targets."""
    columns = (*session.graph.searched(), *session.graph.derived)
    return sorted({column.space.name for column in columns if session.promises(column)})


def questioned(session: Session) -> list[Column]:
    """Return the columns whose index absorbed so many rows that its recall target is in doubt."""
    kept = ((column, session.promises(column).get(TAKES_IN)) for column in session.graph.columns)
    return [column for column, promise in kept if promise is not None and promise.changed > DRIFT]


def _check(session: Session, column: Column | Derived, promise: Promise) -> CheckedIndex:
    want = again(session, column, promise, seed=session.table.version + int(datetime.now(UTC).timestamp()))
    sample = draw(session, column, want.queries, count=promise.asked, seed=want.seed)
    bench = Measurement(session.resident(column), promise.kind, sample, exact=promise.resident, seed=want.seed)
    found = []
    for curve in promise.curves:
        offer = promise.offer(curve.depth, curve.selectivity)
        if offer is not None:
            (point,) = bench.points(curve.depth, curve.selectivity, [offer.spend])
            short = point.recall + SURE * point.error < promise.recall
            found.append(MeasuredRecall(curve.depth, curve.selectivity, point.recall, short))
    kept = not any(each.short for each in found)
    if kept:
        now = replace(
            promise,
            version=session.table.version,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            rows=len(bench.rows),
            fragments=session.fragments(column),
            changed=0.0,
        )
        write(session.cache.promise(column, promise.kind), now)
        session.forget()
    else:
        now = renew(session, column, promise.kind, want, options=promise.options, exact=promise.resident)
    return CheckedIndex(str(column), promise.kind, promise.recall, promise.state(), tuple(found), kept, brief(now))
