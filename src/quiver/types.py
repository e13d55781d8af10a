"""The data types: spaces, items, queries, vectors, probes and hits. They need numpy only.

Shapes: n items, q queries, m probe vectors, dim the dimension of a space.
"""

from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quiver import query_checks
from quiver.conditions import NO_PARAMS, Condition, condition_of
from quiver.errors import BadSpec, SpaceMismatch
from quiver.old_names import accepts
from quiver.wording import option

Metric = Literal["cosine", "dot", "l2"]
Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

METRICS: tuple[Metric, ...] = ("cosine", "dot", "l2")
#: Media of an item: at most one reference (path, URI, or the text itself) per name.
MEDIA = ("text", "image", "audio", "video", "before", "after")
#: Keys that an encoder embeds. A pair is the two images {"before", "after"} of one item.
KEYS = ("text", "image", "audio", "video", "pair")
#: Query input beside the media: stored items as positive examples.
LIKE = "like"
#: Query input beside the media: stored items as negative examples.
UNLIKE = "unlike"
#: Media of negative examples, by the keyword of a search.
NEGATIVES = {f"unlike_{name}": name for name in ("text", "image", "audio", "video")}
#: Name of full-text search in the weights of a query.
WORDS = "words"
#: Old names of keywords of a query, and their current names.
OLD_NAMES = {"group": "group_by", "per_group": "group_size"}
#: Second names of keywords of a query.
ALIASES = {"limit": "k"}
#: Largest ``k``, ``group_size`` and ``offset`` of a query.
MOST = 2**31 - 1
#: Name of the only space of a collection in the vectors of a query that does not name it.
THE_SPACE = ""
#: ``min_score="auto"``: the learned threshold.
AUTO = "auto"
#: ``scorer="none"``: rank without a composer or reranker.
NONE = "none"
#: ``recall="routes"``: the other routes to the target find the candidates of a scorer, not one of its recall recipes.
ROUTES = "routes"


