"""What every request passes before anything else: host, origin, key, size; and the headers of every answer.

Written as plain ASGI, which costs a search some microseconds. The checks need no collection.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from quiver.engine.server.keys import ANYONE, Key, Keys
from quiver.engine.server.media_tokens import Tokens
from quiver.engine.server.problems import Problem
from quiver.engine.server.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Stands for a slash within an id, in paths that routes are matched with.
SLASH = "\x00"
#: What the page may load: its own files, pictures that it made itself, and nothing from elsewhere.
CSP = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
#: Paths that need a key where keys are needed. The page, its files and the health of the process need none.
_GUARDED = ("/v1/", "/mcp", "/metrics")
_SAFE = ("GET", "HEAD", "OPTIONS")


class Shield:
    """The outermost layer of the service.

    Args:
        app: what answers.
        settings: hosts and limits.
        keys: the keys.
        tokens: checks the tokens of links to media.
    """

    def __init__(self, app: App, *, settings: Settings, keys: Keys, tokens: Tokens) -> None:
        self._app, self._settings, self._keys, self._tokens = app, settings, keys, tokens
        self._rates: dict[str, tuple[float, float]] = {}
        #: Once keys are needed, they stay needed: revoking the last one opens nothing.
        self._locked = not settings.local

    @property
    def locked(self) -> bool:
        """Whether requests need a key."""
        self._locked = self._locked or bool(self._keys.all())
        return self._locked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, and pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        sender = Sender(send)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        try:
            check_host(self._settings, headers.get(b"host", ""))
            self._check_origin(headers, scope["method"])
            scope["path"] = _path(scope)
            scope["caller"] = self._caller(scope, headers)
            limits = self._settings.limits
            body = _Body(receive, headers, most=limits.body, seconds=limits.seconds)
            await self._app(scope, body, sender)
        except Problem as problem:
            if sender.begun:
                raise
            await problem.response()(scope, receive, sender)

    def _check_origin(self, headers: Mapping[bytes, str], method: str) -> None:
        """Refuse requests that a page of another site makes; following a link to the page is allowed."""
        origin = headers.get(b"origin")
        foreign = origin is not None and urlsplit(origin).netloc != headers.get(b"host")
        if headers.get(b"sec-fetch-site") in ("cross-site", "same-site"):
            foreign = foreign or not (method in _SAFE and headers.get(b"sec-fetch-mode") == "navigate")
        if foreign:
            raise Problem(
                403, "a page of another site may not ask this service: call it from your own server", kind="cross-site"
            )

    def _caller(self, scope: Scope, headers: Mapping[bytes, str]) -> Key:
        if not scope["path"].startswith(_GUARDED) or not self.locked:
            return ANYONE
        given = headers.get(b"api-key") or headers.get(b"authorization", "")
        scheme, _, bearer = given.partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else given
        key = self._keys.find(given) if given else self._linked(scope)
        if key is None:
            raise Problem(
                401,
                "this service needs a valid key: send it as `Authorization: Bearer qv_...`, or as `api-key`",
                headers={"WWW-Authenticate": "Bearer"},
                kind="key-needed",
            )
        self._pace(key)
        return key

    def _linked(self, scope: Scope) -> Key | None:
        """Return the key for which a link to media was made."""
        if scope["method"] not in ("GET", "HEAD"):
            return None
        found = re.search(rb"(?:^|&)token=([\w.-]+)", scope["query_string"])
        id = self._tokens.key_of(found[1].decode(), scope["path"]) if found else None
        return None if id is None else self._keys.by_id(id)

    def _pace(self, key: Key) -> None:
        """Count a request of a key with a rate: a bucket that holds one second's worth.

        Raises:
            Problem: there were too many.
        """
        if key.rate is None:
            return
        now, most = time.monotonic(), max(1.0, key.rate)
        left, at = self._rates.get(key.id, (most, now))
        left = min(most, left + (now - at) * key.rate)
        if left < 1:
            self._rates[key.id] = left, now
            wait = str(int((1 - left) / key.rate) + 1)
            raise Problem(429, f"this key may ask {key.rate:g} times a second", headers={"Retry-After": wait})
        self._rates[key.id] = left - 1, now


def check_host(settings: Settings, host: str) -> None:
    """Refuse a request that is addressed to another host.

    Raises:
        Problem: it is.
    """
    if not settings.knows(host):
        name = host.partition(":")[0][:100]
        detail = f"this service is not called {host[:100]!r}: start it with --name {name} if it is"
        raise Problem(421, detail, kind="unknown-host")


class Sender:
    """Adds the headers of every answer."""

    def __init__(self, send: Send) -> None:
        self.begun = False
        self._send = send

    async def __call__(self, message: Message) -> None:
        """Send a message of an answer."""
        if message["type"] == "http.response.start":
            self.begun = True
            present = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(each for each in _HEADERS if each[0] not in present)]
        await self._send(message)


class _Body:
    """Receives a request's body, up to a number of bytes and a time."""

    def __init__(self, receive: Receive, headers: Mapping[bytes, str], *, most: int, seconds: float) -> None:
        self._receive, self._most, self._seconds = receive, most, seconds
        self._count, self._whole, self._began = 0, False, 0.0
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > most:
            raise self._too_large()

    def _too_large(self) -> Problem:
        return Problem(413, f"a request has at most {self._most:,} bytes: send less at once", limit=self._most)

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        self._began = self._began or time.monotonic()
        try:
            left = self._seconds - (time.monotonic() - self._began)
            message = await (self._receive() if not self._count else asyncio.wait_for(self._receive(), max(0.0, left)))
        except TimeoutError:
            raise Problem(408, f"the request did not arrive within {self._seconds:g} s") from None
        if message["type"] == "http.request":
            self._count += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._count > self._most:
                raise self._too_large()
        return message


def _path(scope: Scope) -> str:
    """Return the path of a request; a quoted slash, as in an id, is not one between parts.

    Raises:
        Problem: the path has a NUL character.
    """
    path: str = scope["path"]
    if "\0" in path:
        raise Problem(400, "a path has no NUL character")
    raw: bytes = scope.get("raw_path") or b""
    raw = raw.partition(b"?")[0]
    if b"%2f" not in raw.lower():
        return path
    return unquote_to_bytes(re.sub(rb"%2f", b"%00", raw, flags=re.I)).decode("utf-8", "surrogateescape")
