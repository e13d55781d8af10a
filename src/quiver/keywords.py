"""A query as keywords, as ``Collection.search`` takes it."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from quiver.arguments import check_known
from quiver.types import ALIASES, MEDIA, NEGATIVES, OLD_NAMES, Query

#: A query as keywords, such as ``{"image": "a.jpg", "target": "video", "k": 5}``. ``Query`` describes them.
Ask = Mapping[str, Any]
#: Keywords that a query takes.
KEYWORDS = (
    "vector",
    *MEDIA,
    *NEGATIVES,
    *(each.name for each in fields(Query) if each.name not in ("media", "unlike_media")),
    *ALIASES,
    *OLD_NAMES,
)


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of a query among the arguments of a call; None means not given.

    >>> given({"self": 1, "text": "a red dress", "k": None})
    {'text': 'a red dress'}
    """
    return {name: arguments[name] for name in KEYWORDS if arguments.get(name) is not None}


def query_of(ask: Ask) -> Query:
    """Turn keywords into a query.

    >>> query_of({"text": "a red dress", "like": "shop/7.jpg", "k": 3}).like
    ('shop/7.jpg',)

    Raises:
        BadSpec: a keyword is unknown, or the query is empty or contradicts itself.
    """
    check_known("search", ask, KEYWORDS)
    inputs = (*MEDIA, *NEGATIVES)
    settings = {name: value for name, value in ask.items() if name not in inputs and value is not None}
    if negatives := {NEGATIVES[name]: ask[name] for name in NEGATIVES if ask.get(name) is not None}:
        settings["unlike_media"] = negatives
    return Query({name: ask[name] for name in MEDIA if ask.get(name) is not None}, **settings)
