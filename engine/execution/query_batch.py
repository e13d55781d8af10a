"""Batches of queries that differ only in their vectors, as one array; the common part is checked once.

Shapes: q queries, m vectors of each, dim the dimension of a space.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, cast, overload

import numpy as np

from quiver.engine.core.vector_check import as_float32
from quiver.errors import BadSpec
from quiver.keywords import Ask, query_of
from quiver.types import THE_SPACE, Floats, Query

#: Fields that all queries of a batch share.
_COMMON = attrgetter(*(each.name for each in fields(Query) if each.name != "vectors"))


@dataclass(frozen=True, slots=True, eq=False)
class Batch(Sequence[Query]):
    """Queries by vector that are answered together.

    Attributes:
        query: the first query.
        vectors: vectors of all queries, (q, dim) or (q, m, dim), by space name.
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
        """Whether the queries of another batch differ from these only in their vectors."""
        shapes = [{name: vectors.shape[1:] for name, vectors in each.vectors.items()} for each in (self, other)]
        return shapes[0] == shapes[1] and bool(_COMMON(self.query) == _COMMON(other.query))


def one_of_both(query: Query | None, ask: Ask) -> Query:
    """Return a query given as a Query or in keywords.

    Raises:
        BadSpec: it is given both ways, or has another type; see ``query_of``.
    """
    if query is None:
        return query_of(ask)
    _check_query(query)
    if ask:
        raise BadSpec(f"give a Query or keywords, not both: put {', '.join(ask)} into the Query")
    return query


def many_of_both(queries: Any, ask: Ask) -> Sequence[Query]:
    """Return queries given as a list, or in keywords with one vector per query.

    Raises:
        BadSpec: they are given both ways, or have another type; see ``batch_of``.
    """
    if queries is None:
        return batch_of(ask)
    if isinstance(queries, Batch):
        return queries
    if isinstance(queries, Query | str) or not isinstance(queries, Iterable):
        raise BadSpec(f"search_batch takes a list of queries, not {type(queries).__name__}")
    every = queries if isinstance(queries, Sequence) else list(queries)
    for query in every:
        _check_query(query)
    if ask:
        raise BadSpec(f"give a list of queries or keywords, not both: put {', '.join(ask)} into each Query")
    return every


def _check_query(query: Any) -> None:
    if not isinstance(query, Query):
        hint = f"text={query!r}" if isinstance(query, str) else "text='red dress' or like='an id'"
        raise BadSpec(f"a query is a Query, or keywords such as {hint}; not {type(query).__name__}")


def batch_of(ask: Ask) -> Sequence[Query]:
    """Turn keywords into queries, one per vector.

    >>> len(batch_of({"vectors": {"mine": np.zeros((3, 8))}, "k": 5}))
    3

    Raises:
        BadSpec: an input is not a vector, or the spaces have different numbers of vectors; see also ``query_of``.
    """
    alone = ask.get("vector")
    if alone is not None and ask.get("vectors") is not None:
        raise BadSpec("vector is for the only space of a collection: give vector or vectors, not both")
    several = ask.get("vectors")  # perhaps an array, which has no truth value
    held = {THE_SPACE: alone} if alone is not None else {} if several is None else several
    if not isinstance(held, Mapping):
        raise BadSpec("a batch in keywords takes vectors by the name of their space, such as {'mine': vectors}")
    given = {name: as_floats(each, name) for name, each in held.items()}
    counts = {each.shape[0] if each.ndim in (2, 3) else -1 for each in given.values()}
    if len(counts) != 1 or -1 in counts:
        shapes = ", ".join(f"{name} {each.shape}" for name, each in given.items()) or "none"
        raise BadSpec(
            f"a batch in keywords takes vectors (q, dim) or (q, m, dim), the same number in each space, not {shapes}"
        )
    if counts == {0}:
        return ()
    query = query_of({**ask, "vector": None, "vectors": {name: each[0] for name, each in given.items()}})
    if query.media or query.like or query.has_negatives:
        raise BadSpec("a batch in keywords takes vectors only: give a list of queries")
    return Batch(query, given)


def alike(queries: Sequence[Query]) -> Batch | None:
    """Return queries as one batch if they differ only in their vector."""
    if isinstance(queries, Batch):
        return queries
    first = queries[0]
    if first.media or first.like or first.has_negatives or len(first.vectors) != 1:
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
    return Batch(first, {name: as_floats(vectors, name)})


def as_floats(vectors: Any, space: str) -> Floats:
    """Return query vectors as float32; a number out of range becomes infinite, and is refused later.

    Raises:
        BadSpec: they are not numbers.
    """
    try:
        return as_float32(vectors)
    except (TypeError, ValueError) as error:
        where = f" for the space {space!r}" if space != THE_SPACE else ""
        raise BadSpec(f"the query vector{where} must be numbers: {error}") from error


def with_space(queries: Sequence[Query], space: Callable[[Query], str]) -> Sequence[Query]:
    """Name the space of vectors that were given without one; ``space`` returns its name for a query."""
    if isinstance(queries, Batch):
        if THE_SPACE not in queries.vectors:
            return queries
        name = space(queries.query)
        vectors = queries.vectors[THE_SPACE]
        return Batch(replace(queries.query, vectors={name: vectors[0]}), {name: vectors})
    if not any(THE_SPACE in query.vectors for query in queries):
        return queries
    return [
        replace(query, vectors={space(query): query.vectors[THE_SPACE]}) if THE_SPACE in query.vectors else query
        for query in queries
    ]


def one_of(queries: Sequence[Query]) -> Query:
    """Return the first of similar queries; a batch has it ready."""
    return queries.query if isinstance(queries, Batch) else queries[0]


def vectors_in(queries: Sequence[Query], space: str) -> Floats:
    """Return the vectors of a batch in a space, (q, dim) or (q, m, dim)."""
    if isinstance(queries, Batch):
        return queries.vectors[space]
    try:
        return np.stack([as_floats(query.vectors[space], space) for query in queries])
    except ValueError as error:
        raise BadSpec(f"all queries of a batch need the same number of vectors in the space {space!r}") from error


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
