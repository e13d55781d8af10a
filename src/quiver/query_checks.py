"""Checks of the values of a query."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from quiver.errors import BadSpec
from quiver.wording import is_blank, option


def check_values(name: str, held: Any) -> None:
    """Refuse an empty text or path, an empty list, a list with None, and a list of images of a pair."""
    if isinstance(held, str) and is_blank(held):
        raise BadSpec(f"{option(name)} is empty: give {'words to search for' if name == 'text' else 'a file'}")
    if not isinstance(held, list | tuple):
        return
    if name in ("before", "after"):
        raise BadSpec(f"{option(name)} must be one image, not a list")
    for each in held:
        if isinstance(each, str):
            check_values(name, each)
    if not held or any(each is None for each in held):
        raise BadSpec(f"{option(name)} is an empty list or contains None: leave it out, or give values")


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
