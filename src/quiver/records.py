"""Descriptions that a collection returns: its summary, its versions, and its indexes.

They were dicts before: ``info()["items"]`` works for one more release; ``info().items`` is the way now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quiver.record import Record


@dataclass(frozen=True, slots=True, eq=False)
class Version(Record):
    """A version of a collection.

    Attributes:
        version: its number.
        at: time of its commit, in ISO 8601.
        items: number of items.
    """

    version: int
    at: str
    items: int


@dataclass(frozen=True, slots=True, eq=False)
class IndexSetting(Record):
    """The settings of an index that reach its recall target at one depth and selectivity.

    Attributes:
        k: number of hits.
        selectivity: fraction of rows that pass the filter.
        spend: settings; None if an exact scan is used.
        recall: measured recall.
        error: standard error of the recall; None for an exact scan.
        ms: milliseconds per query; None for an exact scan.
        exact_ms: milliseconds per query of an exact scan.
    """

    k: int
    selectivity: float
    spend: Mapping[str, int] | None
    recall: float | None
    error: float | None
    ms: float | None
    exact_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class RecallTarget(Record):
    """The recall target of an index, and the evidence for it.

    Attributes:
        recall: the target: mean fraction of the true top k that searches find.
        k: the k of the target.
        state: whether it holds, in words.
        source: the sample queries that it was measured with.
        at: time of the measurement, in ISO 8601.
        vectors: number of vectors at that time.
        changed: fraction of the rows that changed since.
        settings: the settings for each depth and selectivity.
    """

    recall: float
    k: int
    state: str
    source: str
    at: str
    vectors: int
    changed: float
    settings: Sequence[IndexSetting]


@dataclass(frozen=True, slots=True, eq=False)
class BuiltIndex(Record):
    """An index that was built, or the choice of exact scans.

    Attributes:
        column: the vector column.
        kind: kind of index; ``exact`` for scans.
        options: build options.
        why: reason for the kind and options.
        vectors: number of vectors.
        seconds: time to build it.
        promise: its recall target; None if it has none.
        measured: time to measure the recall target, in seconds; None for exact scans.
    """

    column: str
    kind: str
    options: Mapping[str, str]
    why: str
    vectors: int
    seconds: float
    promise: RecallTarget | None
    measured: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredRecall(Record):
    """Recall of an index at one depth and selectivity.

    Attributes:
        k: number of hits.
        selectivity: fraction of rows that pass the filter.
        recall: measured recall.
        short: whether it is significantly below the target (95 %, one-sided).
    """

    k: int
    selectivity: float
    recall: float
    short: bool


@dataclass(frozen=True, slots=True, eq=False)
class CheckedIndex(Record):
    """A check of an index against its recall target.

    Attributes:
        column: the vector column.
        kind: kind of index.
        recall: the target.
        before: state of the target before the check, in words.
        found: measured recall for each depth and selectivity.
        kept: whether the target was reached.
        promise: the target now; its settings are new if it was missed.
    """

    column: str
    kind: str
    recall: float
    before: str
    found: Sequence[MeasuredRecall]
    kept: bool
    promise: RecallTarget


@dataclass(frozen=True, slots=True, eq=False)
class UpdatedIndex(Record):
    """An update of a stale index.

    Attributes:
        column: the vector column.
        kind: kind of index.
        how: ``extended`` or ``rebuilt``.
        vectors: number of vectors.
        seconds: duration.
    """

    column: str
    kind: str
    how: str
    vectors: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class IndexLag(Record):
    """How far an index is behind its column.

    Attributes:
        tail: number of newer vectors, which are scanned beside it.
        dead: number of deleted or rewritten ones.
        share: both as a fraction of the column.
    """

    tail: int
    dead: int
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class ColumnSummary(Record):
    """A vector column.

    Attributes:
        key: the embedded medium.
        space: name of the space.
        dim: dimension.
        metric: ``cosine``, ``dot`` or ``l2``.
        revision: hash of weights and preprocessing.
        default: whether searches for this key use it if no space is named.
        encoder: spec of the encoder; None for ready-made vectors.
        indexes: kinds of index, ``exact`` included.
        behind: how far each index is behind, by kind.
        promises: recall targets by kind.
    """

    key: str
    space: str
    dim: int
    metric: str
    revision: str
    default: bool
    encoder: str | None
    indexes: Sequence[str]
    behind: Mapping[str, IndexLag]
    promises: Mapping[str, RecallTarget]


@dataclass(frozen=True, slots=True, eq=False)
class Windows(Record):
    """Number of windows of videos and sounds, and of the films they are from."""

    count: int = 0
    films: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Quarantined(Record):
    """An item that could not be added.

    Attributes:
        id: its id.
        uri: its file; None without one.
        reason: why.
        at: when.
    """

    id: str
    uri: str | None
    reason: str
    at: str


@dataclass(frozen=True, slots=True, eq=False)
class ThresholdSummary(Record):
    """A learned score threshold, which ``min_score="auto"`` uses.

    Attributes:
        kind: the kind of query, such as ``text -> image in clip``.
        min_score: the threshold.
        rate: largest share of questions without an answer that still have a hit.
        confidence: probability that the rate holds for new questions.
        kept: share of the questions whose best right answer reaches the threshold.
        questions: number of questions that it was learned on.
        source: origin of the questions.
        at: time of learning, in UTC.
        changed: share of the vectors that changed since.
        stale: whether too many changed, so that it is not used any more.
        promise: its meaning, in words.
    """

    kind: str
    min_score: float
    rate: float
    confidence: float
    kept: float
    questions: int
    source: str
    at: str
    changed: float
    stale: bool
    promise: str


@dataclass(frozen=True, slots=True, eq=False)
class Summary(Record):
    """A collection.

    Attributes:
        uri: its place.
        version: number of the newest version.
        items: number of items.
        media: number of items by medium.
        windows: number of windows of videos and sounds.
        columns: the vector columns.
        encoders: embedded keys by spec.
        scorers: names of composers and rerankers.
        meta: type of each metadata column.
        quarantine: items that could not be added.
        thresholds: learned score thresholds, by kind of query.
    """

    uri: str
    version: int
    items: int
    media: Mapping[str, int]
    windows: Windows
    columns: Sequence[ColumnSummary]
    encoders: Mapping[str, Sequence[str]]
    scorers: Sequence[str]
    meta: Mapping[str, str]
    quarantine: Sequence[Quarantined] = field(default_factory=tuple)
    thresholds: Sequence[ThresholdSummary] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True, eq=False)
class FacetValue(Record):
    """A value of a metadata column, and the number of items that have it."""

    value: Any
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class FacetRange(Record):
    """A range of numbers or times, and the number of items in it; ``low`` belongs to it, ``high`` does not."""

    low: Any
    high: Any
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Facets(Record):
    """The values of a metadata column with their counts.

    Attributes:
        column: the column.
        kind: its type in words, such as ``whole numbers`` or ``lists of text``.
        items: number of items that match the condition.
        missing: number of them without a value: null, not a number, or an empty list.
        distinct: number of different values.
        values: the most frequent values, most frequent first; ties in the order of the values.
        low: smallest value of numbers, dates or times; None for other types, or without values.
        high: largest value.
        ranges: counts of numbers, dates or times by range, ascending; ranges without items are left out.
    """

    column: str
    kind: str
    items: int
    missing: int
    distinct: int
    values: Sequence[FacetValue]
    low: Any = None
    high: Any = None
    ranges: Sequence[FacetRange] = ()


@dataclass(frozen=True, slots=True, eq=False)
class DuplicateGroup(Record):
    """Items that are near-duplicates of the first of them.

    Attributes:
        ids: ids, the first in the order on disk first.
        exact: whether the files of all of them have the same content, by hash.
        similarity: lowest cosine similarity to the first; None if vectors were not compared.
    """

    ids: Sequence[str]
    exact: bool
    similarity: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates(Record):
    """Groups of near-duplicates.

    Attributes:
        groups: the groups, largest first.
        items: number of items that were compared.
        extra: number of items in the groups beyond the first of each.
        space: name of the space of the compared vectors; None if only files were compared.
        key: medium of the vectors; None if only files were compared.
        threshold: least cosine similarity to the first of a group.
    """

    groups: Sequence[DuplicateGroup]
    items: int
    extra: int
    space: str | None
    key: str | None
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class VectorHealth(Record):
    """What a check of the stored vectors of one column found.

    Attributes:
        key: the embedded medium.
        space: name of the space.
        sampled: vectors that were looked at.
        cosine: mean cosine of two different ones; None for less than two, and for columns that only a reranker reads.
        alike: vectors equal to that of another item.
        again: by id of an item that was embedded again, the cosine of its stored and its new vector.
        problems: lines for the user; empty if all is well.
    """

    key: str
    space: str
    sampled: int
    cosine: float | None
    alike: int
    again: Mapping[str, float]
    problems: Sequence[str]
