"""A deeper search for stages that need more candidates than a first search found."""

from dataclasses import replace
from typing import Any

from quiver.engine.execution.context import Context
from quiver.engine.execution.executor import run_stages
from quiver.engine.execution.stages.compose import Compose
from quiver.engine.execution.stages.encode import Encode
from quiver.engine.execution.stages.filter import Filter
from quiver.engine.execution.stages.recall import Recall

#: Factor by which lists are deepened.
FACTOR = 4
#: A list of more than this fraction of all rows comes from an exact scan if the vectors are in memory: it is
#: cheaper.
_SHARE = 1 / 8
#: Stages with the same result for any depth.
_ONCE = (Encode, Compose, Filter)


def search_deeper(context: Context, depth: int, *, most: int, index: str | None) -> None:
    """Run the finished recall stages again with more depth; the query is embedded and the rows are filtered already.

    Args:
        context: the state; its lists are replaced.
        depth: new length of the lists.
        most: number of matching rows.
        index: kind of index named by the query, or None.
    """
    again = [_deepen(stage, depth, context, most, index) for stage in context.done if not isinstance(stage, _ONCE)]
    context.done = [stage for stage in context.done if isinstance(stage, _ONCE)]
    context.lists, context.trail, context.at_end = [], [], []
    run_stages(again, context)


def out_of_time(context: Context) -> bool:
    """Whether a latency budget forbids a deeper search."""
    return any(getattr(stage, "budget_ms", None) is not None for stage in context.done)


def _deepen(stage: Any, depth: int, context: Context, most: int, index: str | None) -> Any:
    deep = isinstance(stage, Recall) and index is None and depth >= _SHARE * most
    if deep and context.session.resident(stage.route.column).at_hand:
        stage = replace(stage, index="exact", spend={}, depth=0)
    return replace(stage, k=max(depth, stage.k)) if hasattr(stage, "k") else stage
