"""Build an index of one column, tune it to a recall target if asked, and publish it; the old one serves until then."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from quiver import registry
from quiver.engine.core.column import Column, Derived
from quiver.engine.execution.session import Session
from quiver.engine.statistics import recall_curves
from quiver.engine.statistics.recall_curves import Promise
from quiver.engine.storage.dataset import Fragment
from quiver.engine.tuning import calibration, index_choice
from quiver.engine.tuning.index_choice import Updates
from quiver.engine.tuning.index_tuning import Want, measure
from quiver.errors import BadSpec, QuiverError
from quiver.records import BuiltIndex, IndexSetting, RecallTarget

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Order:
    """A request for an index.

    Attributes:
        kind: of index; None chooses the best.
        options: build options.
        want: its recall target; None for no target.
        memory: limit in bytes; None for most of the free memory.
        updates: how often vectors change.
    """

    kind: str | None
    options: Mapping[str, str] = field(default_factory=dict)
    want: Want | None = None
    memory: int | None = None
    updates: Updates = "rare"


def each(session: Session, spaces: Sequence[str], do: Callable[[Session, Column | Derived], list[Made]]) -> list[Made]:
    """Apply a function to every searchable column, or to those of some spaces, and return the results.

    Raises:
        BadSpec: there is no such column, or it failed for some columns; the others are done all the same.
    """
    columns = session.graph.searched(spaces)
    if not columns:
        raise BadSpec(_nothing(session, spaces))
    done, problems = [], []
    for column in columns:
        try:
            done.append(do(session, column))
        except QuiverError as error:
            problems.append(str(error))
    session.refresh()
    session.forget()
    if problems:
        well = f"{len(done)} of {len(columns)} columns are done; " if len(columns) > 1 else ""
        raise BadSpec(well + "; ".join(problems))
    return [found for some in done for found in some]


def _nothing(session: Session, spaces: Sequence[str]) -> str:
    """Explain that there is nothing to index, and name the computed spaces that a scorer recalls by."""
    if spaces:
        return f"there are no vectors to index in {', '.join(spaces)}"
    computed = {derived.space.name for derived in session.graph.derived}
    recalled = {space.name for c in session.graph.compositions for recipe in c.recalls for space in recipe.spaces}
    if not (names := sorted(computed & recalled)):
        return "there are no vectors to index"
    return f"there are no vectors to index; a scorer can recall by the computed space {names[0]}: index it by its name"


def build(session: Session, column: Column | Derived, kind: str, options: Mapping[str, str]) -> BuiltIndex:
    """Build one index of a given kind and describe it; see ``fill``."""
    return fill(session, column, Order(kind, options))


def fill(session: Session, column: Column | Derived, order: Order) -> BuiltIndex:
    """Build one index and describe it: column, kind, options, vectors, seconds, and its recall target if it has one.

    An index that replaces one with a recall target gets the same target, measured again.

    Raises:
        BadSpec: there is no such kind, it takes no such option, needs no building, or needs more memory than there is.
    """
    if order.kind == "exact":
        raise BadSpec("exact needs no index: it scans the vectors")
    started = perf_counter()
    chosen = _choose(session, column, order)
    made = BuiltIndex(str(column), chosen.kind, dict(chosen.options), chosen.why, 0, 0.0, None)
    if chosen.kind == "exact":
        return replace(made, vectors=session.rows(column))
    before = session.promises(column).get(chosen.kind)
    make = _build_lance if chosen.kind == "lance" else _build_file
    count = make(session, column, chosen.kind, chosen.options)
    session.refresh()
    session.forget()
    built = perf_counter()
    want = order.want or (again(session, column, before, seed=before.version) if before is not None else None)
    kept = _promise(session, column, chosen, want, order.memory) if want is not None and count > 1 else None
    measured = round(perf_counter() - built, 3)
    return replace(made, vectors=count, seconds=round(built - started, 3), promise=kept, measured=measured)


def _choose(session: Session, column: Column | Derived, order: Order) -> index_choice.Choice:
    rows, memory = session.rows(column), order.memory
    if order.kind is None:
        measured = calibration.calibrated()
        return index_choice.choose(column.space, rows, machine=measured, memory=memory, updates=order.updates)
    return index_choice.admit(column.space, rows, order.kind, order.options, memory=memory, machine=session.machine)


def _promise(
    session: Session, column: Column | Derived, chosen: index_choice.Choice, want: Want, memory: int | None
) -> RecallTarget:
    exact = chosen.kind != "lance" or index_choice.resident(column.space, session.rows(column), memory)
    return brief(renew(session, column, chosen.kind, want, options=chosen.options, exact=exact))


def renew(
    session: Session, column: Column | Derived, kind: str, want: Want, *, options: Mapping[str, str], exact: bool
) -> Promise:
    """Measure an index; store its recall curves, and the given queries for the next measurement."""
    made, sample = measure(session, column, kind, want, options=options, exact=exact)
    path = session.cache.queries(column, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    if want.queries is None:
        path.unlink(missing_ok=True)
    else:
        np.save(path, sample.vectors, allow_pickle=False)
    recall_curves.write(session.cache.promise(column, kind), made)
    session.forget()
    return made


def again(session: Session, column: Column | Derived, before: Promise, *, seed: int) -> Want:
    """Return the recall target of an index, to be measured again with the stored queries or with new ones."""
    kept = session.cache.queries(column, before.kind)
    return Want(before.recall, before.k, kept if kept.exists() else None, before.asked, seed)


def brief(made: Promise) -> RecallTarget:
    """Describe a recall target: value, evidence, state, and the settings for each selectivity."""
    settings = []
    for curve in made.curves:
        offer = made.offer(curve.depth, curve.selectivity)
        point = curve.at(offer.spend) if offer is not None else None
        best = max((each.recall for each in curve.points), default=None)
        settings.append(
            IndexSetting(
                k=curve.depth,
                selectivity=curve.selectivity,
                spend=None if point is None else dict(point.spend),
                recall=best if point is None else point.recall,
                error=None if point is None else point.error,
                ms=None if point is None else point.cost.alone,
                exact_ms=curve.exact.alone,
            )
        )
    return RecallTarget(
        made.recall, made.k, made.state(), made.source, made.at, made.rows, made.changed, tuple(settings)
    )


def _build_lance(session: Session, column: Column | Derived, kind: str, options: Mapping[str, str]) -> int:
    if isinstance(column, Derived):
        raise BadSpec(f"{column}: lance indexes stored columns only, and a bridge computes this one: use faiss")
    module = registry.module("indexers", kind)
    values = registry.convert(module.over, dict(options), name=kind)
    session.table.commit(lambda dataset: module.over(dataset, column.name, column.space, **values), alone=False)
    session.cache.promise(column, kind).unlink(missing_ok=True)
    return session.rows(column)


def _build_file(session: Session, column: Column | Derived, kind: str, options: Mapping[str, str]) -> int:
    module = registry.module("indexers", kind)
    values = registry.convert(module.build, dict(options), name=kind)
    resident = session.resident(column)
    fragments = session.table.fragments(column.stored.name)
    vectors = resident.read()
    index = module.build(vectors, **values)
    note = {**covered(session.table.version, fragments), "options": dict(options), "vectors": len(vectors)}
    session.cache.save(column, kind, index, note)
    resident.forget(kind)
    return len(vectors)


def covered(version: int, fragments: Mapping[int, Fragment]) -> dict[str, Any]:
    """Describe the contents of an index: the version it was built from, and the files and rows of each fragment."""
    return {
        "version": version,
        "files": {number: fragment.files for number, fragment in fragments.items()},
        "counts": {number: fragment.handle.count_rows() for number, fragment in fragments.items()},
    }
