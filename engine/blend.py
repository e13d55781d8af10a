"""How much recall and a scorer count when candidates are ranked again, learnt from questions with known answers.

Scores of recall and of a scorer are not comparable. Within the candidates of a query each is made to have mean 0 and
deviation 1, and the weighted mean of the two ranks them: one number is learnt, the weight of the scorer, and how deep
it may look, since a scorer that looks deeper also finds more that deceives it (arXiv:2411.11767). Both are searched on
a grid for the best mean reciprocal rank. The weight is 0 unless that is better than recall alone by two standard
errors of the difference, so that on those questions nothing is ever worse, and chance is not taken for skill.

Shapes: q queries, n candidates of each in the order of recall.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quiver.engine.file import keep
from quiver.engine.graph import Composition
from quiver.engine.rank import Scores
from quiver.engine.trial import place
from quiver.errors import BadData

#: What is tried: weights of the scorer, and depths as far as there are candidates.
WEIGHTS = tuple(n / 20 for n in range(21))
DEPTHS = (5, 10, 20, 50, 100, 200, 500, 1000)
#: Standard errors that a gain has to be clear of chance.
_CLEAR = 2
_KIND = "blend"


@dataclass(frozen=True, slots=True)
class Blend:
    """What was learnt.

    Attributes:
        weight: of the scorer, 0 to 1; recall counts the rest.
        depth: candidates beyond which the scorer lowers the mean reciprocal rank, or that were not tried.
        before: mean reciprocal rank by recall alone.
        after: mean reciprocal rank as learnt.
        questions: how many it was learnt from.
        source: where they come from.
        at: when, in UTC.
        lists: what found the candidates; other lists have other scores.
    """

    weight: float
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
            f"the scorer counts {self.weight:g} and recall {1 - self.weight:g} to depth {self.depth}, as learnt on"
            f" {self.questions:,} questions of {self.source} ({self.at[:10]}): {gain}"
        )


def mix(recall: Scores, match: Scores, weight: float) -> Scores:
    """Join scores (..., n) of recall and of a scorer; those of the scorer as they are where only they count.

    >>> mix(np.array([3.0, 2.0, 1.0]), np.array([0.0, 0.0, 9.0]), 0.75).argmax()
    np.int64(2)
    """
    if weight == 1:
        return match
    return (1 - weight) * _standard(recall) + weight * _standard(match)


def _standard(scores: Scores) -> NDArray[np.float64]:
    """Bring scores to mean 0 and deviation 1 along the last axis, leaving out nan; all alike become 0."""
    wide = np.asarray(scores, np.float64)
    there = ~np.isnan(wide)
    count = np.maximum(there.sum(axis=-1, keepdims=True), 1)
    centred = wide - np.where(there, wide, 0).sum(axis=-1, keepdims=True) / count
    spread = np.sqrt(np.where(there, np.square(centred), 0).sum(axis=-1, keepdims=True) / count)
    return centred / np.where(spread > 0, spread, 1)


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
    before = _reciprocal(right)
    trials = _trials(recall, match, right)
    after, weight, depth = max(trials, key=lambda trial: (trial[0].mean(), -trial[1], -trial[2]))
    gain = after - before
    if gain.mean() <= _CLEAR * gain.std() / np.sqrt(len(gain)):
        after, weight = before, 0.0
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Blend(weight, depth, float(before.mean()), float(after.mean()), len(right), source, now, tuple(lists))


def _trials(
    recall: Scores, match: Scores, right: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.float64], float, int]]:
    """Yield the reciprocal ranks (q,) of every weight and depth, with both."""
    width = recall.shape[1]
    for depth in sorted({min(depth, width) for depth in DEPTHS}):
        head = np.isfinite(match[:, :depth]) & np.isfinite(recall[:, :depth])
        ours = np.where(head, recall[:, :depth], np.nan)
        theirs = np.where(head, match[:, :depth], np.nan)
        for weight in WEIGHTS:
            mixed = np.full(recall.shape, -np.inf)
            mixed[:, :depth] = np.where(head, mix(ours, theirs, weight), -np.inf)
            order = np.argsort(-mixed, axis=1, kind="stable")
            yield _reciprocal(np.take_along_axis(right, order, 1)), weight, depth


def _reciprocal(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (q,) one over the rank of the first right candidate, 0 where there is none."""
    return np.where(right.any(axis=1), 1 / (1 + np.argmax(right, axis=1)), 0)


def write(root: Path, composition: Composition, blend: Blend) -> None:
    """Keep what was learnt."""
    keep(place(root, composition, _KIND), json.dumps(asdict(blend)))


def read(root: Path, compositions: Sequence[Composition]) -> dict[Composition, Blend]:
    """Return what was learnt of scorers here."""
    found = {}
    for composition in compositions:
        try:
            held = json.loads(place(root, composition, _KIND).read_text())
            found[composition] = Blend(**held | {"lists": tuple(held["lists"])})
        except (OSError, ValueError, TypeError, KeyError):  # none yet, or not ours
            continue
    return found
