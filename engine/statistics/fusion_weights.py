"""Weights of reciprocal rank fusion, learned from questions with known answers.

Plain reciprocal rank fusion gives all lists the same weight. Here the weights of ``sum of weight / (c + rank)`` are
those with the highest likelihood of the answers (see ``choice_model``). Weights stay equal unless the likelihood
improves significantly and the mean reciprocal rank does not fall.

Shapes: l lists, q questions, n candidates of each over all lists.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quiver.engine.core.ranking import Ranked
from quiver.engine.core.ranking import reciprocal as points
from quiver.engine.statistics.choice_model import Chances, Doubles, reciprocal
from quiver.engine.statistics.scorer_recall import FOLDER
from quiver.engine.storage import json_store
from quiver.errors import BadData

_LISTS = "lists-"


@dataclass(frozen=True, slots=True)
class Balance:
    """Learned fusion weights.

    Attributes:
        weights: weight of each list, by its label; their mean is 1.
        before: mean reciprocal rank with equal weights.
        after: mean reciprocal rank with the learned weights.
        questions: number of training questions.
        source: source of the questions.
        at: time of learning, in UTC.
    """

    weights: Mapping[str, float]
    before: float
    after: float
    questions: int
    source: str
    at: str

    def __str__(self) -> str:
        told = ", ".join(f"{label} {weight:.3g}" for label, weight in self.weights.items())
        return (
            f"weights {told}, learned on {self.questions:,} questions of {self.source} ({self.at[:10]}): reciprocal"
            f" rank {self.after:.3f} instead of {self.before:.3f}"
        )


def learn(lists: Sequence[Ranked], right: Sequence[Sequence[int]], *, c: int, source: str) -> Balance:
    """Learn fusion weights from the lists of labelled questions.

    Args:
        lists: the lists to fuse.
        right: the rows that answer each question.
        c: rank constant of the fusion.
        source: source of the questions.

    Raises:
        BadData: no list finds an answer to any of the questions.
    """
    scores, rows = _union(lists, c)
    answers = np.stack([np.isin(own, list(each)) & (own >= 0) for own, each in zip(rows, right, strict=True)])
    answered = answers.any(axis=1)
    if not answered.any():
        raise BadData(f"fusion weights cannot be learned: no list finds an answer to any of {len(right)} questions")
    chances = Chances(scores[:, answered], rows[answered] >= 0, answers[answered])
    even = np.ones((1, len(lists)))
    fitted, alike = chances.fit(), chances.fit(even)
    before, after = (_found(scores, rows, answers, weights) for weights in (even[0], fitted))
    if after < before or not chances.clearer(fitted, alike):
        fitted, after = even[0], before
    weights = (fitted / fitted.mean()).tolist()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    labels = [ranked.label for ranked in lists]
    return Balance(dict(zip(labels, weights, strict=True)), before, after, len(right), source, now)


def _union(lists: Sequence[Ranked], c: int) -> tuple[Doubles, NDArray[np.int64]]:
    """Return the score of every list (l, q, n) for the union of their rows (q, n), padded with -1."""
    every = np.hstack([ranked.rows for ranked in lists])
    kept = [np.unique(own[own >= 0]) for own in every]
    rows = np.full((len(kept), max(map(len, kept))), -1, np.int64)
    scores = np.zeros((len(lists), *rows.shape))
    given = [points(ranked, c) for ranked in lists]
    for q, own in enumerate(kept):
        rows[q, : len(own)] = own
        for ranked, theirs, found in zip(lists, given, scores, strict=True):
            there = ranked.rows[q] >= 0
            found[q, np.searchsorted(own, ranked.rows[q, there])] = theirs[q, there]
    return scores, rows


def _found(scores: Doubles, rows: NDArray[np.int64], answers: NDArray[np.bool_], weights: Doubles) -> float:
    """Return the mean reciprocal rank with some weights."""
    mixed = np.where(rows >= 0, np.tensordot(weights, scores, 1), -np.inf)
    return reciprocal(mixed, answers)


def write(root: Path, balance: Balance) -> None:
    """Store learned fusion weights."""
    digest = hashlib.sha256("\n".join(sorted(balance.weights)).encode()).hexdigest()[:12]
    json_store.write(root / FOLDER / f"{_LISTS}{digest}.json", balance)


def read(root: Path) -> dict[frozenset[str], Balance]:
    """Return the stored fusion weights, by the labels of the fused lists."""
    found = [json_store.read(path, Balance) for path in (root / FOLDER).glob(f"{_LISTS}*.json")]
    return {frozenset(balance.weights): balance for balance in found if balance is not None}
