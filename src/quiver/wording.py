"""Names of options in messages, as the reader would type them: ``--min-score`` on the command line, else ``min_score``.

The same fault can be reported to someone at the command line and to someone in Python. A message that advises an
option asks here for its name.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

#: Options whose names on the command line are not their names in Python with dashes.
_FLAGS = {
    "k": "-k",
    "like": "--id",
    "spaces": "--space",
    "weights": "--weight",
    "params": "--param",
    "limit": "-k",
}
_reader = {"command line": False}


@contextmanager
def command_line() -> Iterator[None]:
    """Word messages for the command line in this block."""
    before, _reader["command line"] = _reader["command line"], True
    try:
        yield
    finally:
        _reader["command line"] = before


@contextmanager
def programs() -> Iterator[None]:
    """Word messages for programs in this block, whatever started it: a service answers them."""
    before, _reader["command line"] = _reader["command line"], False
    try:
        yield
    finally:
        _reader["command line"] = before


def option(name: str, value: str | bool | None = None) -> str:
    """Return an option, with a value if given, as the reader would type it.

    >>> option("min_score"), option("scorer", "none")
    ('min_score', "scorer='none'")
    >>> with command_line():
    ...     option("min_score"), option("scorer", "none"), option("like")
    ('--min-score', '--scorer none', '--id')
    """
    if not _reader["command line"]:
        return name if value is None else f"{name}={value!r}"
    flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
    return flag if value is None or value is True else f"{flag} {value}"


def either(command: str, python: str) -> str:
    """Return one of two wordings: for the command line, or for Python."""
    return command if _reader["command line"] else python


def is_blank(text: str) -> bool:
    r"""Whether a text has nothing to be seen in it.

    >>> is_blank(" \t"), is_blank("\u200b"), is_blank("a"), is_blank("\ud83d"), is_blank("\U0001fae8")
    (True, True, False, False, False)
    """
    # Letters newer than this Python's Unicode and lone surrogates are not printable, but they are not blank.
    return all(letter.isspace() or unicodedata.category(letter) in ("Cc", "Cf", "Zs") for letter in text)


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known word most similar to a misspelt one, or None; ``cutoff`` as in ``difflib``.

    >>> nearest("min_scroe", ["min_score", "k"])
    'min_score'
    """
    by_letters = {each.lower(): each for each in known}
    found = get_close_matches(str(word).lower(), by_letters, n=1, cutoff=cutoff)
    return by_letters[found[0]] if found else None


def unknown(what: str, word: str, known: Iterable[str], *, hints: Iterable[tuple[str, str]] = ()) -> str:
    """Return the message for an unknown name: the nearest known one, and all of them.

    >>> unknown("search", "colur", ["k", "colour"])
    "search has no option 'colur': did you mean colour? It has k, colour"

    Args:
        what: the thing that takes names, such as a method.
        word: the unknown name.
        known: the names it takes.
        hints: names of other libraries, each with the name used here.
    """
    names = list(known)
    near = dict(hints).get(word) or nearest(word, names, cutoff=0.65)
    hint = f"did you mean {near}? It" if near else "it"
    return f"{what} has no option {word!r}: {hint} has {', '.join(names)}"
