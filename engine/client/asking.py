"""What all parts of a remote collection share: where they ask, and at which version."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from quiver.conditions import condition_of
from quiver.engine.client.sending import condition_json
from quiver.engine.client.transport import Answer, Transport


class Asking:
    """A collection on a server.

    Attributes:
        uri: its address.
    """

    def __init__(self, transport: Transport, name: str, *, version: int | None = None) -> None:
        self.uri = f"{transport.base}/{name}"
        self._transport, self._version = transport, version
        self._path = f"/v1/collections/{quote(name, safe='')}"

    def _ask(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Answer:
        pinned = {} if self._version is None else {"Quiver-Version": str(self._version)}
        return self._transport.ask(method, f"{self._path}{path}", body, headers={**pinned, **(headers or {})}, **more)


def condition(where: Any, params: Any) -> dict[str, Any]:
    """Return a condition with its parameters as the words of a request."""
    found = condition_of(where, params)
    return {} if found is None else condition_json(found.text, found.params.items)
