"""The searching side of a collection: search, search_batch, pages and explain, with every keyword written out.

A keyword that is None is not given: its default is that of ``Query``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from quiver.engine.execution.plan import Plan, Result
from quiver.engine.execution.query_batch import many_of_both, one_of_both
from quiver.engine.execution.results import Results
from quiver.engine.serving.answer import explain
from quiver.engine.serving.batcher import Batcher, each_alone
from quiver.engine.serving.paging import pages
from quiver.engine.serving.searcher import Searcher
from quiver.errors import QuiverError
from quiver.keywords import given
from quiver.types import Query


class Searching(ABC):
    """The searches of a collection; ``Collection`` adds changes, indexes and descriptions."""

    def __init__(self, searcher: Searcher, batcher: Batcher) -> None:
        self._searcher, self._batcher = searcher, batcher

    @abstractmethod
    def checkout(self, version: int) -> "Searching":
        """Return the collection at a version, read-only."""

    def search(
        self,
        query: Query | None = None,
        /,
        *,
        vector: Any = None,
        vectors: Mapping[str, Any] | None = None,
        text: str | Sequence[str] | None = None,
        image: Any = None,
        audio: Any = None,
        video: Any = None,
        before: Any = None,
        after: Any = None,
        like: str | Sequence[str] | None = None,
        unlike: str | Sequence[str] | None = None,
        unlike_text: str | Sequence[str] | None = None,
        unlike_image: Any = None,
        unlike_audio: Any = None,
        unlike_video: Any = None,
        target: str | None = None,
        k: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        min_score: float | Literal["auto"] | None = None,
        where: str | None = None,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        group_by: str | None = None,
        group_size: int | None = None,
        order_by: str | None = None,
        deduplicate: float | None = None,
        diversity: float | None = None,
        exclude: str | Sequence[str] | None = None,
        candidates: str | Sequence[str] | None = None,
        spaces: str | Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        fuse: bool | None = None,
        hybrid: bool | None = None,
        reduce: Literal["mean", "max"] | None = None,
        scorer: str | None = None,
        budget_ms: float | None = None,
        index: str | None = None,
        depth: int | None = None,
        recall: str | None = None,
        group: str | None = None,
        per_group: int | None = None,
    ) -> Result:
        """Search with a Query, or with keywords: ``search(image="a.jpg", target="video", k=5)``.

        Args:
            query: a Query; then no keyword may be given.
            vector: a query vector, (dim,) or (m, dim), if the collection has one space, or ``spaces`` names one.
            vectors: query vectors by space name, such as ``{"mine": v}``.
            text: a text, or several. If nothing embeds text, full-text search is used.
            image: a path, URI, bytes, array or PIL image, or several in a list.
            audio: a path, URI, bytes or array, or several in a list.
            video: a path, URI, bytes or array, or several in a list.
            before: first image of a before/after pair.
            after: second image of a before/after pair.
            like: positive examples: ids of stored items.
            unlike: negative examples: ids of stored items to move away from.
            unlike_text: negative examples: a text, or several, in the space of the query.
            unlike_image: an image, or several, in the same way.
            unlike_audio: a sound, or several.
            unlike_video: a video, or several.
            target: the key to find: text, image, audio, video or pair; any by default.
            k: number of hits, or of groups (10).
            limit: another name of ``k``.
            offset: number of top results to skip (0).
            min_score: score threshold; ``auto`` for the one that ``threshold`` learned for such queries.
            where: an SQL condition on metadata, id and media, such as ``"price < ? AND brand = ?"``.
            params: values of its parameters: a list for ``?``, a mapping for ``:name``.
            group_by: metadata column; the best ``group_size`` hits per value are kept.
            group_size: most hits per group (1).
            order_by: sort the k best hits by a metadata column: ``"price"`` or ``"price desc"``. Hits without a value
                come last.
            deduplicate: fold hits whose cosine similarity to a better hit is at least this, such as 0.98;
                ``Hit.folded`` counts them.
            diversity: share of diversity in the order of the hits, from 0 to 1 (maximal marginal relevance).
            exclude: ids that are never returned.
            candidates: ids that compete; all by default.
            spaces: names of the spaces to search; lists of several are fused by rank. By default the default space of
                the searched key: see ``Collection.default``.
            fuse: search every space that can answer, and fuse the lists by rank.
            weights: weights of the inputs, such as ``{"text": 2}``.
            hybrid: combine vector search and full-text search for the text.
            reduce: how several values of one input combine: ``mean`` of vectors (default) or ``max`` of scores.
            scorer: composer or reranker to rank with; ``none`` uses none.
            budget_ms: latency budget in milliseconds.
            index: kind of index to use.
            depth: number of candidates in each list that is fused or reranked.
            recall: recall recipe of the scorer, or ``routes``.
            group: old name of ``group_by``.
            per_group: old name of ``group_size``.

        Returns:
            The hits, best first, with the plan. ``Query`` describes every setting.

        Raises:
            NoRoute: no encoder or bridge leads from the inputs to the target; the message names the missing one.
            BadMedia: an input cannot be decoded.
            BadSpec: the query or its condition is invalid, or a Query is given together with keywords.
        """
        return self._batcher.ask([one_of_both(query, given(locals()))])[0]

    def search_batch(
        self,
        queries: Sequence[Query] | None = None,
        /,
        *,
        vector: Any = None,
        vectors: Mapping[str, Any] | None = None,
        target: str | None = None,
        k: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        min_score: float | Literal["auto"] | None = None,
        where: str | None = None,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        group_by: str | None = None,
        group_size: int | None = None,
        order_by: str | None = None,
        deduplicate: float | None = None,
        diversity: float | None = None,
        exclude: str | Sequence[str] | None = None,
        candidates: str | Sequence[str] | None = None,
        spaces: str | Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        fuse: bool | None = None,
        hybrid: bool | None = None,
        reduce: Literal["mean", "max"] | None = None,
        scorer: str | None = None,
        budget_ms: float | None = None,
        index: str | None = None,
        depth: int | None = None,
        recall: str | None = None,
        group: str | None = None,
        per_group: int | None = None,
    ) -> Results:
        """Answer many queries; queries of the same form are answered as one batch.

        Keywords make one query for each of (q, dim) vectors of a space, or (q, m, dim). That is fastest:
        ``search_batch(vector=array, k=5).ids``. Hits are created on first access. ``search`` describes the keywords.

        Raises:
            QuiverError: the error of the first bad query, with its position (``queries[3]: ...``). Then no query is
                answered, so that no answer is missing unnoticed. Batches of other threads are not affected.
        """
        return each_alone(self._batcher.ask, many_of_both(queries, given(locals())))

    def search_each(self, queries: Sequence[Query]) -> list[Result | QuiverError]:
        """Answer many queries; a bad one has its error in its place, and harms no other.

        Queries of the same form are answered together, as by ``search_batch``.
        """
        return self._batcher.each(many_of_both(queries, {}))

    def pages(
        self,
        query: Query | None = None,
        /,
        *,
        vector: Any = None,
        vectors: Mapping[str, Any] | None = None,
        text: str | Sequence[str] | None = None,
        image: Any = None,
        audio: Any = None,
        video: Any = None,
        before: Any = None,
        after: Any = None,
        like: str | Sequence[str] | None = None,
        unlike: str | Sequence[str] | None = None,
        unlike_text: str | Sequence[str] | None = None,
        unlike_image: Any = None,
        unlike_audio: Any = None,
        unlike_video: Any = None,
        target: str | None = None,
        k: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        min_score: float | Literal["auto"] | None = None,
        where: str | None = None,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        group_by: str | None = None,
        group_size: int | None = None,
        order_by: str | None = None,
        deduplicate: float | None = None,
        diversity: float | None = None,
        exclude: str | Sequence[str] | None = None,
        candidates: str | Sequence[str] | None = None,
        spaces: str | Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        fuse: bool | None = None,
        hybrid: bool | None = None,
        reduce: Literal["mean", "max"] | None = None,
        scorer: str | None = None,
        budget_ms: float | None = None,
        index: str | None = None,
        depth: int | None = None,
        recall: str | None = None,
        group: str | None = None,
        per_group: int | None = None,
    ) -> Iterator[Result]:
        """Answer a query page by page, with k hits or groups per page; ``search`` describes the keywords.

        All pages read the same version of the collection, so no item is repeated or missed if items change meanwhile.
        """
        return pages(self, one_of_both(query, given(locals())))

    def explain(
        self,
        query: Query | None = None,
        /,
        *,
        vector: Any = None,
        vectors: Mapping[str, Any] | None = None,
        text: str | Sequence[str] | None = None,
        image: Any = None,
        audio: Any = None,
        video: Any = None,
        before: Any = None,
        after: Any = None,
        like: str | Sequence[str] | None = None,
        unlike: str | Sequence[str] | None = None,
        unlike_text: str | Sequence[str] | None = None,
        unlike_image: Any = None,
        unlike_audio: Any = None,
        unlike_video: Any = None,
        target: str | None = None,
        k: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        min_score: float | Literal["auto"] | None = None,
        where: str | None = None,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        group_by: str | None = None,
        group_size: int | None = None,
        order_by: str | None = None,
        deduplicate: float | None = None,
        diversity: float | None = None,
        exclude: str | Sequence[str] | None = None,
        candidates: str | Sequence[str] | None = None,
        spaces: str | Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        fuse: bool | None = None,
        hybrid: bool | None = None,
        reduce: Literal["mean", "max"] | None = None,
        scorer: str | None = None,
        budget_ms: float | None = None,
        index: str | None = None,
        depth: int | None = None,
        recall: str | None = None,
        group: str | None = None,
        per_group: int | None = None,
    ) -> Plan:
        """Return the plan of a query with its reasons, without searching; ``search`` describes the keywords.

        Rows that match its condition are counted.
        """
        asked = one_of_both(query, given(locals()))
        return explain(self._searcher.session(), asked)
