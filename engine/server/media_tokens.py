"""Tokens in links to media: a browser cannot send a key with a picture, so the link says for whom it was made."""

import hashlib
import hmac
import re
import secrets
import time

#: Seconds for which a link works.
LASTS = 900
_FORM = re.compile(r"([0-9a-f]{8})\.(\d{1,12})\.([0-9a-f]{64})", re.ASCII)
#: Paths that a token opens.
_OPENS = re.compile(r"/v1/collections/[^/]+/items/[^/]+/(media/[^/]+|thumbnail)")


class Tokens:
    """Makes and checks tokens; they are valid in this process only.

    A token opens what the key could read anyway, and nothing else: the key is looked up again each time, with its
    collections and its condition.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def make(self, id: str) -> str:
        """Return a token for the holder of a key; empty if there is no key."""
        if not id:
            return ""
        until = str(int(time.time()) + LASTS)
        return f"{id}.{until}.{self._sign(id, until)}"

    def key_of(self, token: str, path: str) -> str | None:
        """Return the id of the key for which a token was made; None if it does not open a path."""
        found = _FORM.fullmatch(token)
        if found is None or not _OPENS.fullmatch(path):
            return None
        same = hmac.compare_digest(self._sign(found[1], found[2]), found[3])
        return found[1] if same and time.time() < int(found[2]) else None

    def sign(self, text: str) -> str:
        """Return a signature of a text, for tokens of pages."""
        return hmac.new(self._secret, b"page " + text.encode(), hashlib.sha256).hexdigest()

    def _sign(self, id: str, until: str) -> str:
        return hmac.new(self._secret, f"media {id} {until}".encode(), hashlib.sha256).hexdigest()
