"""Errors as RFC 9457 problem documents: one line that teaches, and its parts as fields."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from quiver import errors
from quiver.arguments import UnknownKeyword
from quiver.errors import NoRoute, QuiverError

#: Status of each kind of error; the first that fits counts.
_STATUS: tuple[tuple[type[QuiverError], int], ...] = (
    (errors.Unexpected, 409),
    (errors.Untrusted, 403),
    (errors.NoCollection, 404),
    (errors.BadCollection, 503),
    (errors.CannotWrite, 507),
    (errors.MissingExtra, 503),
    (errors.MissingWeights, 503),
    (errors.MissingEncoder, 503),
    (errors.BadSpec, 422),
    (errors.BadMedia, 422),
    (errors.BadData, 422),
    (errors.NoRoute, 422),
    (errors.SpaceMismatch, 422),
)
_TITLES = {
    400: "The request cannot be read",
    401: "A key is needed",
    403: "Not allowed",
    404: "Not found",
    405: "There is no such method here",
    408: "The request took too long to arrive",
    409: "Not as expected",
    410: "That version is gone",
    413: "The request is too large",
    415: "Another kind of content is needed",
    416: "That range lies outside the file",
    421: "Addressed to another host",
    422: "The request cannot be carried out",
    429: "Too many requests",
    500: "Quiver failed",
    503: "Not available now",
    504: "The deadline has passed",
    507: "There is no space left",
}
_NEAR = re.compile(r"did you mean '?([^'?]+)'?\?")


class Problem(Exception):
    """An error of a request.

    Args:
        status: HTTP status.
        detail: one line: the cause, and what to do.
        kind: short name of the kind of error.
        headers: headers of the answer, such as Retry-After.
        more: further fields of the document.
    """

    def __init__(
        self, status: int, detail: str, *, kind: str = "", headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.kind = status, detail, kind
        self.headers, self.more = dict(headers or {}), more

    def to_dict(self) -> dict[str, Any]:
        """Return the document."""
        title = _TITLES.get(self.status, "The request failed")
        kind = self.kind or re.sub(r"\W+", "-", title.lower())
        return {
            "type": f"urn:quiver:{kind}",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            **{name: value for name, value in self.more.items() if value is not None},
        }

    def response(self) -> Response:
        """Return the answer."""
        body = msgspec.json.encode(self.to_dict())
        return Response(body, self.status, self.headers, media_type="application/problem+json")


def problem_of(error: QuiverError) -> Problem:
    """Turn an error of the library into a problem, with the parts of its message as fields."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
    detail = str(error)
    more: dict[str, Any] = {}
    if isinstance(error, NoRoute):
        arrow = None if error.origin is None else {"from": error.origin, "to": error.target}
        more["missing_arrow"] = arrow
    if (near := _NEAR.search(detail)) is not None:
        more["did_you_mean"] = near[1]
    kind = "UnknownOption" if isinstance(error, UnknownKeyword) else type(error).__name__.removeprefix("_")
    return Problem(status, detail, kind=re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower(), **more)
