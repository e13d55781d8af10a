"""Sample queries for measuring an index: given ones, else stored vectors.

Text queries on images are distributed differently from image queries on images, and settings tuned on the second miss
the first. So given queries are preferred, then vectors of another medium in the same space, then vectors of the column
itself, each of which is excluded from its own hits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quiver.engine.core.column import Column, Derived
from quiver.engine.core.sql import present
from quiver.engine.core.vector_check import as_float32
from quiver.engine.execution.session import Session
from quiver.errors import BadSpec, SpaceMismatch
from quiver.types import Floats, Query, Rows, keys_of, sources_of

#: File types of ``--queries``: vectors, and one text per line.
_ARRAYS, _LINES = (".npy", ".npz"), ".txt"
_TOGETHER = 64  # items embedded together


@dataclass(frozen=True, slots=True, eq=False)
class SampleQueries:
    """Queries.

    Attributes:
        vectors: (q, dim) float32.
        source: their description, for people.
        own: (q,) the stored row that each query is; None if they are not stored rows.
    """

    vectors: Floats
    source: str
    own: Rows | None = None

    def __len__(self) -> int:
        return len(self.vectors)


def draw(session: Session, column: Column | Derived, given: Any, *, count: int, seed: int) -> SampleQueries:
    """Draw up to ``count`` queries for a column, in random order.

    Args:
        session: the collection.
        column: the column to search.
        given: (q, dim) vectors, queries with media, a file of vectors, a file of texts, or media files; None for
            stored vectors.
        count: maximum number of queries.
        seed: random seed.

    Raises:
        BadSpec: no encoder here embeds the given queries into the space of the column.
        SpaceMismatch: the given vectors have another dimension.
    """
    rng = np.random.default_rng(seed)
    if given is not None:
        vectors = _given(session, column, given, count)
        chosen = rng.permutation(len(vectors))[:count]
        name = Path(given).name if isinstance(given, str | Path) else "given"
        return SampleQueries(vectors[chosen], f"{len(chosen):,} queries ({name})")
    for other in session.graph.columns:
        if other.space == column.space and other.key != column.key:
            vectors = session.resident(other).take(_some(session.table.rows(present(other.name)), count, rng)).data
            if len(vectors):
                vectors = vectors[rng.permutation(len(vectors))]
                return SampleQueries(
                    vectors, f"{len(vectors):,} stored {other.key} vectors, asked of {column.key} vectors"
                )
    rows = _some(session.table.rows(present(column.stored.name)), count, rng)
    found = session.resident(column).take(rows)
    order = rng.permutation(len(found))
    return SampleQueries(found.data[order], f"{len(found):,} stored vectors, not queries", found.rows[order])


def _some(rows: Rows, count: int, rng: np.random.Generator) -> Rows:
    return rows if len(rows) <= count else np.sort(rng.choice(rows, count, replace=False))


def _given(session: Session, column: Column | Derived, given: Any, count: int) -> Floats:
    """Return given queries as vectors; only the first media files are embedded."""
    asked = isinstance(given, list | tuple) and bool(given) and isinstance(given[0], Query)
    if asked or (isinstance(given, str | Path) and not str(given).lower().endswith(_ARRAYS)):
        parts = list(_embedded(session, column, given if asked else str(given), count))
        vectors = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
    elif isinstance(given, str | Path):
        from quiver.engine import source  # not needed to search, and slow to import

        batches = source.open_vectors(str(given)).batches(1 << 14)
        columns = [batch.column("vector") for batch in batches]
        vectors = np.concatenate([each.flatten().to_numpy().reshape(len(each), -1) for each in columns])
    else:
        try:
            vectors = np.atleast_2d(as_float32(given))
        except (TypeError, ValueError) as error:
            raise BadSpec(f"sample queries must be (q, dim) numbers: {error}") from error
    if not len(vectors):
        raise BadSpec(f"{given} holds no queries for {column}")
    if vectors.shape[1] != column.space.dim:
        raise SpaceMismatch(f"{column.space} has dimension {column.space.dim}, and the queries have {vectors.shape[1]}")
    return np.ascontiguousarray(vectors, np.float32)


def _embedded(session: Session, column: Column | Derived, given: str | Sequence[Query], count: int) -> Iterator[Floats]:
    """Embed texts or media with the first encoder that leads to the space of the column."""
    left = count
    for records in _records(given):
        some, left = records[:left], left - len(records)
        for key in sorted({_asked(session, column, record) for record in some}):
            arrow = next(a for a in session.graph.arrows if a.key == key and _leads(session, a.space, column))
            loaded = session.encoder(arrow.encoder)
            read = loaded.encoder.reader(key)
            batch = [
                read(one)
                for record in some
                if _asked(session, column, record) == key
                for one in sources_of(record, key)
            ]
            crossings = session.graph.path(arrow.space, column.space) or ()
            yield session.cross(crossings, loaded.embed_query(key, batch, arrow.space))
        if left <= 0:
            return


def _leads(session: Session, space: Any, column: Column | Derived) -> bool:
    return session.graph.path(space, column.space) is not None


def _asked(session: Session, column: Column | Derived, record: dict[str, Any]) -> str:
    """Return the medium of a record to query with: preferably another one than the searched medium."""
    keys = sorted(keys_of(record), key=lambda key: key == column.key)
    for key in keys:
        if any(arrow.key == key and _leads(session, arrow.space, column) for arrow in session.graph.arrows):
            return key
    raise BadSpec(
        f"no encoder here embeds {' or '.join(keys) or 'this'} into {column.space}: give query vectors as .npy"
    )


def _records(given: str | Sequence[Query]) -> Iterator[Sequence[dict[str, Any]]]:
    if not isinstance(given, str):
        yield from _media([query.media for query in given], "queries")
        return
    path = given
    if path.lower().endswith(_LINES):
        lines = [line.strip() for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
        yield from ([{"text": line} for line in lines[at : at + _TOGETHER]] for at in range(0, len(lines), _TOGETHER))
        return
    from quiver.engine import source
    from quiver.engine.source import queries

    if source.is_table(path):  # of queries, as `bench recall`, `fit` and `threshold` read it
        yield from _media([each.given.get("media") or {} for each in queries.read(path).queries], path)
        return
    yield from (batch.to_pylist() for batch in source.open([path]).batches(_TOGETHER))


def _media(given: Sequence[Any], where: str) -> Iterator[Sequence[dict[str, Any]]]:
    asked = [dict(media) for media in given if media]
    if not asked:
        raise BadSpec(f"{where} has no queries with media to embed: give query vectors as .npy")
    yield from (asked[at : at + _TOGETHER] for at in range(0, len(asked), _TOGETHER))
