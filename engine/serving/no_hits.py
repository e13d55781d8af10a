"""The reason why a search has no hits."""

from quiver.engine.execution.plan import Result
from quiver.engine.execution.stages.above import Above
from quiver.engine.execution.stages.filter import Filter
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.words import Words
from quiver.wording import option


def reason(result: Result, *, offset: int = 0) -> str:
    """Say why a result is empty: the first stage that left nothing.

    Args:
        result: an answer without hits.
        offset: the offset of its query.
    """
    plan = result.plan
    if not plan.items:
        return "the collection has no items"
    rows = {each.label: each.rows for each in result.stages}
    searches = [stage for stage in plan.stages if isinstance(stage, Recall | Words)]
    for stage in plan.stages:
        if isinstance(stage, Filter) and not rows.get(stage.label):
            return stage.reason
        if stage in searches and not any(rows.get(each.label) for each in searches):
            return _nothing_found(searches)
        if isinstance(stage, Above) and not rows.get(stage.label):
            basis = f" ({stage.basis})" if stage.basis else ""
            return f"every score is below {option('min_score', f'{stage.score:g}')}{basis}"
    if offset:
        return f"{option('offset', str(offset))} skips all hits"
    return (
        "the latency budget ended before anything was found" if result.partial else "no item is left after the search"
    )


def _nothing_found(searches: list[Recall | Words]) -> str:
    if all(isinstance(stage, Words) for stage in searches):
        return "no text or metadata contains these words"
    columns = sorted({str(stage.route.column) for stage in searches if isinstance(stage, Recall)})
    return f"no item with a vector ({', '.join(columns)}) is left to search, beside the excluded ids and the examples"
