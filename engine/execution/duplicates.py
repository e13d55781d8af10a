"""Near-duplicates in a collection: files with equal content, and vectors that are almost equal."""

import numpy as np
import pyarrow.compute as pc

from quiver.engine.core.column import Column
from quiver.engine.core.graph import is_named, listed
from quiver.engine.core.near_duplicates import leaders, unit
from quiver.engine.core.sql import Sql
from quiver.engine.execution.session import Session
from quiver.errors import BadSpec
from quiver.query_checks import is_number
from quiver.records import DuplicateGroup, Duplicates
from quiver.types import KEYS, Floats, Rows
from quiver.wording import option


def duplicates(
    session: Session, *, space: str | None, key: str | None, threshold: float, where: Sql | None
) -> Duplicates:
    """Find groups of near-duplicates; see ``Collection.duplicates``.

    Raises:
        BadSpec: the threshold is out of range, or no vectors have this key and space.
    """
    if not (is_number(threshold) and 0 < threshold <= 1):
        raise BadSpec(
            f"{option('threshold')} must be a cosine similarity above 0 and at most 1, such as 0.98, not {threshold!r}"
        )
    column = _column(session, space, key)
    found = session.table.read(["id", "sha256"], where=where)
    order = np.argsort(found["_rowid"].to_numpy())
    rows = found["_rowid"].to_numpy()[order].astype(np.int64)
    ids, hashes = found["id"].take(order), found["sha256"].take(order)
    first, near = _first_alike(session, column, rows, threshold)
    content = pc.fill_null(hashes.combine_chunks().dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)
    first = _joined(first, content.astype(np.int64))
    groups = _groups(first, near, content, ids.to_pylist())
    return Duplicates(
        groups=groups,
        items=len(rows),
        extra=sum(len(group.ids) - 1 for group in groups),
        space=None if column is None else column.space.name,
        key=None if column is None else column.key,
        threshold=float(threshold),
    )


def _column(session: Session, space: str | None, key: str | None) -> Column | None:
    """Return the vectors to compare: the default of the key, or of the first key that has any.

    Raises:
        BadSpec: there are none with this key and space.
    """
    graph = session.graph
    if key is not None and key not in KEYS:
        raise BadSpec(f"{option('target')} must be one of {', '.join(KEYS)}, not {key!r}")
    every = [each for each in graph.columns if each.space not in graph.features and key in (None, each.key)]
    if space is not None:
        every = [each for each in every if is_named(each.space, (space,))]
    elif every:
        every = [found for each in every if (found := graph.default(each.key)) is not None]
    if not every and (space is not None or key is not None):
        known = listed({f"{each.key} in {each.space.name}" for each in graph.columns}) or "none"
        what = (f"{key} vectors" if key else "vectors") + (f" in a space {space!r}" if space else "")
        raise BadSpec(f"there are no {what} to compare; vectors here: {known}")
    return every[0] if every else None


def _first_alike(session: Session, column: Column | None, rows: Rows, threshold: float) -> tuple[Rows, Floats]:
    """Return for each row the place of the leader of its group, and its similarity; NaN for a row without a vector."""
    first, near = np.arange(len(rows)), np.full(len(rows), np.nan, np.float32)
    if column is None:
        return first, near
    vectors = session.resident(column).take(rows)
    places = np.searchsorted(rows, vectors.rows)
    leader, near[places] = leaders(unit(vectors.data), threshold)
    first[places] = places[leader]
    return first, near


def _joined(first: Rows, content: Rows) -> Rows:
    """Join groups that have files of the same content; ``content`` is -1 for a row without a hash."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    places = np.arange(len(first))
    known = np.flatnonzero(content >= 0)
    _, start, group = np.unique(content[known], return_index=True, return_inverse=True)
    ends = np.concatenate([first, known[start][group]])
    graph = coo_array((np.ones(len(ends)), (np.concatenate([places, known]), ends)), shape=(len(first), len(first)))
    count, label = connected_components(graph, directed=False)
    earliest = np.full(count, len(first))
    np.minimum.at(earliest, label, places)
    return earliest[label]


def _groups(first: Rows, near: Floats, content: Rows, ids: list[str]) -> list[DuplicateGroup]:
    """Return the groups of at least two, largest first; ties in the order of their first items."""
    order = np.argsort(first, kind="stable")
    starts = np.flatnonzero(np.diff(first[order], prepend=-1))
    parts = [part for part in np.split(order, starts[1:]) if len(part) > 1]
    made = []
    for part in sorted(parts, key=len, reverse=True):
        known = near[part][~np.isnan(near[part])]
        exact = bool(content[part[0]] >= 0 and (content[part] == content[part[0]]).all())
        similarity = round(float(min(known.min(), 1.0)), 6) if len(known) > 1 else None
        made.append(DuplicateGroup([ids[n] for n in part.tolist()], exact, similarity))
    return made
