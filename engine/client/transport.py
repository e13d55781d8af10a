"""Requests to a service over HTTP, with connections that stay open, by the standard library.

The library needs no HTTP package otherwise, and a thread's connection that stays open is as fast as any: so
``http.client`` and not httpx.
"""

import http.client
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

from quiver import errors
from quiver.engine.client.sending import as_json
from quiver.errors import BadCollection, BadSpec, NoRoute, QuiverError

JSON, ARROW = "application/json", "application/vnd.apache.arrow.stream"
#: Kinds of problems, and the errors that they were.
_KINDS: dict[str, type[QuiverError]] = {
    "unexpected": errors.Unexpected,
    "no-collection": errors.NoCollection,
    "bad-media": errors.BadMedia,
    "bad-data": errors.BadData,
    "no-route": errors.NoRoute,
    "space-mismatch": errors.SpaceMismatch,
    "missing-weights": errors.MissingWeights,
    "missing-encoder": errors.MissingEncoder,
    "cannot-write": errors.CannotWrite,
    "untrusted": errors.Untrusted,
    "bad-collection": errors.BadCollection,
}
#: Seconds to wait for an answer by default.
SECONDS = 60.0


class Refused(QuiverError):
    """The service did not carry a request out.

    Attributes:
        status: its HTTP status.
        retry_after: seconds after which to try again; None if that is no use.
    """

    def __init__(self, message: str, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


@dataclass(slots=True)
class Answer:
    """An answer: its bytes, and its headers in lower case."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        """The decoded body."""
        return msgspec.json.decode(self.body)


class Transport:
    """Asks one service; any number of threads may use it.

    Args:
        url: its address.
        key: a key of the service; None if it needs none.
        seconds: how long to wait for an answer.

    Raises:
        BadSpec: the address is none.
    """

    def __init__(self, url: str, *, key: str | None = None, seconds: float = SECONDS) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadSpec(f"an address is http://HOST:PORT/COLLECTION, not {url!r:.100}")
        self.base = f"{parts.scheme}://{parts.netloc}"
        self._parts, self._seconds = parts, seconds
        self._key = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._held = threading.local()
        self._all: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            for each in self._all:
                each.close()
            self._all.clear()

    def ask(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None,
        files: Sequence[tuple[str, str, bytes]] = (), part: str = "query",
    ) -> Answer:  # fmt: skip
        """Ask.

        Args:
            method: GET, POST ...
            path: the path, quoted.
            body: JSON-compatible values, or bytes whose type ``headers`` tell; None sends none.
            headers: further headers.
            files: uploads: part, file name, bytes.
            part: the part of the form that is JSON, if there are files.

        Raises:
            QuiverError: the error that the service had; ``Refused`` if it is one of HTTP alone.
            BadCollection: there is no service at the address.
        """
        sent = {**self._key, **(headers or {})}
        data: bytes | None = None
        if files:
            data, sent["Content-Type"] = _form(body, files, part)
        elif isinstance(body, bytes):
            data = body
        elif body is not None:
            data, sent["Content-Type"] = as_json(body), JSON
        status, answer = self._exchange(method, path, data, sent)
        if status >= 400:
            _fail(status, answer)
        return answer

    def _exchange(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> tuple[int, Answer]:
        """Send a request; a connection that the service has closed meanwhile is opened anew, once."""
        for fresh in (False, True):
            line, used = self._line(fresh=fresh)
            try:
                line.request(method, path, data, dict(headers))
                found = line.getresponse()
                body = found.read()
            except (
                http.client.RemoteDisconnected,
                BrokenPipeError,
                ConnectionResetError,
                http.client.CannotSendRequest,
            ):
                if used and not fresh:
                    continue
                raise self._gone("it closed the connection") from None
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                raise self._gone(str(error) or type(error).__name__) from error
            return found.status, Answer(body, {name.lower(): value for name, value in found.getheaders()})
        raise AssertionError("the second attempt returns or raises")

    def _gone(self, why: str) -> BadCollection:
        self._drop()
        return BadCollection(f"{self.base} does not answer ({why}): is `quiver serve` running there?")

    def _line(self, *, fresh: bool) -> tuple[http.client.HTTPConnection, bool]:
        """Return this thread's connection, and whether it was used before."""
        if fresh:
            self._drop()
        line = getattr(self._held, "line", None)
        if line is not None:
            return line, True
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        assert self._parts.hostname is not None
        line = self._held.line = kind(self._parts.hostname, self._parts.port, timeout=self._seconds)
        with self._lock:
            self._all.add(line)
        return line, False

    def _drop(self) -> None:
        line = getattr(self._held, "line", None)
        if line is not None:
            line.close()
            self._held.line = None
            with self._lock:
                self._all.discard(line)


def _form(body: Any, files: Sequence[tuple[str, str, bytes]], part: str) -> tuple[bytes, str]:
    """Return a form of several parts, and its content type."""
    mark = uuid4().hex
    parts = [(f'name="{part}"\r\nContent-Type: {JSON}', as_json(body))]
    for key, name, data in files:
        quoted = name.replace("\\", "/").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        parts.append((f'name="{key}"; filename="{quoted}"\r\nContent-Type: application/octet-stream', data))
    held = b"".join(
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (mark.encode(), head.encode(), data)
        for head, data in parts
    )
    return held + b"--%s--\r\n" % mark.encode(), f"multipart/form-data; boundary={mark}"


def _fail(status: int, answer: Answer) -> NoReturn:
    """Raise the error that a problem document tells.

    Raises:
        QuiverError: always.
    """
    try:
        told = json.loads(answer.body)
        detail, kind = str(told["detail"]), str(told["type"]).rpartition(":")[2]
    except (ValueError, KeyError, TypeError):
        raise Refused(f"the service answered {status}", status=status) from None
    raise error_of(told, detail, kind, status, answer.headers.get("retry-after"))


def error_of(told: Mapping[str, Any], detail: str, kind: str, status: int, after: str | None = None) -> QuiverError:
    """Return the error of a problem document."""
    found = _KINDS.get(kind)
    if found is NoRoute:
        arrow = told.get("missing_arrow") or {}
        return NoRoute(detail, origin=arrow.get("from"), target=arrow.get("to"))
    if found is not None:
        return found(detail)
    if status == 422:
        return BadSpec(detail)
    if status in (404, 410):
        return BadCollection(detail)
    return Refused(detail, status=status, retry_after=float(after) if after and after.isdigit() else None)
