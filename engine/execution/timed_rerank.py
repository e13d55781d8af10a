"""Reranking within a latency budget: candidates are scored in batches; the rest keep the recall order.

Shapes: q queries, n candidates of each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.scorer_batch import Composer
from quiver.engine.statistics.rerank_weights import Weights, blend_safely, mix
from quiver.engine.statistics.scorer_latency import Pace
from quiver.types import Floats, Rows, Space

#: Queries whose candidates are gathered together.
_GATHERED = 32


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Scores of candidates.

    Attributes:
        scores: (q, n) float32 in the given order; nan if the budget ended before, or if the candidate lacks vectors.
        terms: score terms of each query, by row number.
        late: (q,) whether the budget ended before all candidates were scored.
    """

    scores: Floats
    terms: list[dict[int, dict[str, float]]]
    late: NDArray[np.bool_]


def match(composer: Composer, given: Ranked, *, depth: int, pace: Pace, until: float) -> Matched:
    """Score the first candidates of each query. Each query gets an equal share of the remaining time.

    Args:
        composer: the prepared queries.
        given: candidates of each query, best first.
        depth: most candidates per query.
        pace: latency of batches; updated here.
        until: deadline in seconds of ``perf_counter``; infinity for no limit.
    """
    rows = given.rows[:, :depth]
    matched = Matched(np.full(given.rows.shape, np.nan, np.float32), [{} for _ in rows], np.zeros(len(rows), np.bool_))
    for start in range(0, len(rows), _GATHERED):
        block = rows[start : start + _GATHERED]
        found, columns = composer.gather(np.unique(block[block >= 0]))
        for n, own in enumerate(block, start):
            now = perf_counter()
            share = _Share(composer, n, pace, now + (until - now) / (len(rows) - n))
            there = np.flatnonzero(np.isin(own, found))
            _score(share, own, there, found, columns, matched)
    return matched


@dataclass(frozen=True, slots=True, eq=False)
class _Share:
    """One query and its share of the time."""

    composer: Composer
    n: int
    pace: Pace
    until: float

    def batches(self, count: int) -> Iterator[slice]:
        """Yield the next candidates to score and record the time of each batch, until the time is up."""
        done = 0
        while done < count:
            started = perf_counter()
            size = self.pace.fits((self.until - started) * 1e3, count - done)
            if not size:
                return
            yield slice(done, done + size)
            self.pace.note(size, (perf_counter() - started) * 1e3)
            done += size


def _score(share: _Share, own: Rows, there: Rows, found: Rows, columns: dict[Space, Floats], matched: Matched) -> None:
    """Score one query's candidates ``own`` at the places ``there``, as long as its share of the time lasts."""
    n, done = share.n, 0
    for part in share.batches(len(there)):
        places = there[part]
        at = np.searchsorted(found, own[places])
        terms = share.composer.terms_of(n, {space: data[at] for space, data in columns.items()})
        matched.scores[n, places] = np.sum([values[0] for values in terms.values()], axis=0)
        for i, row in enumerate(own[places].tolist()):
            matched.terms[n][row] = {name: float(values[0, i]) for name, values in terms.items()}
        done = part.stop
    matched.late[n] = done < len(there)


def order(given: Ranked, matched: Matched, *, weights: Weights | None, label: str) -> Ranked:
    """Rank candidates by recall and scorer together, by learned weights or by the safe blend.

    Args:
        given: the candidates, best first.
        matched: scores of the scorer.
        weights: weights of recall and of the scorer; None for the safe blend of a scorer without learned weights.
        label: label of the stage.
    """
    if weights is not None:
        return _weighed(given, matched, weights, label)
    mixed = np.stack(
        [blend_safely(recall, theirs) for recall, theirs in zip(given.scores, matched.scores, strict=True)]
    )
    mixed = np.where(given.rows >= 0, mixed, -np.inf)
    best = np.argsort(-mixed, axis=1, kind="stable")
    return Ranked(label, np.take_along_axis(mixed, best, 1), np.take_along_axis(given.rows, best, 1))


def _weighed(given: Ranked, matched: Matched, weights: Weights, label: str) -> Ranked:
    """Rank scored candidates by scorer and recall together; the others follow in their recall order.

    An unscored candidate keeps its recall distance to the last scored one, below that one's new score. So scores are
    comparable within an answer, best first.
    """
    scores = np.full(given.rows.shape, -np.inf)
    rows = np.full_like(given.rows, -1)
    for n, (theirs, recall, own) in enumerate(zip(matched.scores, given.scores, given.rows, strict=True)):
        seen = np.flatnonzero(~np.isnan(theirs))
        rest = np.setdiff1d(np.flatnonzero(own >= 0), seen, assume_unique=True)
        mixed = mix(recall[seen], theirs[seen], weights)
        best = np.argsort(-mixed, kind="stable")
        below = np.empty(0)
        if len(rest):
            top = recall[rest[0]] if not len(seen) else max(recall[rest[0]], recall[seen[-1]])
            below = (mixed[best[-1]] if len(seen) else 0.0) + np.asarray(recall[rest], np.float64) - top
        width = len(seen) + len(rest)
        scores[n, :width] = np.concatenate([mixed[best], below])
        rows[n, :width] = np.concatenate([own[seen[best]], own[rest]])
    return Ranked(label, scores, rows)
