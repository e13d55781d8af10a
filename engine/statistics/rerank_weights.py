"""Weights of recall and scorer for reranking, learned from questions with known answers.

Candidates are ranked by ``a * recall + b * scorer``; a and b have the highest likelihood of the answers (see
``choice_model``). With more depth, a scorer also meets more false positives (arXiv:2411.11767), so the depth is the one
of a grid with the best mean reciprocal rank. The scorer's weight is 0 unless the likelihood improves significantly and
the mean reciprocal rank does not fall. So on those questions reranking is never worse than recall, and a chance gain is
not used.

Before weights are learned, a scorer ranks by ``blend_safely``: it counts only as far as it agrees with recall. A scorer
of any use shares some of its order with recall, and a random one shares none. On 560 sounds (classic recall, ESC-50
labels, 200 candidates) plain reciprocal rank fusion with a random scorer lowers success at 1 from 0.504 to 0.302; this
blend leaves it at 0.500, and raises it to 0.586 with a good scorer (YAMNet).

Shapes: q questions, n candidates of each in the order of recall.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quiver.engine.core.graph import Composition
from quiver.engine.core.ranking import Scores
from quiver.engine.statistics.choice_model import Chances, reciprocal
from quiver.engine.statistics.scorer_recall import place
from quiver.engine.storage import json_store
from quiver.errors import BadData

#: Tried depths, up to the number of candidates.
DEPTHS = (5, 10, 20, 50, 100, 200, 500, 1000)
_KIND = "blend"
#: One-sided 95 % bound of the normal distribution: agreement that chance gives as often as this does not count.
_CHANCE = 1.645
#: Agreement (rank correlation) from which an unfitted scorer counts as much as recall.
_EQUAL = 0.5
#: Largest deviation of one unfitted score, in standard deviations, so that a single wild score moves an item little.
_WILDEST = 3.0
#: Distance of the quartiles of a normal distribution, in standard deviations.
_QUARTILES = 1.349


class Weights(NamedTuple):
    """Weights of recall scores and scorer scores."""

    recall: float
    scorer: float


#: Weights that rank by the scorer alone, and by recall alone.
SCORER = Weights(0.0, 1.0)
RECALL = Weights(1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Blend:
    """Learned reranking weights.

    Attributes:
        weights: weights of recall and of the scorer, in log-odds; the scorer's is 0 if it does not help.
        depth: best number of candidates on the grid of tried depths.
        before: mean reciprocal rank by recall alone.
        after: mean reciprocal rank with the learned weights.
        questions: number of training questions.
        source: source of the questions.
        at: time of learning, in UTC.
        lists: labels of the lists that found the candidates; other lists have other scores.
    """

    weights: Weights
    depth: int
    before: float
    after: float
    questions: int
    source: str
    at: str
    lists: tuple[str, ...]

    def __str__(self) -> str:
        gain = f"reciprocal rank {self.after:.3f} instead of {self.before:.3f}"
        return (
            f"weight {self.weights.scorer:.3g} for scorer and {self.weights.recall:.3g} for recall scores, up to"
            f" depth {self.depth}, learned on {self.questions:,} questions of {self.source} ({self.at[:10]}): {gain}"
        )


def mix(recall: Scores, match: Scores, weights: Weights) -> Scores:
    """Return the weighted sum of recall and scorer scores (..., n); scorer scores unchanged if recall has no weight.

    >>> mix(np.array([3.0, 2.0, 1.0]), np.array([0.0, 0.0, 9.0]), Weights(2.0, 0.5)).tolist()
    [6.0, 4.0, 6.5]
    """
    if weights == SCORER:
        return match
    return weights.recall * np.asarray(recall, np.float64) + weights.scorer * np.asarray(match, np.float64)


def agreement(recall: Scores, match: Scores) -> float:
    """Return how far two scorings of the same candidates agree beyond chance: 0 for not at all, 1 for equal order.

    It is the lower confidence bound of Spearman's rank correlation: correlation less 1.645 / sqrt(n - 1), at least 0.

    Args:
        recall: (n,) scores.
        match: (n,) other scores of the same candidates.

    >>> round(agreement(np.arange(10), np.arange(10) ** 3), 3), agreement(np.arange(10), np.ones(10))
    (0.452, 0.0)
    """
    ours, theirs = _ranks(recall), _ranks(match)
    spread = ours.std() * theirs.std()
    if len(ours) < 2 or not spread:
        return 0.0
    correlation = float(((ours - ours.mean()) * (theirs - theirs.mean())).mean() / spread)
    return max(0.0, correlation - _CHANCE / float(np.sqrt(len(ours) - 1)))


def blend_safely(recall: Scores, match: Scores) -> Scores:
    """Return the scores of candidates by recall and an unfitted scorer, on the scale of the recall scores.

    The scorer's standardised scores are added to those of recall, with a weight of twice its ``agreement``, at most 1.
    A scorer that does not agree with recall changes nothing. Candidates without a score get the one that is expected at
    their rank, by linear regression.

    Args:
        recall: (n,) recall scores, best first.
        match: (n,) scorer scores; nan for none.

    >>> blend_safely(np.array([3.0, 2.0, 1.0]), np.array([0.0, 1.0, 9.0])).tolist()
    [3.0, 2.0, 1.0]
    """
    mixed = np.asarray(recall, np.float64).copy()
    seen = np.isfinite(mixed) & np.isfinite(match)
    ours, theirs = mixed[seen], np.asarray(match, np.float64)[seen]
    weight = min(1.0, agreement(ours, theirs) / _EQUAL)
    if weight:
        standard = _standardised(theirs)
        ranks = np.arange(len(mixed)) - np.flatnonzero(seen).mean()
        slope = min(0.0, float((ranks[seen] * standard).mean() / np.square(ranks[seen]).mean()))
        added = standard.mean() + slope * ranks
        added[seen] = standard
        mixed += weight * ours.std() * added
    return mixed


def _standardised(scores: Scores) -> Scores:
    """Return deviations from the median, in standard deviations estimated from the quartiles, and limited."""
    low, middle, high = np.percentile(scores, [25, 50, 75])
    deviation = (high - low) / _QUARTILES or scores.std()
    limited: Scores = np.clip((scores - middle) / deviation, -_WILDEST, _WILDEST)
    return limited


def _ranks(scores: Scores) -> Scores:
    """Return ranks from 0, lowest score first; equal scores share their mean rank."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    means: Scores = (np.cumsum(count) - (count + 1) / 2)[place]
    return means


