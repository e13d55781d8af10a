"""Keys of the service: random, stored as hashes, with scopes on collections, an expiry and a condition.

A key is ``qv_<id>_<secret>``. The secret has 32 random bytes, so a plain SHA-256 of it tells nothing: only passwords,
which can be guessed, need slow hashes. A key is one JSON file in the folder ``keys`` of the user's settings; two keys
may be valid at the same time, so that they can be exchanged without a pause.
"""

import fnmatch
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from quiver import trust
from quiver.conditions import Condition
from quiver.errors import BadSpec
from quiver.files import remove, write_json

SCOPES = ("search", "write", "admin")
_FORM = re.compile(r"qv_([0-9a-f]{8})_([\w-]{43})", re.ASCII)
_ID = re.compile(r"[0-9a-f]{8}")
#: Compared with if there is no such key, so that the time to answer does not tell.
_NOBODY = hashlib.sha256(b"").hexdigest()
#: Nanoseconds that file systems and clocks may differ by.
_STEP = 100_000_000


@dataclass(frozen=True, slots=True)
class Key:
    """A key, without its secret.

    Attributes:
        id: its public part.
        name: who uses it.
        sha256: hash of its secret.
        scopes: ``search``, ``write``, ``admin``; a later one includes those before it.
        collections: patterns of names, such as ``shop*``.
        where: a condition that every item must fulfil to exist for this key.
        expires: time in seconds of the epoch; None never.
        rate: most requests a second; None any.
        made: time in seconds of the epoch.
    """

    id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    collections: tuple[str, ...] = ("*",)
    where: str | None = None
    expires: float | None = None
    rate: float | None = None
    made: float = 0.0

    @property
    def condition(self) -> Condition | None:
        """Its condition."""
        return None if self.where is None else Condition(self.where)

    def may(self, scope: str) -> bool:
        """Whether it allows a kind of work."""
        return any(SCOPES.index(each) >= SCOPES.index(scope) for each in self.scopes)

    def reaches(self, collection: str) -> bool:
        """Whether a collection exists for it."""
        return any(fnmatch.fnmatchcase(collection, pattern) for pattern in self.collections)

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires


#: Who asks if no keys exist: a user of this machine.
ANYONE = Key("", "this machine", "", ("admin",))


class Keys:
    """The keys of this user's services.

    Args:
        folder: where they are; by default in the user's settings.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or trust.home() / "keys"
        self._known: dict[str, Key] = {}
        self._seen = -1

    def add(
        self,
        name: str,
        *,
        scopes: Iterable[str] = ("search",),
        collections: Iterable[str] = ("*",),
        where: str | None = None,
        days: float | None = None,
        rate: float | None = None,
    ) -> str:
        """Make a key, and return it; it cannot be read again.

        Raises:
            BadSpec: a scope is unknown, a number is not positive, or the condition cannot be read.
        """
        known = tuple(dict.fromkeys(scopes))
        if not known or any(scope not in SCOPES for scope in known):
            raise BadSpec(f"scopes are {', '.join(SCOPES)}, not {', '.join(known) or 'none'}")
        for what, number in (("days", days), ("rate", rate)):
            if number is not None and not 0 < number < float("inf"):
                raise BadSpec(f"{what} must be a positive number, not {number!r}")
        if where is not None:
            _check(where)
        id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        now = time.time()
        expires = None if days is None else now + days * 86_400
        patterns = tuple(collections)
        key = Key(id, name, _hash(secret), known, patterns, where, expires, rate, now)
        write_json(self.folder / f"{id}.json", asdict(key))
        (self.folder / f"{id}.json").chmod(0o600)
        self._seen = -1
        return f"qv_{id}_{secret}"

    def revoke(self, id: str) -> None:
        """Remove a key.

        Raises:
            BadSpec: there is none with this id.
        """
        path = self.folder / f"{id}.json"
        if not _ID.fullmatch(id) or not path.exists():
            raise BadSpec(f"there is no key {id!r}: `quiver key list` shows their ids")
        remove(path)
        self._seen = -1

    def all(self) -> Sequence[Key]:
        """Return the keys, oldest first."""
        self._read()
        return sorted(self._known.values(), key=lambda key: key.made)

    def find(self, given: str) -> Key | None:
        """Return the key of what a client sent, unless it is none or has expired; takes the same time for all."""
        self._read()
        form = _FORM.fullmatch(given)
        key = self._known.get(form[1]) if form else None
        same = hmac.compare_digest(_hash(form[2] if form else ""), key.sha256 if key else _NOBODY)
        return key if key is not None and same and not key.expired(time.time()) else None

    def by_id(self, id: str) -> Key | None:
        """Return a key by its id, unless it was revoked or has expired."""
        self._read()
        key = self._known.get(id)
        return None if key is None or key.expired(time.time()) else key

    def _read(self) -> None:
        """Read the keys anew if their folder has changed; a look at its time is no matter beside a request."""
        try:
            changed = self.folder.stat().st_mtime_ns
        except OSError:
            changed = 0
        if changed == self._seen:
            return
        found = (_stored(path) for path in self.folder.glob("*.json"))
        self._known = {key.id: key for key in found if key is not None}
        # File systems count time in steps: a key that is made within the same one would not be seen.
        self._seen = changed if time.time_ns() - changed > _STEP else -1


def _stored(path: Path) -> Key | None:
    """Read a key; a damaged file is no key."""
    try:
        held = json.loads(path.read_bytes())
        key = Key(**{**held, "scopes": tuple(held["scopes"]), "collections": tuple(held["collections"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    sound = key.id == path.stem and all(scope in SCOPES for scope in key.scopes)
    return key if sound and isinstance(key.sha256, str) and len(key.sha256) == len(_NOBODY) else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _check(where: str) -> None:
    from quiver.engine.core.condition.syntax import parse

    try:
        syntax = parse(where)
    except BadSpec as error:
        raise BadSpec(f"the condition {where!r} of the key cannot be read: {error}") from None
    if syntax.names:
        raise BadSpec("the condition of a key has no parameters: write the values into it")
