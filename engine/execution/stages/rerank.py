"""Rerank: score the best candidates within the latency budget, and combine with their recall scores."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from quiver.engine.execution.context import Context, Reranked
from quiver.engine.execution.timed_rerank import match, order
from quiver.engine.statistics.rerank_weights import Weights
from quiver.engine.statistics.scorer_latency import Pace


@dataclass(frozen=True, slots=True)
class Rerank:
    """Score the first candidates of the list, best first, and rank them by recall and scorer together.

    Attributes:
        scorer: name of the scorer.
        depth: most candidates per query.
        budget_ms: latency budget of the whole answer in milliseconds; None for no limit.
        weights: weights of recall and of the scorer; None if they are not learned: then the scorer counts only as far
            as it agrees with recall (``blend_safely``).
        reason: reason for this depth and these weights.
    """

    scorer: str
    depth: int
    budget_ms: float | None
    weights: Weights | None
    reason: str

    @property
    def label(self) -> str:
        """Its name in the trace."""
        return f"rerank {self.scorer}"

    def run(self, context: Context) -> int:
        """Score until the budget ends, and replace the list."""
        (given,) = context.lists
        composer, single = context.scored_by, len(context.queries) == 1
        assert context.composition is not None, "a plan that reranks composes first"
        pace = context.session.pace(context.composition).on(composer.device)
        until = float("inf")
        if self.budget_ms is not None:
            until = context.started + (len(context.queries) * self.budget_ms - pace.after) / 1e3
        if single:
            pace.note("before", (perf_counter() - context.started) * 1e3)
        matched = match(composer, given, depth=self.depth, pace=pace, until=until)
        if single:
            context.at_end.append(_timer(pace, limited=context.query.budget_ms is not None))
        for n in np.flatnonzero(matched.late).tolist():
            count, every = len(matched.terms[n]), int((given.rows[n, : self.depth] >= 0).sum())
            context.cut_short(n, f"reranked {count} of {every} within {self.budget_ms:g} ms")
        ranked = order(given, matched, weights=self.weights, label=self.label)
        context.reranked = Reranked(given, matched)
        context.lists = [ranked]
        context.trail.append(ranked)
        return ranked.count


def _timer(pace: Pace, *, limited: bool) -> Callable[[], None]:
    """Return a callback that records the time after the reranker: later searches reserve it in their budget."""
    matched_at = perf_counter()

    def finish() -> None:
        if limited:
            pace.note("after", (perf_counter() - matched_at) * 1e3)
        pace.keep()

    return finish