def learn(recall: Scores, match: Scores, right: NDArray[np.bool_], *, source: str, lists: Sequence[str] = ()) -> Blend:
    """Learn reranking weights from the candidates of labelled questions.

    Args:
        recall: (q, n) recall scores, best first; -inf for no candidate.
        match: (q, n) scorer scores; nan for none.
        right: (q, n) whether a candidate answers its question.
        source: source of the questions.
        lists: labels of the lists that found the candidates.

    Raises:
        BadData: there are no questions, or recall finds no answer to any of them.
    """
    if not right.any():
        raise BadData(f"reranking weights cannot be learned: recall finds no answer to any of {len(right)} questions")
    depths = sorted({min(n, right.shape[1]) for n in DEPTHS})
    tried = [_FittedWeights.of(recall, match, right, depth) for depth in depths]
    best = max(tried, key=lambda trial: (trial.reciprocal, -trial.depth))
    before = reciprocal(np.zeros(right.shape), right)  # in the order of recall
    if not best.clear or best.reciprocal < before:
        best = _FittedWeights(RECALL, best.depth, before, False)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Blend(best.weights, best.depth, before, best.reciprocal, len(right), source, now, tuple(lists))


@dataclass(frozen=True, slots=True)
class _FittedWeights:
    """Return the best weights at a depth, their mean reciprocal rank, and whether the gain is significant."""

    weights: Weights
    depth: int
    reciprocal: float
    clear: bool

    @classmethod
    def of(cls, recall: Scores, match: Scores, right: NDArray[np.bool_], depth: int) -> "_FittedWeights":
        """Fit weights to the first candidates of each question."""
        head = np.isfinite(match[:, :depth]) & np.isfinite(recall[:, :depth])
        scores = np.where(head, np.stack([recall[:, :depth], match[:, :depth]]), 0).astype(np.float64)
        answered = (right[:, :depth] & head).any(axis=1)
        if not answered.any():
            return cls(RECALL, depth, 0.0, False)
        chances = Chances(scores[:, answered], head[answered], right[answered, :depth])
        fitted, alone = chances.fit(), chances.fit(np.array([RECALL]))
        weights = Weights(*fitted.tolist())
        mixed = np.full(right.shape, -np.inf)
        mixed[:, :depth] = np.where(head, mix(scores[0], scores[1], weights), -np.inf)
        return cls(weights, depth, reciprocal(mixed, right), weights.scorer > 0 and chances.clearer(fitted, alone))


def write(root: Path, composition: Composition, blend: Blend) -> None:
    """Store learned reranking weights."""
    json_store.write(place(root, composition, _KIND), blend)


def read(root: Path, compositions: Sequence[Composition]) -> dict[Composition, Blend]:
    """Return the stored reranking weights, by scorer."""
    found = {each: json_store.read(place(root, each, _KIND), Blend) for each in compositions}
    return {each: blend for each, blend in found.items() if blend is not None}
