"""Queries that differ in nothing but their vectors, as one array: their common part is looked at once.

Shapes: q queries, m vectors of each, dim the width of a space.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, cast, overload

import numpy as np

from quiver.errors import BadSpec
from quiver.types import Ask, Floats, Query, query_of

#: What queries of a batch have in common.
_COMMON = attrgetter(*(each.name for each in fields(Query) if each.name != "vectors"))


@dataclass(frozen=True, slots=True, eq=False)
class Batch(Sequence[Query]):
    """Queries by vector that are answered as one.

    Attributes:
        query: the first of them.
        vectors: of all, (q, dim) or (q, m, dim), by space name.
    """

    query: Query
    vectors: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(next(iter(self.vectors.values())))

    @overload
    def __getitem__(self, n: int) -> Query: ...
    @overload
    def __getitem__(self, n: slice) -> "Sequence[Query]": ...
    def __getitem__(self, n: int | slice) -> "Query | Sequence[Query]":
        if isinstance(n, slice):
            return [self[i] for i in range(len(self))[n]]
        return replace(self.query, vectors={name: vectors[n] for name, vectors in self.vectors.items()})

    def like(self, other: "Batch") -> bool:
        """Tell whether queries of another batch differ from these in nothing but their vectors."""
        shapes = [{name: vectors.shape[1:] for name, vectors in each.vectors.items()} for each in (self, other)]
        return shapes[0] == shapes[1] and bool(_COMMON(self.query) == _COMMON(other.query))


def batch_of(ask: Ask) -> Sequence[Query]:
    """Turn keywords into queries, one for each vector.

    >>> len(batch_of({"vectors": {"mine": np.zeros((3, 8))}, "k": 5}))
    3

    Raises:
        BadSpec: something else is given than vectors, these are not as many in each space, or see ``query_of``.
    """
    given = {name: np.asarray(each, np.float32) for name, each in (ask.get("vectors") or {}).items()}
    counts = {each.shape[0] if each.ndim in (2, 3) else -1 for each in given.values()}
    if len(counts) != 1 or -1 in counts:
        shapes = ", ".join(f"{name} {each.shape}" for name, each in given.items()) or "none"
        raise BadSpec(f"a batch in keywords takes vectors (q, dim) or (q, m, dim), as many of each space, not {shapes}")
    if counts == {0}:
        return ()
    query = query_of(cast(Ask, {**ask, "vectors": {name: each[0] for name, each in given.items()}}))
    if query.media or query.like:
        raise BadSpec("a batch in keywords takes vectors only: give a list of queries")
    return Batch(query, given)


def alike(queries: Sequence[Query]) -> Batch | None:
    """Return queries as one, where they differ in nothing but the vector they hold."""
    if isinstance(queries, Batch):
        return queries
    first = queries[0]
    if first.media or first.like or len(first.vectors) != 1:
        return None
    (name,), common = first.vectors, _COMMON(first)
    vectors: list[Any] = []
    for query in queries:
        vector = query.vectors.get(name)
        if not isinstance(vector, np.ndarray) or len(query.vectors) != 1 or _COMMON(query) != common:
            return None
        vectors.append(vector)
    if len({vector.shape for vector in vectors}) > 1 or vectors[0].ndim not in (1, 2):
        return None
    return Batch(first, {name: np.array(vectors, np.float32)})


def one_of(queries: Sequence[Query]) -> Query:
    """Return the first of queries that are alike; a batch has it ready."""
    return queries.query if isinstance(queries, Batch) else queries[0]


def vectors_in(queries: Sequence[Query], space: str) -> Floats:
    """Return the vectors of one shape that queries give in a space, (q, dim) or (q, m, dim)."""
    if isinstance(queries, Batch):
        return queries.vectors[space]
    return np.stack([np.asarray(query.vectors[space], np.float32) for query in queries])


def join(batches: Iterable[Sequence[Query]]) -> Sequence[Query]:
    """Return the queries of several batches, one batch after the other."""
    every = list(batches)
    if len(every) == 1:
        return every[0]
    first = every[0]
    if isinstance(first, Batch) and all(isinstance(each, Batch) and first.like(each) for each in every):
        parts = [cast(Batch, each).vectors for each in every]
        return Batch(first.query, {name: np.concatenate([part[name] for part in parts]) for name in first.vectors})
    return [query for each in every for query in each]
