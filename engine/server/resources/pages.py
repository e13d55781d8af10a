"""Pages of an answer: all of one version, without repeats, by a token for the next page."""

import base64
import binascii
import hmac
import time
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from quiver.engine.server.asked import Asked
from quiver.engine.server.asked import asked as read_query
from quiver.engine.server.examples import SEARCH_BODY, errors
from quiver.engine.server.forms import body_of
from quiver.engine.server.problems import Problem
from quiver.engine.server.resources.search import Name
from quiver.engine.server.served import Served
from quiver.engine.server.service import Service, answered, caller, service_of
from quiver.engine.serving.paging import pages

router = APIRouter(prefix="/v1/collections/{collection}/pages", tags=["search"])
#: Seconds for which a token works, and its longest form.
_LASTS, _LONGEST = 900, 64_000


@router.post("", summary="First page", openapi_extra=SEARCH_BODY, responses=errors(400, 404, 413, 415, 422, 503))
async def first(request: Request, collection: Name) -> Response:
    """Return the first `k` hits, and a token for the next page, which works for 15 minutes.

    All pages are of one version of the collection. Queries with files have one page: search with an `offset` instead.
    """
    service = service_of(request)
    served = service.collection(request)
    form = await body_of(request, service.settings.limits, part="query", files=0, forms=False)
    query = form.json
    wanted = read_query(query, service.settings.limits, within=caller(request).condition)
    version = await service.version(request, served)
    newest = await service.off(lambda: served.version) if version is None else version
    return await _page(service, request, served, wanted, query, (newest, 0))


@router.get("/{token}", summary="Next page", responses=errors(404, 410, 422, 503))
async def following(request: Request, collection: Name, token: str) -> Response:
    """Return the page that a token stands for."""
    service = service_of(request)
    served = service.collection(request)
    query, place = _read(service, served, caller(request).id, token)
    wanted = read_query(query, service.settings.limits, within=caller(request).condition)
    return await _page(service, request, served, wanted, query, place)


async def _page(
    service: Service, request: Request, served: Served, wanted: Asked, query: dict[str, Any], place: tuple[int, int]
) -> Response:
    """Return a page; ``place`` is the version and the number of the page, from 0.

    The engine walks from the first page again, which is one search for ten pages: so no hit comes twice.
    """
    if wanted.explain == "plan":
        raise Problem(422, "explain is 'analyze' or false for pages: search with 'plan' plans the query")
    version, number = place
    key, reach = caller(request), service.settings.limits.reach
    links = service.links(served, key)

    def work() -> tuple[dict[str, Any], bool]:
        served.check_examples(wanted.query.examples, key, version=version)
        on = served.at(version)
        found = list(islice(pages(on, wanted.query), number, number + 2))
        shown = found[0] if found else replace(on.search(wanted.query), hits=())
        return service.answers.answer(shown, wanted, links), len(found) > 1

    found, more = await service.heavy(work)
    if more and wanted.query.offset + (number + 2) * wanted.query.k <= reach:
        found["next"] = _token(service, served, key.id, query, (version, number + 1))
    return answered(found, version=version)


def _token(service: Service, served: Served, key: str, query: dict[str, Any], place: tuple[int, int]) -> str:
    content = msgspec.json.encode([served.name, key, place, int(time.time()) + _LASTS, query])
    told = base64.urlsafe_b64encode(content).decode().rstrip("=")
    return f"{told}.{service.tokens.sign(told)}"


def _read(service: Service, served: Served, key: str, token: str) -> tuple[dict[str, Any], tuple[int, int]]:
    """Return the query of a token, and the version and number of its page.

    Raises:
        Problem: it was not made here, for this collection and this key, or it is too old.
    """
    told, _, signature = token.partition(".")
    wrong = Problem(
        404, "this is no token of a page of this collection and key: ask for the first page", kind="bad-token"
    )
    if len(token) > _LONGEST or not hmac.compare_digest(service.tokens.sign(told).encode(), signature.encode()):
        raise wrong
    try:
        name, owner, place, until, query = msgspec.json.decode(base64.urlsafe_b64decode(told + "=" * (-len(told) % 4)))
    except (binascii.Error, msgspec.DecodeError, ValueError):
        raise wrong from None
    if (name, owner) != (served.name, key):
        raise wrong
    if time.time() > until:
        raise Problem(410, "this token is older than 15 minutes: ask for the first page", kind="old-token")
    return query, (place[0], place[1])
