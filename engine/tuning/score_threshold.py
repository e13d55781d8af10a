"""Learn a score threshold that tells sure hits from unsure ones, from questions with known answers.

For each question, all right answers are taken out, and the collection is searched: the best score left is one that an
item reaches although nothing fits. ``quiver.engine.statistics.score_thresholds`` says which threshold follows.

The distance of the best score from the other scores of the same answer tells less: on 560 sounds (YAMNet, ESC-50
labels), the best score separates questions with an answer from the same questions without one with an AUC of 0.862, its
distance in standard deviations with 0.649.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from quiver.engine.core.sql import numbered, present
from quiver.engine.execution.plan import Plan
from quiver.engine.execution.results import Results
from quiver.engine.execution.session import Session
from quiver.engine.planning.query_kind import QueryKind, kind_of
from quiver.engine.statistics import score_thresholds
from quiver.engine.statistics.score_thresholds import SAMPLE, ScoreThreshold, least_questions
from quiver.errors import BadData, BadSpec
from quiver.query_checks import is_finite
from quiver.types import Query, keys_of

#: A threshold below every score, so that plans whose scores are not comparable are refused.
_LOWEST = -np.finfo(np.float32).max.item()


def learn_threshold(
    session: Session,
    search: Callable[[Sequence[Query]], Results],
    explain: Callable[[Query], Plan],
    queries: Sequence[Query],
    answers: Sequence[Sequence[str]],
    *,
    rate: float,
    confidence: float,
    source: str,
) -> ScoreThreshold:
    """Learn and store a threshold.

    Args:
        session: the collection.
        search: answers a batch of queries.
        explain: plans a query.
        queries: questions of one kind.
        answers: ids of all right answers of each; an item that is right but not listed makes the threshold too high.
        rate: wanted share of questions without an answer that still have a hit, above 0 and below 1.
        confidence: wanted probability that the rate holds for new questions, above 0 and below 1.
        source: origin of the questions.

    Raises:
        BadSpec: numbers differ, there are too few questions for the rate, or scores of such queries are not comparable.
        BadData: no right answer is found, or nothing is left without them.
    """
    _check(queries, answers, rate, confidence)
    asked = [replace(query, k=1, offset=0, min_score=_LOWEST) for query in queries]
    kind = kind_of(asked[0], explain(asked[0]).stages)
    without = [replace(query, exclude=(*query.exclude, *own)) for query, own in zip(asked, answers, strict=True)]
    within = [replace(query, candidates=tuple(own)) for query, own in zip(asked, answers, strict=True)]
    absent, present = (
        np.array([found[0].score if len(found) else -np.inf for found in search(each)], np.float32)
        for each in (without, within)
    )
    if not np.isfinite(present).any() or not np.isfinite(absent).any():
        raise BadData("a threshold cannot be learned: no right answer is found, or no other item")
    found = score_thresholds.bounded(absent, present, rate=rate, confidence=confidence)
    made = _with_provenance(found, session, kind, source)
    score_thresholds.write(session.cache.root, made)
    return made


def _check(queries: Sequence[Query], answers: Sequence[Sequence[str]], rate: float, confidence: float) -> None:
    for each in queries:
        if not isinstance(each, Query):
            raise BadSpec(f"threshold takes a list of Query, such as [Query({{'text': 'a dog'}})], not {each!r:.80}")
    if len(answers) != len(queries):
        raise BadSpec(f"{len(queries)} queries have {len(answers)} answers: give the id or ids of each")
    for name, share in (("rate", rate), ("confidence", confidence)):
        if not (is_finite(share) and 0 < share < 1):
            raise BadSpec(f"{name} must be a share between 0 and 1, such as 0.1, not {share!r}")
    if len({(keys_of(each.media), bool(each.like), tuple(each.vectors), each.target) for each in queries}) > 1:
        raise BadSpec("a threshold is learned for one kind of query: give queries with the same inputs and target")
    if len(queries) < (least := least_questions(rate, confidence)):
        raise BadSpec(
            f"a rate of {rate:g} with a confidence of {confidence:g} needs at least {least:,} questions, and there are"
            f" {len(queries):,}: give more, or a higher rate"
        )


def _with_provenance(found: ScoreThreshold, session: Session, kind: QueryKind, source: str) -> ScoreThreshold:
    """Return a threshold with the kind of query, and what it was learned from."""
    column = kind.column.stored
    rows = session.table.rows(present(column.name))
    some = np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])
    ids = session.table.read(["id"], where=numbered(some.tolist()))
    names = dict(zip(ids["_rowid"].to_pylist(), ids["id"].to_pylist(), strict=True))
    vectors = session.resident(column).take(some)
    return replace(
        found,
        kind=kind.told,
        key=kind.key,
        source=source,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=session.table.version,
        column=column.name,
        vectors=len(rows),
        sample=score_thresholds.noted([names[row] for row in vectors.rows.tolist()], vectors.data),
    )
