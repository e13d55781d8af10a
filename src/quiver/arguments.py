"""Calls with an unknown keyword or a value of a wrong type: one line instead of Python's TypeError alone."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin

from quiver.errors import BadSpec, QuiverError
from quiver.wording import option, unknown

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
#: What a value of an annotated type is, in words, and the Python types that are taken for it.
_KINDS: Mapping[Any, tuple[str, tuple[type, ...]]] = {
    str: ("a string", (str,)),
    Path: ("a path", (PathLike,)),
    bool: ("True or False", (bool,)),
    int: ("a whole number", (Integral,)),
    float: ("a number", (Real,)),
    Mapping: ("a mapping", (Mapping,)),
    Sequence: ("a list", (Sequence, Iterable)),
    Iterable: ("a list", (Iterable,)),
}
#: Methods that do not check types themselves, and would go on with a value of a wrong one.
_FIRST = ("relocate", "checkout", "wait", "export", "measure", "threshold", "differences", "hidden")
#: Members of lists, in words.
_PLURAL = {str: "strings", int: "whole numbers", float: "numbers"}


class UnknownKeyword(BadSpec, TypeError):
    """A call has a keyword that the method does not take."""


class WrongType(BadSpec, TypeError):
    """A call has a value of a type that the method does not take."""


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


def check_types(call: Callable[..., Any], args: Sequence[Any], given: Mapping[str, Any]) -> None:
    """Check the values of a call against the annotations of simple types; a value of any other annotation passes.

    Raises:
        WrongType: a value is of another type; the message names the argument, the types and the value.
    """
    parameters = inspect.signature(call).parameters
    try:
        bound = inspect.signature(call).bind(*args, **given).arguments
    except TypeError:  # an argument is missing, which Python says itself
        return
    for name, value in bound.items():
        each = parameters[name]
        if each.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            continue
        kinds = _union(each.annotation)
        if kinds and not any(_fits(value, kind) for kind in kinds):
            said = dict.fromkeys(_said(kind) for kind in kinds if kind is not type(None))
            raise WrongType(f"{call.__name__} takes {option(name)} as {' or '.join(said)}, not {value!r:.80}")


def _union(annotation: Any) -> tuple[Any, ...]:
    """Return the types of an annotation; none if a value of it cannot be told by its type."""
    union = get_origin(annotation) in (types.UnionType, typing.Union)
    kinds = get_args(annotation) if union else (annotation,)
    known = all(kind is type(None) or (get_origin(kind) or kind) in _KINDS for kind in kinds)
    return kinds if known else ()


def _fits(value: Any, kind: Any) -> bool:
    base = get_origin(kind) or kind
    if kind is type(None):
        return value is None
    if not isinstance(value, _KINDS[base][1]) or (isinstance(value, bool) and base is not bool):
        return False
    if base not in (Sequence, Iterable):
        return True
    if isinstance(value, str | bytes | Mapping):
        return False
    member = _member(kind)
    return member is None or not isinstance(value, list | tuple) or all(isinstance(one, member) for one in value)


def _member(kind: Any) -> type | None:
    """Return the type of the members of a list, or None if it cannot be told by its type."""
    member = next(iter(get_args(kind)), None) if (get_origin(kind) or kind) in (Sequence, Iterable) else None
    return member if inspect.isclass(member) and member is not Any else None


def _said(kind: Any) -> str:
    says, member = _KINDS[get_origin(kind) or kind][0], _member(kind)
    return says if member is None else f"{says} of {_PLURAL.get(member, member.__name__)}"


def _check_flags(call: str, flags: Iterable[str], given: Mapping[str, Any]) -> None:
    """Refuse a text where a choice is True or False: ``prune="no"`` would prune.

    Raises:
        WrongType: a value is neither, nor a number.
    """
    for name in flags:
        value = given.get(name)
        if value is not None and not isinstance(value, bool | Integral) and type(value).__name__ != "bool":
            raise WrongType(f"{call} takes {option(name)} as True or False, not {value!r:.80}")


def _names(parameters: Iterable[inspect.Parameter]) -> list[str] | None:
    """Return the keywords that a call takes; None if it takes any, and checks them itself."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = []
    for each in parameters:
        if each.kind in kinds and each.name != "self":
            names.append(each.name)
        elif each.kind is inspect.Parameter.VAR_KEYWORD:
            options = get_args(each.annotation)
            if not options:  # **ask: Any
                return None
            names += options[0].__annotations__  # **options: Unpack[SomeTypedDict]
    return names


def checked(call: Call) -> Call:
    """Decorator: an unknown keyword raises ``UnknownKeyword``, and a value of a wrong type ``WrongType``.

    Most methods check their values themselves, with better words; types are looked at where one stumbled over a value,
    and before the call in ``_FIRST``.
    """
    parameters = inspect.signature(call).parameters.values()
    names = _names(parameters)
    known, early = frozenset(names or ()), call.__name__ in _FIRST
    flags = frozenset(each.name for each in parameters if set(_union(each.annotation)) - {type(None)} == {bool})

    @functools.wraps(call)
    def checking(*args: Any, **given: Any) -> Any:
        if names is not None and not known.issuperset(given):
            check_known(call.__name__, given, names)
        if not flags.isdisjoint(given):
            _check_flags(call.__name__, flags, given)
        if early:
            check_types(call, args, given)
        try:
            return call(*args, **given)
        except (TypeError, AttributeError, ValueError, OverflowError) as error:
            if not isinstance(error, QuiverError):
                try:
                    check_types(call, args, given)
                except WrongType as told:
                    raise told from error
            raise

    return cast(Call, checking)


def checked_methods(cls: type[T]) -> type[T]:
    """Class decorator: its public methods are ``checked``."""
    members: Mapping[str, Any] = {
        name: each for base in reversed(cls.__mro__[:-1]) for name, each in vars(base).items()
    }
    for name, member in members.items():
        if not name.startswith("_") and inspect.isfunction(member):
            setattr(cls, name, checked(member))
    return cls
