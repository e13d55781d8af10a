"""A query as keywords, as ``Collection.search`` takes it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from quiver.errors import BadSpec
from quiver.types import MEDIA, Query


class Ask(TypedDict, total=False):
    """A query as keywords: ``search(image="a.jpg", target="video", k=5)``. ``Query`` describes them."""

    text: str | Sequence[str]
    image: Any
    audio: Any
    video: Any
    before: Any
    after: Any
    like: str | Sequence[str]
    unlike: str | Sequence[str]
    vectors: Mapping[str, Any]
    target: str | None
    k: int
    offset: int
    min_score: float | None
    group: str | None
    per_group: int
    where: str | None
    params: Mapping[str, Any] | Sequence[Any]
    spaces: str | Sequence[str]
    index: str | None
    weights: Mapping[str, float]
    scorer: str | None
    budget_ms: float | None
    reduce: Literal["mean", "max"]
    hybrid: bool
    exclude: str | Sequence[str]
    candidates: str | Sequence[str] | None
    depth: int | None
    recall: str | None


def query_of(ask: Ask) -> Query:
    """Turn keywords into a query.

    >>> query_of({"text": "a red dress", "like": "shop/7.jpg", "k": 3}).like
    ('shop/7.jpg',)

    Raises:
        BadSpec: a keyword is unknown, or the query is empty or contradicts itself.
    """
    if unknown := set(ask) - set(Ask.__annotations__):
        raise BadSpec(f"search takes {', '.join(Ask.__annotations__)}; unknown: {', '.join(sorted(unknown))}")
    given: dict[str, Any] = {name: value for name, value in ask.items() if name not in MEDIA and value is not None}
    media = {name: ask[name] for name in MEDIA if ask.get(name) is not None}  # type: ignore[literal-required]
    return Query(media, **given)
