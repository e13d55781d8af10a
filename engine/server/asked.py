"""From a request to a query: the words of ``Collection.search`` as JSON, checked against the limits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from quiver.arguments import HINTS, UnknownKeyword
from quiver.conditions import Condition, Params, condition_of
from quiver.engine.server.problems import Problem
from quiver.engine.server.settings import Limits
from quiver.errors import BadSpec
from quiver.keywords import KEYWORDS, query_of
from quiver.types import MEDIA, NEGATIVES, OLD_NAMES, Query, values_of
from quiver.wording import unknown

#: Media that a client sends as files.
FILES = tuple(name for name in MEDIA if name != "text")
#: Parts of a search that are files, and their media: also those of negative examples.
PARTS = {**{name: name for name in FILES}, **{word: name for word, name in NEGATIVES.items() if name != "text"}}
#: Words of a request beside those of a query: what to return.
WANTED = ("meta", "explain", "trace", "types")
#: Words of other services, and the words here.
_HINTS = {
    **{word: now for word, now in HINTS.items() if now in KEYWORDS},
    "with_payload": "meta",
    "with_metadata": "meta",
    "include": "meta",
    "select": "meta",
    "with_vectors": "items",
    "top": "k",
    "size": "k",
    "q": "text",
    "queries": "text",
    "timeout": "budget_ms",
    "page": "offset",
    "namespace": "where",
}
#: Names that may be kinds of index or scorers: no path, no option.
_NAME = re.compile(r"[\w@./+-]{1,200}")
_KIND = re.compile(r"\w{1,40}")
_WORDS = tuple(word for word in KEYWORDS if word not in OLD_NAMES)


@dataclass(frozen=True, slots=True)
class Asked:
    """A search as it was asked.

    Attributes:
        query: the query.
        meta: whether to return metadata, or which columns.
        explain: ``plan`` returns the plan without searching, ``analyze`` the plan with measurements.
        trace: whether hits tell what each stage gave them.
        types: whether to tell the Arrow types of metadata columns.
        bound: whether the key has a condition, so that the answer tells of its own items only.
    """

    query: Query
    meta: bool | tuple[str, ...] = True
    explain: str | None = None
    trace: bool = False
    types: bool = False
    bound: bool = False


def decoded(body: bytes) -> Any:
    """Read JSON.

    Raises:
        Problem: it is none.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Problem(400, f"the body is no JSON: {str(error)[:200]}", kind="bad-json") from None


def asked(
    given: Any, limits: Limits, *, files: Mapping[str, Any] | None = None, within: Condition | None = None
) -> Asked:
    """Turn what a client sent into a query.

    Args:
        given: the decoded JSON.
        limits: what it may ask for.
        files: decoded uploads by medium; values are arrays or bytes of ours, or lists of them.
        within: a condition that must hold too.

    Raises:
        QuiverError: the query is invalid.
        Problem: it is no object, or asks for more than the limits allow.
    """
    if not isinstance(given, dict):
        raise Problem(422, 'a query is a JSON object, such as {"text": "red dress", "k": 5}', kind="bad-query")
    words: dict[str, Any] = dict(given)
    wanted = {name: words.pop(name) for name in WANTED if name in words}
    for word in words:
        if word not in KEYWORDS:
            raise UnknownKeyword(unknown("a query", word, (*_WORDS, *WANTED), hints=_HINTS.items()))
    _check_media(words)
    check_names(words)
    for name in ("vector", "vectors"):
        if words.get(name) is not None:
            words[name] = _vectors(words[name], name)
    where, params = words.pop("where", None), words.pop("params", None)
    if isinstance(where, Condition):
        raise BadSpec("where takes an SQL condition as a string")
    condition = joined(where, params, within)
    query = query_of({**words, **(files or {}), **({} if condition is None else {"where": condition})})
    _check_limits(query, limits)
    return Asked(query, **_wanted(wanted), bound=within is not None)


def joined(where: Any, params: Any, within: Condition | None) -> Condition | None:
    """Join a client's condition with the one of its key.

    Raises:
        BadSpec: it is no string, or there are parameters without it.
    """
    own = condition_of(where, params)
    return within if own is None else own if within is None else Condition(own.text, own.params, within)


def _check_media(words: Mapping[str, Any]) -> None:
    for name in PARTS:
        if words.get(name) is not None:
            raise Problem(
                422,
                f"{name} takes a file: send multipart/form-data with a part {name!r} and a part 'query' with this JSON;"
                " the service opens no path and no address",
                kind="file-needed",
            )


