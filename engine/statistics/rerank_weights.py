"""How much recall and a scorer count when candidates are ranked again, learnt from questions with known answers.

Candidates are ranked by ``a * recall + b * scorer``, and a and b are those that make the answers likeliest (see
``chance``). A scorer that looks deeper also finds more that deceives it (arXiv:2411.11767), so the depth is the one of
a grid with the best mean reciprocal rank. The scorer counts nothing unless answers get clearly likelier, and rank no
worse: on those questions nothing is ever worse than recall, and chance is not taken for skill.

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

#: Depths that are tried, as far as there are candidates.
DEPTHS = (5, 10, 20, 50, 100, 200, 500, 1000)
_KIND = "blend"


class Weights(NamedTuple):
    """What one point of recall, and one of the scorer, count."""

    recall: float
    scorer: float


#: Recall finds candidates and has no say in their order.
SCORER = Weights(0.0, 1.0)
RECALL = Weights(1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Blend:
    """What was learnt.

    Attributes:
        weights: of recall and of the scorer, in log-odds; the scorer's is 0 where it does not help.
        depth: candidates beyond which the scorer lowers the mean reciprocal rank, or that were not tried.
        before: mean reciprocal rank by recall alone.
        after: mean reciprocal rank as learnt.
        questions: how many it was learnt from.
        source: where they come from.
        at: when, in UTC.
        lists: what found the candidates; other lists have other scores.
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
            f"a point of the scorer counts {self.weights.scorer:.3g} and one of recall {self.weights.recall:.3g} to"
            f" depth {self.depth}, as learnt on {self.questions:,} questions of {self.source} ({self.at[:10]}): {gain}"
        )


def mix(recall: Scores, match: Scores, weights: Weights) -> Scores:
    """Join scores (..., n) of recall and of a scorer; those of the scorer as they are where only they count.

    >>> mix(np.array([3.0, 2.0, 1.0]), np.array([0.0, 0.0, 9.0]), Weights(2.0, 0.5)).tolist()
    [6.0, 4.0, 6.5]
    """
    if weights == SCORER:
        return match
    return weights.recall * np.asarray(recall, np.float64) + weights.scorer * np.asarray(match, np.float64)


def learn(recall: Scores, match: Scores, right: NDArray[np.bool_], *, source: str, lists: Sequence[str] = ()) -> Blend:
    """Learn from the candidates of labelled questions.

    Args:
        recall: (q, n) scores of recall, best first; -inf where there is no candidate.
        match: (q, n) scores of the scorer; nan where there is none.
        right: (q, n) whether a candidate answers its question.
        source: where the questions come from.
        lists: what found the candidates.

    Raises:
        BadData: there are no questions, or recall finds no answer to any of them.
    """
    if not right.any():
        raise BadData(f"nothing can be learnt from {len(right)} questions of which recall finds no answer")
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
    """The best weights to a depth, the mean reciprocal rank they give, and whether answers are clearly likelier."""

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
    """Keep what was learnt."""
    json_store.write(place(root, composition, _KIND), blend)


def read(root: Path, compositions: Sequence[Composition]) -> dict[Composition, Blend]:
    """Return what was learnt of scorers here."""
    found = {each: json_store.read(place(root, each, _KIND), Blend) for each in compositions}
    return {each: blend for each, blend in found.items() if blend is not None}
