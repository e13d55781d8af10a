"""Inputs of a scorer: reference media, texts, stored examples and weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quiver.engine.core.graph import Composition
from quiver.engine.core.sql import numbered
from quiver.engine.storage.dataset import Example, Table
from quiver.errors import Untrusted
from quiver.protocols import ScorerInput
from quiver.trust import Reach
from quiver.types import LIKE, Floats, Query, Space, values_of


def ask(
    queries: Sequence[Query],
    composition: Composition,
    stands: str | None,
    *,
    examples: Mapping[str, Example],
    table: Table,
    reach: Reach,
) -> list[ScorerInput]:
    """Turn queries into inputs of a scorer, with the vectors and media of their example items.

    Args:
        queries: queries with the same kinds of input.
        composition: the scorer.
        stands: the key that example items provide; None without examples.
        examples: stored items used as examples by the queries, by id.
        table: dataset of the examples.
        reach: rules on which of their files may be read.

    Raises:
        Untrusted: the file of an example is in a folder that this user has not trusted on this machine.
    """
    originals = _originals(stands, examples, table)
    for name, held in originals.items():
        for reference in held.values() if name != "text" else ():
            if reference is not None and (reason := reach.refuses(reference)) is not None:
                raise Untrusted(reason)
    return [
        ScorerInput(
            media={name: values for name in composition.holds if (values := values_of(query.media, name))},
            examples=_vectors(query, stands, examples, table),
            weights=_weights(query, stands),
            originals={name: [held[id] for id in query.like] for name, held in originals.items()},
        )
        for query in queries
    ]


def _names(key: str | None) -> tuple[str, ...]:
    """Return the names of MEDIA that make up a key of KEYS."""
    return () if key is None else ("before", "after") if key == "pair" else (key,)


def _weights(query: Query, stands: str | None) -> dict[str, float]:
    """Return weights by name of MEDIA; the key of the examples takes their weight, unless it has its own."""
    weights = {name: weight for key, weight in query.weights.items() if key != LIKE for name in _names(key)}
    likeness = {name: query.weights[LIKE] for name in _names(stands) if LIKE in query.weights}
    return {**likeness, **weights}


def _vectors(query: Query, stands: str | None, examples: Mapping[str, Example], table: Table) -> dict[Space, Floats]:
    """Return the vectors of a query's examples, (e, dim) by space, for spaces in which all examples have one."""
    found = {}
    for column in table.columns:
        rows = [examples[id].vectors.get(column.name) for id in query.like if column.key == stands]
        if rows and all(row is not None for row in rows):
            found[column.space] = np.stack([row for row in rows if row is not None])
    return found


def _originals(stands: str | None, examples: Mapping[str, Example], table: Table) -> dict[str, dict[str, Any]]:
    """Return the media of the example items for their key: by name of MEDIA, then by id."""
    if not examples or stands is None:
        return {}
    rows = [example.row for example in examples.values()]
    found = table.read(["id", *_names(stands)], where=numbered(rows)).to_pylist()
    return {name: {row["id"]: row[name] for row in found} for name in _names(stands)}
