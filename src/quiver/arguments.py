"""Calls with an unknown keyword: one line that names the nearest keyword, instead of Python's TypeError alone."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast, get_args

from quiver.errors import BadSpec
from quiver.wording import unknown

Call = TypeVar("Call", bound=Callable[..., Any])
T = TypeVar("T")
#: Names that people bring from other libraries, and the names here.
HINTS = {
    "id": "like",
    "ids": "like",
    "positive": "like",
    "negative": "unlike",
    "filter": "where",
    "filters": "where",
    "top_k": "k",
    "n": "k",
    "n_results": "k",
    "query_vector": "vector",
    "embedding": "vector",
    "embeddings": "vectors",
    "query": "text",
    "img": "image",
    "photo": "image",
    "threshold": "min_score",
    "score_threshold": "min_score",
    **dict.fromkeys(("sort", "sort_by", "order"), "order_by"),
    **dict.fromkeys(("dedup", "dedupe"), "deduplicate"),
    "mmr": "diversity",
    "rerank": "scorer",
    "reranker": "scorer",
    "model": "encoder",
    "metadata": "meta",
    "path": "uri",
    **dict.fromkeys(("text", "image", "audio", "video", "before", "after"), "media"),
}


class UnknownKeyword(BadSpec, TypeError):
    """A call has a keyword that the method does not take."""


def check_known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check the keywords of a call.

    Args:
        what: name of the method.
        given: the keywords given.
        known: the keywords it takes.

    Raises:
        UnknownKeyword: one is unknown; the message names the nearest and all known ones.
    """
    names = list(known)
    for word in given:
        if word not in names:
            hints = [(word, HINTS[word])] if HINTS.get(word) in names else []
            raise UnknownKeyword(unknown(what, word, names, hints=hints))


def checked(call: Call) -> Call:
    """Decorator: a function with an unknown keyword raises ``UnknownKeyword``."""
    parameters = inspect.signature(call).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = [each.name for each in parameters if each.kind in kinds and each.name != "self"]
    for each in parameters:
        if each.kind is inspect.Parameter.VAR_KEYWORD:  # **options: Unpack[SomeTypedDict]
            names += get_args(each.annotation)[0].__annotations__
    known = frozenset(names)

    @functools.wraps(call)
    def checking(*args: Any, **given: Any) -> Any:
        if not known.issuperset(given):
            check_known(call.__name__, given, names)
        return call(*args, **given)

    return cast(Call, checking)


def checked_methods(cls: type[T]) -> type[T]:
    """Class decorator: its public methods with an unknown keyword raise ``UnknownKeyword``."""
    members: Mapping[str, Any] = {
        name: each for base in reversed(cls.__mro__[:-1]) for name, each in vars(base).items()
    }
    for name, member in members.items():
        if not name.startswith("_") and inspect.isfunction(member):
            setattr(cls, name, checked(member))
    return cls
