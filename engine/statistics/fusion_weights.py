"""How much each of several lists counts when they are fused by rank, learnt from questions with known answers.

Reciprocal rank fusion takes all lists for equally good. Here the weights of ``sum of weight / (c + rank)`` are those
that make the answers likeliest (see ``chance``). All lists count alike unless answers get clearly likelier, and rank no
worse.

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
    """What was learnt.

    Attributes:
        weights: of each list, by its label; their mean is 1.
        before: mean reciprocal rank where all count alike.
        after: mean reciprocal rank as learnt.
        questions: how many it was learnt from.
        source: where they come from.
        at: when, in UTC.
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
            f"weights {told}, as learnt on {self.questions:,} questions of {self.source} ({self.at[:10]}): reciprocal"
            f" rank {self.after:.3f} instead of {self.before:.3f}"
        )


def learn(lists: Sequence[Ranked], right: Sequence[Sequence[int]], *, c: int, source: str) -> Balance:
    """Learn from the lists of labelled questions.

    Args:
        lists: what is to be fused.
        right: the rows that answer each question.
        c: the constant of the fusion.
        source: where the questions come from.

    Raises:
        BadData: no list finds an answer to any of the questions.
    """
    scores, rows = _union(lists, c)
    answers = np.stack([np.isin(own, list(each)) & (own >= 0) for own, each in zip(rows, right, strict=True)])
    answered = answers.any(axis=1)
    if not answered.any():
        raise BadData(f"nothing can be learnt from {len(right)} questions of which no list finds an answer")
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
    """Return what every list gives (l, q, n) to the rows (q, n) that any of them has, -1 behind the last."""
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
    """Return the mean reciprocal rank by some weights."""
    mixed = np.where(rows >= 0, np.tensordot(weights, scores, 1), -np.inf)
    return reciprocal(mixed, answers)


def write(root: Path, balance: Balance) -> None:
    """Keep what was learnt of some lists."""
    digest = hashlib.sha256("\n".join(sorted(balance.weights)).encode()).hexdigest()[:12]
    json_store.write(root / FOLDER / f"{_LISTS}{digest}.json", balance)


def read(root: Path) -> dict[frozenset[str], Balance]:
    """Return what was learnt here, by the labels of the lists that are fused."""
    found = [json_store.read(path, Balance) for path in (root / FOLDER).glob(f"{_LISTS}*.json")]
    return {frozenset(balance.weights): balance for balance in found if balance is not None}
