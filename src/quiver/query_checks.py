"""Checks of the values of a query."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from quiver.errors import BadSpec
from quiver.wording import either, is_blank, option

#: Media that negative examples can have, beside stored items.
_NEGATIVE = ("text", "image", "audio", "video")


def check_values(name: str, held: Any, *, label: str = "") -> None:
    """Refuse an empty text or path, an empty list, a list with None, and a list of images of a pair.

    Args:
        name: the medium.
        held: its value or values.
        label: name of the argument, if it is not that of the medium.
    """
    label = label or name
    if isinstance(held, str) and is_blank(held):
        raise BadSpec(f"{option(label)} is empty: give {'words to search for' if name == 'text' else 'a file'}")
    if not isinstance(held, list | tuple):
        return
    if name in ("before", "after"):
        raise BadSpec(f"{option(label)} must be one image, not a list")
    for each in held:
        if isinstance(each, str):
            check_values(name, each, label=label)
    if not held or any(each is None for each in held):
        raise BadSpec(f"{option(label)} is an empty list or contains None: leave it out, or give values")


def text_of(value: Any) -> str:
    """Return text as a string; bytes are UTF-8.

    Raises:
        BadSpec: it is no text, empty, or no valid Unicode.
    """
    if not isinstance(value, str | bytes | bytearray):
        raise BadSpec(f"text must be a string, not {type(value).__name__}")
    if is_blank(value if isinstance(value, str) else value.decode(errors="replace")):
        raise BadSpec(f"{option('text')} is empty: give words to search for")
    try:
        return (value.encode() if isinstance(value, str) else bytes(value)).decode()
    except UnicodeError as error:
        raise BadSpec(f"the text {value!r} is not valid Unicode: {getattr(error, 'reason', error)}") from error


def check_weights(weights: Mapping[str, float], held: Sequence[str]) -> None:
    """Check the weights of a query with the inputs ``held``."""
    if not isinstance(weights, Mapping):
        raise BadSpec(f"weights must be a mapping from names to numbers, such as {{'text': 2}}, not {weights!r}")
    for name, weight in weights.items():
        if name not in held:
            said = ", ".join("like (its examples)" if each == "like" else each for each in held) or "vectors"
            raise BadSpec(f"there is a weight for {name!r}, but the inputs of this query are: {said}")
        if not is_finite(weight) or weight < 0:
            raise BadSpec(f"the weight of {name} must be a number of at least 0, not {weight!r}")
    if all(weights.get(name, 1) == 0 for name in held if name != "unlike"):
        raise BadSpec("every weight is 0: at least one input needs a positive weight")


def is_finite(number: Any) -> bool:
    """Whether a value is a finite number."""
    try:
        return math.isfinite(number)
    except (TypeError, OverflowError):
        return False


def check_names(**names: Any) -> None:
    """Check options that take one name each, or None.

    >>> check_names(group_by="film", index=None)

    Raises:
        BadSpec: one is not a string.
    """
    for name, value in names.items():
        if value is not None and not isinstance(value, str):
            raise BadSpec(f"{option(name)} must be a string, not {value!r:.80}")


def check_inputs(query: Any, names: Sequence[str]) -> None:
    """Refuse a query without inputs, with half a pair, with unknown media, or with vectors that are no mapping.

    Args:
        query: the query.
        names: the media that exist.
    """
    if query.media and (unknown := set(query.media) - set(names)):
        raise BadSpec(f"a query takes the media {', '.join(names)}; unknown: {', '.join(sorted(map(str, unknown)))}")
    if ("before" in query.media) != ("after" in query.media):
        raise BadSpec(f"a pair needs both {option('before')} and {option('after')}")
    if not isinstance(query.vectors, Mapping):
        kind = type(query.vectors).__name__
        raise BadSpec(f"vectors must be a mapping from space names to vectors, such as {{'mine': v}}, not {kind}")
    if not (query.media or query.like or query.vectors):
        inputs = ", ".join(map(option, (*names, "like", "vector")))
        what = f"{option('unlike')} (negative examples) needs something to find" if query.has_negatives else ""
        raise BadSpec(f"{what or 'the query is empty'}: give one of {inputs}{either('', ', vectors')}")


def check_counts(query: Any, most: int) -> None:
    """Refuse ``k``, ``group_size`` or ``offset`` of a query outside their bounds."""
    for name, least in (("k", 1), ("group_size", 1), ("offset", 0)):
        if getattr(query, name) < least:
            raise BadSpec(f"{option(name)} must be at least {least}, not {getattr(query, name)}")
        if getattr(query, name) > most:
            raise BadSpec(f"{option(name)} must be at most {most:,}, not {getattr(query, name):,}")


def check_choices(query: Any) -> None:
    """Refuse settings of a query that are out of range, or that need others."""
    if query.unlike and (both := set(query.like).intersection(query.unlike)):
        raise BadSpec(f"{min(both)!r} is both in {option('like')} and in {option('unlike')}")
    if query.min_score is not None and query.min_score != "auto" and not is_finite(query.min_score):
        raise BadSpec(f"{option('min_score')} must be a finite number or 'auto', not {query.min_score!r}")
    if query.group_size > 1 and query.group_by is None:
        raise BadSpec(f"{option('group_size')} needs {option('group_by')}: the metadata column to group by")
    if query.reduce not in ("mean", "max"):
        raise BadSpec(f"{option('reduce')} must be mean or max, not {query.reduce!r}")
    if query.hybrid and "text" not in query.media:
        raise BadSpec(f"{option('hybrid')} needs {option('text')} to search for")
    if query.depth is not None and query.depth < 1:
        raise BadSpec(f"{option('depth')} must be at least 1, not {query.depth}")
    if query.recall is not None and query.scorer == "none":
        raise BadSpec(
            f"{option('recall', query.recall)} finds candidates for a scorer, but {option('scorer', 'none')} uses none"
        )


def check_shaping(query: Any) -> None:
    """Check ``order_by``, ``deduplicate`` and ``diversity`` of a query.

    Raises:
        BadSpec: a value is out of range, or hits are grouped and compared too.
    """
    check_names(order_by=query.order_by)
    if query.order_by is not None and is_blank(query.order_by):
        raise BadSpec(f"{option('order_by')} is empty: give a metadata column, such as price or 'price desc'")
    if query.deduplicate is not None and not (is_number(query.deduplicate) and 0 < query.deduplicate <= 1):
        raise BadSpec(
            f"{option('deduplicate')} must be a cosine similarity above 0 and at most 1, such as 0.98, not"
            f" {query.deduplicate!r}"
        )
    if query.diversity is not None and not (is_number(query.diversity) and 0 <= query.diversity <= 1):
        raise BadSpec(f"{option('diversity')} must be a share from 0 to 1, such as 0.3, not {query.diversity!r}")
    compares = next((name for name in ("deduplicate", "diversity") if getattr(query, name) is not None), None)
    if query.group_by is not None and compares is not None:
        raise BadSpec(
            f"{option(compares)} does not go together with {option('group_by')}: groups are chosen by score; leave out"
            " one of them"
        )


def check_negatives(media: Any) -> None:
    """Check the negative examples of a query that are texts or files.

    Raises:
        BadSpec: a medium is unknown, or a value is empty.
    """
    if not isinstance(media, Mapping) or not set(media) <= set(_NEGATIVE):
        names = ", ".join(_NEGATIVE)
        raise BadSpec(f"negative examples are a mapping from {names} to values, not {media!r:.80}")
    for name, held in media.items():
        check_values(name, held, label=f"unlike_{name}")


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and not a boolean."""
    return not isinstance(value, bool | str) and is_finite(value)
