"""A score threshold that tells sure hits from unsure ones, learned from questions with known answers.

For each question, all right answers are taken out, and the collection is searched: the best score left is one that an
item reaches although nothing fits. The threshold is the quantile of these scores that only a given share exceeds.

The distance of the best score from the other scores of the same answer tells less: on 560 sounds (YAMNet, ESC-50
labels), the best score separates questions with an answer from the same questions without one with an AUC of 0.862, its
distance in standard deviations with 0.649.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from quiver.engine.execution.results import Results
from quiver.errors import BadData, BadSpec
from quiver.query_checks import is_finite
from quiver.types import Query


@dataclass(frozen=True, slots=True)
class ScoreThreshold:
    """A learned score threshold.

    Attributes:
        min_score: the threshold, for ``min_score`` of such queries.
        rate: largest share of questions without an answer whose best score reaches it.
        kept: share of questions whose best right answer reaches it.
        questions: number of questions.
    """

    min_score: float
    rate: float
    kept: float
    questions: int

    def __str__(self) -> str:
        return (
            f"min_score {self.min_score:.4g}: learned on {self.questions:,} questions; without their right answers,"
            f" {self.rate:.0%} of them have a hit above it; with them, {self.kept:.0%} have a right one above it"
        )


def learn_threshold(
    search: Callable[[Sequence[Query]], Results],
    queries: Sequence[Query],
    answers: Sequence[Sequence[str]],
    rate: float,
) -> ScoreThreshold:
    """Learn a threshold.

    Args:
        search: answers a batch of queries.
        queries: questions of one kind.
        answers: ids of all right answers of each; an item that is right but not listed makes the threshold too high.
        rate: wanted share of questions without an answer that still have a hit, above 0 and below 1.

    Raises:
        BadSpec: numbers differ, there are too few questions for the rate, or scores of such queries are not comparable.
        BadData: no right answer is found, or nothing is left without them.
    """
    for each in queries:
        if not isinstance(each, Query):
            raise BadSpec(f"threshold takes a list of Query, such as [Query({{'text': 'a dog'}})], not {each!r:.80}")
    if len(answers) != len(queries):
        raise BadSpec(f"{len(queries)} queries have {len(answers)} answers: give the id or ids of each")
    if not (is_finite(rate) and 0 < rate < 1):
        raise BadSpec(f"rate must be a share between 0 and 1, such as 0.1, not {rate!r}")
    if len(queries) * rate < 1:
        raise BadSpec(f"a rate of {rate:g} needs more than {len(queries)} questions: at least 1 / rate")
    # A threshold is set, so that plans whose scores are not comparable are refused.
    asked = [replace(query, k=1, offset=0, min_score=-np.finfo(np.float32).max.item()) for query in queries]
    without = [replace(query, exclude=(*query.exclude, *own)) for query, own in zip(asked, answers, strict=True)]
    within = [replace(query, candidates=tuple(own)) for query, own in zip(asked, answers, strict=True)]
    absent, present = (
        np.array([found[0].score if len(found) else -np.inf for found in search(each)]) for each in (without, within)
    )
    if not np.isfinite(present).any() or not np.isfinite(absent).any():
        raise BadData("a threshold cannot be learned: no right answer is found, or no other item")
    most = int(len(absent) * rate)
    threshold = float(np.nextafter(np.sort(absent)[::-1][most], np.inf))
    kept = float((present >= threshold).mean())
    return ScoreThreshold(threshold, float((absent >= threshold).mean()), kept, len(queries))
