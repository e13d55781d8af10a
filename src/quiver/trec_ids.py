"""Ids in TREC files, whose columns end at whitespace.

Whitespace, control characters and % become %XX of their UTF-8 bytes, so that every id reads back as it was.
"""

import re
from urllib.parse import quote, unquote

from quiver.errors import BadData

_UNSAFE = re.compile(r"[\s%\x00-\x1f\x7f]")


def encode(id: str) -> str:
    """Write an id, or the tag of a run, as one word.

    >>> encode("red shoe"), decode("red%20shoe")
    ('red%20shoe', 'red shoe')

    Raises:
        BadData: it is empty.
    """
    if not id:
        raise BadData("an empty id cannot be written to a TREC file")
    return _UNSAFE.sub(lambda match: quote(match[0], safe=""), id)


def decode(word: str) -> str:
    """Read an id."""
    return unquote(word)
