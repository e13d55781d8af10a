"""The learning side of a collection: measures of scorers, learned weights and score thresholds."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from quiver.engine.execution.results import Results
from quiver.engine.serving.answer import explain
from quiver.engine.serving.searcher import Searcher
from quiver.engine.statistics.score_thresholds import ScoreThreshold
from quiver.engine.statistics.scorer_recall import Measured
from quiver.engine.tuning.own_questions import own_questions
from quiver.engine.tuning.score_threshold import learn_threshold
from quiver.engine.tuning.scorer_measure import Learnt, fit, measure
from quiver.errors import BadSpec
from quiver.types import Query, strings


class Learning(ABC):
    """What a collection learns from sample queries; later plans use it."""

    _searcher: Searcher

    @abstractmethod
    def search_batch(self, queries: Sequence[Query], /) -> Results:
        """Answer many queries."""

    def measure(self, queries: Sequence[Query], *, scorer: str | None = None, k: int = 10) -> Measured:
        """Measure a scorer on sample queries: its cost, and the recall of its recall recipes. Plans use the results.

        Args:
            queries: sample queries with the same kinds of input, such as an image and a text.
            scorer: name of the scorer; None for the one that a search would use.
            k: the k of recall@k.

        Raises:
            BadSpec: there are no queries, their inputs differ in kind, or no scorer ranks their target.
        """
        try:
            return measure(self._searcher.session(), queries, scorer=scorer, k=k)
        finally:
            self._searcher.renew()

    def fit(
        self,
        queries: Sequence[Query],
        answers: Sequence[str | Iterable[str]],
        *,
        scorer: str | None = None,
        depth: int = 100,
        source: str = "the user",
    ) -> Learnt:
        """Learn from labelled queries the weight of a reranker against recall, or the weights of fused lists.

        Later searches use the learned weights. Do not use the queries that you evaluate on.

        Args:
            queries: labelled queries with the same kinds of input and the same target, such as texts that find images.
            answers: the id or ids of the right answers of each query.
            scorer: name of the reranker; None for the one that a search would use.
            depth: candidates per query; deeper candidates are never reranked.
            source: origin of the labelled queries, for ``explain``.

        Raises:
            BadSpec: there are no queries, their inputs differ in kind, or a search reranks and fuses nothing for them.
            BadData: recall finds none of the answers.
        """
        if isinstance(answers, str):
            raise BadSpec("answers must be a list with the id or ids of each query's right answers, not one string")
        right = [list(strings(each, "answers")) for each in answers]
        try:
            return fit(self._searcher.session(), queries, right, scorer=scorer, depth=depth, source=source)
        finally:
            self._searcher.renew()

    def threshold(
        self,
        queries: Sequence[Query] | None = None,
        answers: Sequence[Any] | None = None,
        *,
        by: str | None = None,
        target: str | None = None,
        rate: float = 0.1,
        confidence: float = 0.95,
        source: str = "",
    ) -> ScoreThreshold:
        """Learn a ``min_score`` that tells sure hits from unsure ones: above what items reach that do not fit.

        It is stored for queries of this kind: ``search(..., min_score="auto")`` uses it. With the stated confidence it
        holds for new questions that are like these: at most ``rate`` of those without an answer have a hit. It is stale
        if more than a tenth of the vectors change; the vectors of another encoder need another threshold.

        Without ``queries``, the collection asks itself: the texts of items find their items, or, with ``by``, stored
        items find the items with the same value.

        Args:
            queries: labelled queries of one kind.
            answers: ids of all right answers of each query; they are taken out to see what the others reach.
            by: metadata column of labels, such as ``brand``, without ``queries``.
            target: the key to find, without ``queries``.
            rate: largest share of queries without an answer that still find something.
            confidence: probability that the rate holds for new queries.
            source: origin of the queries, for ``explain``.

        Raises:
            BadSpec: queries are too few for rate and confidence, differ in kind, or have no comparable scores.
            BadData: no right answer is found.
        """
        if (queries is None) != (answers is None):
            raise BadSpec("threshold takes queries together with their answers, or neither: then the collection asks")
        if queries is not None and (by is not None or target is not None):
            raise BadSpec("by and target choose the collection's own questions: leave them out, or leave out queries")
        session, told = self._searcher.session(), source or "the user"
        plan = partial(explain, session)
        if queries is None or answers is None:
            queries, answers, own = own_questions(session, by=by, target=target)
            told = source or own
        right = [list(strings(each, "answers")) for each in answers]
        try:
            return learn_threshold(
                session, self.search_batch, plan, queries, right, rate=rate, confidence=confidence, source=told
            )
        finally:
            self._searcher.renew()
