"""What keys with a condition are told and may change: nothing of items outside of the condition.

A plan counts all items of a collection, so it is told in part. The type of a metadata column is one for all items, so
such a key may not change it.
"""

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from quiver.engine.execution.plan import Plan, Result
from quiver.engine.execution.stages.filter import Filter
from quiver.engine.server.problems import Problem

#: Kinds of stages whose reason names no number of items.
_SAFE = ("encode", "compose", "words", "fuse", "merge", "cut", "order", "group", "deduplicate", "diversify", "above")
_ZONED = re.compile(r"timestamp\[(\w+), tz=(.+)\]")
_WITHHELD = "not told: the reason counts items that do not exist for this key"


def plan_for(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON-compatible values, without what it says about items outside of the condition.

    Kept are the steps in order, their reasons as far as these count no items, and the number of items that match the
    condition of the query joined with the one of the key.
    """
    stages = []
    for stage in plan.stages:
        kind = type(stage).__name__.lower()
        if isinstance(stage, Filter):
            reason = f"{stage.matching:,} items match"
        else:
            reason = stage.reason if kind in _SAFE else _WITHHELD
        stages.append({"stage": kind, "label": stage.label, "reason": reason})
    return {
        "version": plan.version,
        "items": items_for(plan),
        "stages": stages,
        "refused": [],
        "notes": list(plan.notes),
    }


def items_for(plan: Plan) -> int:
    """Return the number of items that match the condition of the query joined with the one of the key."""
    return next((stage.matching for stage in plan.stages if isinstance(stage, Filter)), 0)


def text_for(plan: Plan) -> str:
    """Return the plan of ``plan_for`` as text, one line for each step."""
    told = plan_for(plan)
    steps = [f"  {number}. {each['label']}: {each['reason']}" for number, each in enumerate(told["stages"], 1)]
    return "\n".join([f"plan for version {plan.version}", *steps, *(f"note: {note}" for note in plan.notes)])


def reason_for(result: Result, *, offset: int = 0) -> str:
    """Say why an answer is empty; the reason of a filter would count all items."""
    from quiver.engine.serving.no_hits import reason

    if not items_for(result.plan):
        return "no item matches the condition"
    return reason(result, offset=offset)


def check_kept(types: Mapping[str, str], values: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse metadata that would make a column or widen its type, for these belong to items of others too.

    Args:
        types: Arrow type by metadata column, in words.
        values: new values by id and column, decoded from JSON.

    Raises:
        Problem: a value would.
    """
    for each in values.values():
        for name, value in each.items():
            kind = types.get(name)
            if kind is None:
                raise Problem(403, f"this key has a condition on items, so it makes no column {name[:100]!r}")
            if value is not None and not _fits(kind, value):
                raise Problem(
                    403,
                    f"this key has a condition on items, so it does not change the type of {name[:100]!r}, which is"
                    f" {kind}: give values of that type",
                )


def _fits(kind: str, value: Any) -> bool:
    """Whether a value of JSON fits an Arrow type as it is; a type without an alias is one of lists."""
    try:
        zoned = _ZONED.fullmatch(kind)
        known = pa.timestamp(zoned[1], zoned[2]) if zoned else pa.type_for_alias(kind)
    except ValueError:
        return isinstance(value, list)
    if isinstance(value, list | dict):
        return False
    if pt.is_boolean(known) or isinstance(value, bool):
        return isinstance(value, bool) and (pt.is_boolean(known) or pt.is_string(known))
    if pt.is_integer(known) or pt.is_floating(known) or pt.is_temporal(known):
        takes = int if pt.is_integer(known) else (int, float) if pt.is_floating(known) else str
        try:
            return isinstance(value, takes) and pa.scalar(value).cast(known) is not None
        except (pa.ArrowException, OverflowError):
            return False
    return True
