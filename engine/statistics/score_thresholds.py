"""Learned score thresholds: with a stated confidence, at most a stated share of questions without an answer has a hit.

A threshold belongs to one kind of query: the route of its input to a column of vectors, or a scorer. It is stored as
JSON beside other learned figures. A sample of the vectors is noted, to find out which share of them has changed since.

For n questions without an answer, the threshold is above the best scores of all but m of them. The share of new
questions that exceed it is at most ``rate``, except with probability P(Binomial(n, rate) <= m): that is the tolerance
bound of order statistics (Wilks 1941; as a guarantee of conformal prediction given the calibration questions: Vovk
2012, "Conditional validity of inductive conformal predictors"). It assumes that new questions are like these, nothing
about the scores.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from quiver.engine.statistics.scorer_recall import FOLDER
from quiver.engine.storage import json_store
from quiver.types import Floats

#: Largest share of changed vectors at which a threshold is used. If new items are like the others, the share of
#: questions that exceed a threshold grows by at most the share of new items.
DRIFT = 0.1
#: Vectors of the noted sample.
SAMPLE = 256
_NAME = "threshold-"


@dataclass(frozen=True, slots=True)
class ScoreThreshold:
    """A learned score threshold.

    Attributes:
        min_score: the threshold, for ``min_score`` of such queries.
        rate: with ``confidence``, largest share of new questions without an answer whose best score reaches it.
        confidence: probability that this holds, over the choice of the questions.
        observed: share of the questions that reach it without their right answers.
        kept: share of the questions whose best right answer reaches it.
        kept_low: lower bound of that share for new questions, with the same confidence (Clopper and Pearson, 1934).
        questions: number of questions.
        kind: the kind of query, such as ``text -> image in clip``.
        key: identity of the kind, with the revision of the space.
        source: origin of the questions.
        at: time of learning, in UTC.
        version: version of the collection.
        column: name of the stored vector column.
        vectors: number of vectors at that time.
        sample: hashes of some of the vectors, by id of their item.
        changed: share of vectors added, changed or deleted since; not stored.
    """

    min_score: float
    rate: float
    confidence: float
    observed: float
    kept: float
    kept_low: float
    questions: int
    kind: str = ""
    key: str = ""
    source: str = ""
    at: str = ""
    version: int = 0
    column: str = ""
    vectors: int = 0
    sample: Mapping[str, str] = field(default_factory=dict, repr=False)
    changed: float = field(default=0.0, compare=False)

    def precision(self, absent: float = 0.5) -> float:
        """Return the share of empty answers that are right to be empty.

        Args:
            absent: share of all questions that have no answer in the collection.
        """
        right, wrong = absent * (1 - self.rate), (1 - absent) * (1 - self.kept)
        return right / (right + wrong)

    def promise(self) -> str:
        """Say what the threshold means."""
        return (
            f"with {self.confidence:.0%} confidence, at most {self.rate:.0%} of questions without an answer have a hit;"
            f" {self.kept:.0%} of the others keep a right one"
        )

    def __str__(self) -> str:
        return (
            f"min_score {self.min_score:.4g} for {self.kind}: learned on {self.questions:,} questions ({self.source});"
            f" {self.promise()} (at least {self.kept_low:.0%}). If half of the questions have no answer, empty answers"
            f" are right in {self.precision():.0%} of the cases"
        )

    @property
    def stale(self) -> bool:
        """Whether too many vectors have changed since."""
        return self.changed > DRIFT


def least_questions(rate: float, confidence: float) -> int:
    """Return the number of questions that a rate needs with a confidence.

    >>> least_questions(0.1, 0.95)
    29
    """
    return math.ceil(math.log(1 - confidence) / math.log(1 - rate))


def allowed(questions: int, rate: float, confidence: float) -> int:
    """Return how many of the questions may exceed the threshold; -1 if the questions are too few.

    >>> allowed(100, 0.1, 0.95), allowed(28, 0.1, 0.95)
    (4, -1)
    """
    from scipy.special import bdtr

    tail = bdtr(np.arange(questions, dtype=float), questions, rate)
    return int(np.searchsorted(tail, 1 - confidence, side="right")) - 1


def bounded(absent: Floats, present: Floats, *, rate: float, confidence: float) -> ScoreThreshold:
    """Return the threshold of best scores without and with right answers; -inf where nothing is found.

    Args:
        absent: (n,) best score of each question without its right answers; n is at least ``least_questions``.
        present: (n,) best score of a right answer.
        rate: see ``ScoreThreshold``.
        confidence: see ``ScoreThreshold``.
    """
    from scipy.special import betaincinv

    most, count = allowed(len(absent), rate, confidence), len(absent)
    threshold = float(np.nextafter(np.float32(np.sort(absent)[::-1][most]), np.float32(np.inf)))
    reach = int((present >= threshold).sum())
    low = float(betaincinv(reach, count - reach + 1, 1 - confidence)) if reach else 0.0
    observed = float((absent >= threshold).mean())
    return ScoreThreshold(threshold, rate, confidence, observed, reach / count, low, count)


def noted(ids: Sequence[str], vectors: Floats) -> dict[str, str]:
    """Return the hashes of vectors (n, dim), by id."""
    return {
        id: hashlib.blake2b(np.ascontiguousarray(vector).tobytes(), digest_size=8).hexdigest()
        for id, vector in zip(ids, vectors, strict=True)
    }


def drifted(threshold: ScoreThreshold, now: int, sample: Mapping[str, str]) -> ScoreThreshold:
    """Return the threshold with the share of vectors added, changed or deleted since.

    Args:
        threshold: the threshold as stored.
        now: number of vectors.
        sample: hashes of the vectors that items of its sample have now, by id.
    """
    kept = sum(sample.get(id) == known for id, known in threshold.sample.items()) / max(len(threshold.sample), 1)
    added = max(0.0, now / max(threshold.vectors, 1) - kept)
    return replace(threshold, changed=max(1 - kept, added))


def write(root: Path, threshold: ScoreThreshold) -> None:
    """Store a threshold; it replaces an earlier one of the same kind of query."""
    json_store.write(root / FOLDER / f"{_NAME}{threshold.key}.json", replace(threshold, changed=0.0))


def read(root: Path) -> dict[str, ScoreThreshold]:
    """Return the stored thresholds, by the key of their kind of query."""
    found = [json_store.read(path, ScoreThreshold) for path in sorted((root / FOLDER).glob(f"{_NAME}*.json"))]
    return {each.key: each for each in found if each is not None}