def keys_of(media: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of an item or query, in the order of KEYS.

    >>> keys_of({"text": "a red ball", "before": "a.jpg", "after": "b.jpg"})
    ('text', 'pair')
    """
    pair = ("pair",) if media.get("before") is not None and media.get("after") is not None else ()
    return tuple(key for key in KEYS[:-1] if media.get(key) is not None) + pair


def source_of(media: Mapping[str, Any], key: str) -> Any:
    """Return the input of a reader of this key: one reference, or (before, after) for a pair."""
    return (media["before"], media["after"]) if key == "pair" else media[key]


def uri_of(media: Mapping[str, Any]) -> str | None:
    """Return the first file of an item, or None if it is text alone.

    >>> uri_of({"text": "a red ball", "image": "a.jpg"})
    'a.jpg'
    """
    return next((media[name] for name in MEDIA if name != "text" and media.get(name) is not None), None)


def values_of(media: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    """Return the inputs of a query under one name as a tuple: one reference or text, or several.

    >>> values_of({"text": ["in red", "with long sleeves"], "image": "a.jpg"}, "image")
    ('a.jpg',)
    """
    held = media.get(name)
    return () if held is None else tuple(held) if isinstance(held, list | tuple) else (held,)


def sources_of(media: Mapping[str, Any], key: str) -> tuple[Any, ...]:
    """Return the inputs of a reader of this key for a query, one for each reference or text."""
    return (source_of(media, key),) if key == "pair" else values_of(media, key)


def strings(given: Any, what: str) -> tuple[str, ...]:
    """Return one string or several strings as a tuple; one string is one value, not a sequence of letters.

    >>> strings("12", "like"), strings(["1", "2"], "like")
    (('12',), ('1', '2'))

    Raises:
        BadSpec: a value is not a string.
    """
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Iterable) or isinstance(given, bytes | bytearray | memoryview):
        raise BadSpec(f"{what} must be a string or a list of strings, not {given!r:.80}")
    values = tuple(given)
    for place, value in enumerate(values):
        if not isinstance(value, str):
            raise BadSpec(f"{what} must contain strings only; value {place + 1} of {len(values)} is {value!r:.80}")
    return values


@dataclass(frozen=True, slots=True)
class Space:
    """A vector space. Vectors can be compared only if their spaces are equal.

    Attributes:
        name: readable name, such as ``timm/mobilenetv2_100``.
        dim: dimension of its vectors.
        metric: ``cosine`` (vectors have unit length), ``dot``, or ``l2``.
        revision: hexadecimal hash of weights and preprocessing; other weights make another space.
    """

    name: str
    dim: int
    metric: Metric
    revision: str

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise BadSpec(f"space {self.name}: dim must be positive, not {self.dim}")
        if self.metric not in METRICS:
            raise BadSpec(f"space {self.name}: metric must be one of {', '.join(METRICS)}, not {self.metric}")

    def __str__(self) -> str:
        return f"{self.name}@{self.revision[:8]}"


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a collection.

    Attributes:
        id: unique in its collection.
        media: references by name, a subset of MEDIA.
        meta: metadata values by column.
    """

    id: str
    media: Mapping[str, str]
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Vectors of one space, by row.

    Attributes:
        space: the space of the vectors.
        rows: (n,) int64 row numbers, unique.
        data: (n, dim) float32, C-contiguous.

    Raises:
        SpaceMismatch: data has another dimension than the space, or another number of rows than ``rows``.
    """

    space: Space
    rows: Rows
    data: Floats

    def __post_init__(self) -> None:
        if self.data.ndim != 2 or self.data.shape[1] != self.space.dim:
            raise SpaceMismatch(f"{self.space} takes (n, {self.space.dim}) vectors, not {self.data.shape}")
        if self.rows.shape != self.data.shape[:1]:
            raise SpaceMismatch(f"{len(self.rows)} row numbers for {len(self.data)} vectors of {self.space}")

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """The vectors of a batch of q queries to one index: m vectors for each query.

    Attributes:
        space: the space to search.
        vectors: (q, m, dim) float32.
        reduce: ``max`` takes an item's best score over the m vectors; ``mean`` averages the vectors first.
    """

    space: Space
    vectors: Floats
    reduce: Literal["max", "mean"] = "max"


@accepts(old=OLD_NAMES, aliases=ALIASES)
@dataclass(frozen=True, slots=True)
class Query:
    """One search: its inputs, its target, and how to answer it.

    Attributes:
        media: inputs by name, a subset of MEDIA; may be empty. An input is a reference, bytes or an array, or a list of
            them (not for a pair).
        like: positive examples: ids of stored items, which are left out of the answer.
        unlike: negative examples: ids of stored items, left out too. Every query vector p becomes ``p + w (p - n)``:
            n is the mean of the negative examples in the space of p, w the weight of ``unlike``; for cosine, both have
            unit length first.
        unlike_media: further negative examples by name, of text, image, audio and video: as ``media``. The keywords of
            a search are ``unlike_text``, ``unlike_image`` and so on.
        vectors: ready-made query vectors, (dim,) or (m, dim), by space name.
        vector: the query vector, (dim,) or (m, dim), if the collection has one space, or ``spaces`` names one. It is
            stored in ``vectors`` under the name ``THE_SPACE``.
        target: the key to find (``video``), or None for any.
        k: number of hits; with ``group_by``, number of groups. ``limit`` is another name of it.
        offset: number of top results to skip (pagination); with ``group_by``, of groups.
        min_score: score threshold, or ``auto`` for the one that ``Collection.threshold`` learned for such queries; not
            allowed if lists are fused by rank, because their scores are not comparable.
        group_by: keep the best ``group_size`` hits for each value of this metadata column, such as the film of a
            frame; an item without a value is a group of its own.
        group_size: see ``group_by``.
        order_by: sort the k best hits by this metadata column; ``"price desc"`` from the largest. The score alone
            decides which k these are. Hits of equal value stay in the order of their scores; hits without a value come
            last.
        deduplicate: fold near-duplicates: a hit whose cosine similarity to a better hit is at least this is left out,
            and ``Hit.folded`` of the better one counts it.
        diversity: share of diversity in the order of the hits, from 0 to 1: maximal marginal relevance (Carbonell and
            Goldstein, 1998). Each next hit has the largest ``(1 - d) r - d s``: r is its score, scaled to 0 to 1 over
            the candidates, s its largest cosine similarity to a hit before it.
        where: an SQL condition on metadata, id and media of items, or a Condition: ``quiver.engine.core.condition``.
        params: values of its parameters: by name for ``:name``, or in order for ``?``.
        spaces: names of the spaces to answer in; the lists of several are fused by rank. Empty for the default space
            of the key that is searched, or of the first encoder that can answer.
        fuse: search every space that can answer, and fuse the lists by rank.
        index: kind of index to use; None lets the planner choose.
        weights: weights of the inputs, by key of KEYS, ``like``, ``unlike`` or ``words``; 1 by default.
        scorer: composer or reranker to rank with; None lets the planner choose, ``none`` uses none.
        budget_ms: latency budget in milliseconds: a reranker scores as many candidates as fit. The queries of a batch
            share the sum of their budgets.
        reduce: how several values of one input, or several examples, combine: ``mean`` of their vectors, or ``max`` of
            their scores. Vectors (m, dim) always combine by the maximum.
        hybrid: combine vector search and full-text search for the text.
        exclude: ids of stored items that are never returned, such as those that the user has seen. Ids that are not
            stored are ignored.
        candidates: ids of the stored items that compete; None for all. With ``where``, both hold. Ids that are not
            stored are ignored.
        depth: number of candidates in each list that is fused, rescored or reranked; None lets the planner choose.
        recall: how to find the candidates of a scorer: the name of one of its recall recipes, or ``routes`` for the
            other routes to the target; with ``routes``, ``spaces`` are those of the candidates. None lets the planner
            choose; it may score every item.

    Raises:
        BadSpec: the query is empty or contradicts itself, or a value is invalid.
    """

    media: Mapping[str, Any] = field(default_factory=dict)
    like: tuple[str, ...] = ()
    vectors: Mapping[str, Any] = field(default_factory=dict)
    target: str | None = None
    k: int = 10
    where: str | Condition | None = None
    spaces: tuple[str, ...] = ()
    index: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    scorer: str | None = None
    budget_ms: float | None = None
    unlike: tuple[str, ...] = ()
    offset: int = 0
    min_score: float | Literal["auto"] | None = None
    group_by: str | None = None
    group_size: int = 1
    reduce: Literal["mean", "max"] = "mean"
    hybrid: bool = False
    exclude: tuple[str, ...] = ()
    candidates: tuple[str, ...] | None = None
    depth: int | None = None
    recall: str | None = None
    params: Any = NO_PARAMS
    fuse: bool = False
    order_by: str | None = None
    deduplicate: float | None = None
    diversity: float | None = None
    unlike_media: Mapping[str, Any] = field(default_factory=dict)
    vector: InitVar[Any] = None

    def __post_init__(self, vector: Any) -> None:
        if vector is not None:
            self._take_vector(vector)
        if self.where is not None or self.params is not NO_PARAMS:
            self._take_condition()
        held = (self.like, self.unlike, self.spaces, self.exclude)
        if self.candidates is not None or any(type(each) is not tuple or each for each in held):
            self._take_strings()
        if self.target is not None and self.target not in KEYS:
            raise BadSpec(f"{option('target')} must be one of {', '.join(KEYS)}, not {self.target!r}")
        if self.budget_ms is not None and not (query_checks.is_finite(self.budget_ms) and self.budget_ms > 0):
            raise BadSpec(f"{option('budget_ms')} must be a positive number of milliseconds, not {self.budget_ms!r}")
        if not (type(self.k) is type(self.group_size) is type(self.offset) is int and self.depth is None):
            self._take_counts()
        if not (0 < self.k <= MOST and 0 < self.group_size <= MOST and 0 <= self.offset <= MOST):
            query_checks.check_counts(self, MOST)
        query_checks.check_names(group_by=self.group_by, index=self.index, scorer=self.scorer, recall=self.recall)
        self._take_media()
        query_checks.check_choices(self)
        if self.order_by is not None or self.deduplicate is not None or self.diversity is not None:
            query_checks.check_shaping(self)
        if self.weights:
            also = [LIKE] * bool(self.like) + [UNLIKE] * self.has_negatives + [WORDS] * self.hybrid
            query_checks.check_weights(self.weights, (*keys_of(self.media), *also))

    def _take_media(self) -> None:
        """Check the inputs and the negative examples."""
        query_checks.check_inputs(self, MEDIA)
        for name in self.media:
            query_checks.check_values(name, self.media[name])
        if "text" in self.media:
            self._take_text("media")
        if self.unlike_media:
            query_checks.check_negatives(self.unlike_media)
            if "text" in self.unlike_media:
                self._take_text("unlike_media")

    @property
    def has_negatives(self) -> bool:
        """Whether there are negative examples: stored items, texts or files."""
        return bool(self.unlike or self.unlike_media)

    @property
    def examples(self) -> tuple[str, ...]:
        """Ids of the positive and negative examples, which are left out of the answer."""
        return (*self.like, *self.unlike)

    @property
    def condition(self) -> Condition | None:
        """The condition with its parameters, or None."""
        return condition_of(self.where, self.params)

    def _take_vector(self, vector: Any) -> None:
        if self.vectors:
            raise BadSpec("vector is for the only space of a collection: give vector or vectors, not both")
        if isinstance(vector, Mapping):
            raise BadSpec("vector takes numbers; a mapping from names of spaces to vectors is vectors")
        object.__setattr__(self, "vectors", {THE_SPACE: vector})

    def _take_condition(self) -> None:
        checked = condition_of(self.where, self.params)
        object.__setattr__(self, "params", NO_PARAMS if checked in (None, self.where) else checked.params)

    def _take_strings(self) -> None:
        for name in (LIKE, UNLIKE, "spaces", "exclude", *(["candidates"] if self.candidates is not None else [])):
            object.__setattr__(self, name, strings(getattr(self, name), name))

    def _take_text(self, name: str) -> None:
        """Check that text is text; UTF-8 bytes become a string, and strings stay unchanged."""
        media: Mapping[str, Any] = getattr(self, name)
        held = media["text"]
        if type(held) is str and held.isascii() and held.strip() and held.isprintable():
            return
        texts = [query_checks.text_of(value) for value in values_of(media, "text")]
        whole = texts if isinstance(held, list | tuple) else texts[0]
        if whole != held:
            object.__setattr__(self, name, {**media, "text": whole})

    def _take_counts(self) -> None:
        for name in ("k", "group_size", "offset", *(["depth"] if self.depth is not None else [])):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool):
                raise BadSpec(f"{option(name)} must be a whole number, not {value!r}")
            object.__setattr__(self, name, int(value))


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    Attributes:
        id: id of the item.
        score: larger is always better; comparable only within one answer.
        uri: its first media reference, or None.
        meta: its metadata, text included.
        trace: rank and score by stage, such as ``{"recall image": {"rank": 1, "score": 0.9}}``.
        media: its media references by name, such as ``{"image": "/photos/a.jpg"}``; text is the text itself.
    """

    id: str
    score: float
    uri: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    trace: Mapping[str, Any] = field(default_factory=dict)
    media: Mapping[str, str] = field(default_factory=dict)

    @property
    def folded(self) -> int:
        """Number of near-duplicates of this hit that were left out, among the candidates that were compared."""
        return int(self.trace.get("deduplicate", {}).get("folded", 0))

    def __repr__(self) -> str:
        media = f", media={dict(self.media)}" if self.media else ""
        return f"Hit({self.id!r}, score={self.score:.4f}{media}, meta={dict(self.meta)})"