def check_names(words: Mapping[str, Any]) -> None:
    """Refuse kinds of index and scorers that are more than names.

    Raises:
        BadSpec: one is a path or has options.
    """
    for name, form in (("index", _KIND), ("scorer", _NAME), ("recall", _NAME)):
        value = words.get(name)
        if isinstance(value, str) and (not form.fullmatch(value) or ".." in value):
            raise BadSpec(f"{name} takes the name of one that the collection has, without options, not {value!r:.80}")


def _vectors(given: Any, name: str) -> Any:
    if isinstance(given, Mapping) and name == "vectors":
        return {space: _vectors(each, "vector") for space, each in given.items()}
    if name == "vectors":
        raise BadSpec('vectors takes vectors by the name of their space, such as {"mine": [0.1, 0.2]}')
    try:
        with np.errstate(over="ignore"):
            found = np.asarray(given, np.float32)
    except (TypeError, ValueError):
        found = np.empty(0, np.float32)
    if found.ndim not in (1, 2) or not found.size:
        raise BadSpec("a vector is a list of numbers, or a list of such lists of the same length")
    return found


def _check_limits(query: Query, limits: Limits) -> None:
    """Refuse a query that asks for more than the limits allow.

    Raises:
        Problem: it does; the document has the name of the argument and the limit.
    """
    texts = (*values_of(query.media, "text"), *values_of(query.unlike_media, "text"))
    many = sum(len(values_of(query.media, name)) for name in MEDIA) + len(query.examples)
    many += sum(len(values_of(query.unlike_media, name)) for name in MEDIA)
    many += sum(1 if np.ndim(each) < 2 else len(each) for each in query.vectors.values())
    listed = max(len(query.exclude), len(query.candidates or ()), len(query.spaces))
    for name, value, most in (
        ("k", query.k, limits.k),
        ("offset + k", query.offset + query.k, limits.reach),
        ("k * group_size", query.k * query.group_size, limits.reach),
        ("depth", query.depth or 0, limits.reach),
        ("the number of inputs", many, limits.references),
        ("the number of ids", listed, limits.ids),
        ("the length of a text", max(map(len, texts), default=0), limits.text),
        ("budget_ms", query.budget_ms or 0, limits.seconds * 1e3),
    ):
        if value > most:
            raise Problem(422, f"{name} is at most {most:,g} here, not {value:,g}", kind="over-limit", limit=most)
    _check_params(query, limits)


def _check_params(query: Query, limits: Limits) -> None:
    params = query.condition.params if query.condition is not None else Params()
    if any(isinstance(value, tuple) and len(value) > limits.ids for _, value in params.items):
        raise Problem(422, f"a list of parameters has at most {limits.ids:,} values here", kind="over-limit")


def _wanted(given: Mapping[str, Any]) -> dict[str, Any]:
    meta, explain, trace = given.get("meta", True), given.get("explain"), given.get("trace", False)
    if isinstance(meta, list) and all(isinstance(each, str) for each in meta):
        meta = tuple(meta)
    elif not isinstance(meta, bool):
        raise BadSpec(f"meta is true, false, or a list of columns, not {meta!r:.80}")
    if explain not in (None, False, "plan", "analyze"):
        raise BadSpec(f"explain is false, 'plan' or 'analyze', not {explain!r:.80}")
    types = given.get("types", False)
    for name, value in (("trace", trace), ("types", types)):
        if not isinstance(value, bool):
            raise BadSpec(f"{name} is true or false, not {value!r:.80}")
    return {"meta": meta, "explain": explain or None, "trace": trace, "types": types}


def many(given: Any, limits: Limits, *, within: Condition | None = None) -> Sequence[Asked]:
    """Turn a batch into queries; ``{"queries": [...]}`` with the words of one query each.

    Raises:
        QuiverError, Problem: the first bad query, with its place.
    """
    queries = given.get("queries") if isinstance(given, dict) else None
    if not isinstance(queries, list) or not queries or len(given) > 1:
        raise Problem(422, 'a batch is {"queries": [{"text": "red dress"}, ...]} with at least one', kind="bad-query")
    if len(queries) > limits.batch:
        raise Problem(422, f"a batch has at most {limits.batch} queries, not {len(queries)}", limit=limits.batch)
    found = []
    for place, each in enumerate(queries):
        try:
            found.append(asked(each, limits, within=within))
        except Problem as problem:
            problem.detail = f"queries[{place}]: {problem.detail}"
            raise
        except BadSpec as error:
            error.args = (f"queries[{place}]: {error}",)
            raise
    return found
