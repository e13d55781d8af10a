"""The kind of a query as far as its scores go: two queries of one kind have scores on the same scale."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from quiver.engine.core.column import Column, Derived
from quiver.engine.execution.plan import Stage
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.recall import Recall
from quiver.errors import BadSpec
from quiver.types import Query
from quiver.wording import option


@dataclass(frozen=True, slots=True)
class QueryKind:
    """A kind of query.

    Attributes:
        told: the kind in words.
        key: its identity: input, vector columns with their revisions, scorer.
        column: the first searched column.
    """

    told: str
    key: str
    column: Column | Derived


def kind_of(query: Query, stages: Sequence[Stage]) -> QueryKind:
    """Return the kind of a query with a plan.

    Raises:
        BadSpec: its scores have no stable scale, because words rank alone or negative examples move the query.
    """
    auto = option("min_score", "auto")
    if query.has_negatives:
        raise BadSpec(f"{auto} does not go together with {option('unlike')}: negative examples change the scores")
    compose = next((stage for stage in stages if isinstance(stage, Compose)), None)
    recalls = [stage.route for stage in stages if isinstance(stage, Recall)]
    if compose is not None:
        scorer = compose.composition
        told = f"{' + '.join(scorer.holds)} -> {scorer.finds} by {scorer.name}"
        columns, parts = compose.columns, [*scorer.names[:2], *(column.name for column in compose.columns)]
    elif recalls:
        columns = tuple(route.column for route in recalls)
        told = " and ".join(dict.fromkeys(f"{route.origin} -> {route.column}" for route in recalls))
        parts = sorted(f"{route.origin} {route.column.name}" for route in recalls)
    else:
        raise BadSpec(f"{auto} needs vectors: the scores of full-text search depend on the number of words")
    return QueryKind(told, hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16], columns[0])
