"""Plans for keys with a condition: a plan counts all items of a collection, and such a key may know of its own only."""

from typing import Any

from quiver.engine.execution.plan import Plan, Result
from quiver.engine.execution.stages.filter import Filter

#: Kinds of stages whose reason names no number of items.
_SAFE = ("encode", "compose", "words", "fuse", "merge", "cut", "order", "group", "deduplicate", "diversify", "above")
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
