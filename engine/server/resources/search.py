"""Searches: one query, with files of query media or without, and batches of queries."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from quiver.engine.execution.plan import plain
from quiver.engine.server.asked import PARTS, Asked, asked, many
from quiver.engine.server.examples import ANSWER, BATCH, SEARCH_BODY, errors
from quiver.engine.server.forms import Form, body_of, media_of
from quiver.engine.server.problems import Problem, problem_of
from quiver.engine.server.service import Service, answered, caller, service_of
from quiver.errors import QuiverError

router = APIRouter(prefix="/v1/collections/{collection}/search", tags=["search"])
Name = Annotated[str, Path(description="Name of a collection.", examples=["shop"])]


@router.post(
    "",
    summary="Search",
    openapi_extra=SEARCH_BODY,
    responses={200: ANSWER, **errors(400, 404, 413, 415, 422, 503, 504)},
)
async def search(request: Request, collection: Name) -> Response:
    """Search with texts, files, vectors or stored items; the words are those of `Collection.search`.

    Send JSON, or `multipart/form-data` with a part `query` (this JSON) and files as the parts `image`, `audio`,
    `video`, `before` and `after`, or of negative examples `unlike_image`, `unlike_audio` and `unlike_video`; a part may
    come several times. Hits have links to their media.
    """
    service = service_of(request)
    served = service.collection(request)
    limits = service.settings.limits
    form = await body_of(request, limits, part="query", files=limits.references)
    wanted = await read(service, request, form)
    if wanted.explain == "plan":
        return await _planned(service, request, wanted)
    found, version = await service.search(request, served, wanted)
    return answered(found, version=version)


async def read(service: Service, request: Request, form: Form) -> Asked:
    """Turn a body into a query; uploads are decoded by processes with limits."""
    limits, within = service.settings.limits, caller(request).condition
    if not form.files:
        return asked(form.json, limits, within=within)
    media: dict[str, Any] = {}
    loop = asyncio.get_running_loop()
    given = form.json if form.json is not None else {}
    uploaded = media_of(form.files)
    # A bad query is refused before its files are decoded.
    asked(given, limits, files={name: _one_or_all([b""] * len(each)) for name, each in uploaded.items()})
    for name, uploads in uploaded.items():
        read = [
            await loop.run_in_executor(service.decoders.executor, service.decoders.decode, PARTS[name], data, shown)
            for shown, data in uploads
        ]
        media[name] = _one_or_all(read)
    return asked(given, limits, files=media, within=within)


def _one_or_all(values: list[Any]) -> Any:
    """Return the value of a list of one, which the parts of a pair must be; else the list."""
    return values[0] if len(values) == 1 else values


async def _planned(service: Service, request: Request, wanted: Asked) -> Response:
    served = service.collection(request)
    version = await service.version(request, served)
    key = caller(request)

    def explain() -> Any:
        served.check_examples(wanted.query.examples, key)
        return served.at(version).explain(wanted.query)

    plan = await service.heavy(explain)
    return answered({"hits": [], "plan": plain(plan.to_dict()), "partial": False}, version=plan.version)


@router.post(
    "/batch", summary="Search many", openapi_extra=BATCH, responses={200: ANSWER, **errors(400, 404, 413, 422, 503)}
)
async def batch(request: Request, collection: Name) -> Response:
    """Answer up to 256 queries; a bad one has its problem in its place, and the others have their answers."""
    service = service_of(request)
    served = service.collection(request)
    limits = service.settings.limits
    form = await body_of(request, limits, part="query", files=0, forms=False)
    wanted = many(form.json, limits, within=caller(request).condition)
    if any(each.explain == "plan" for each in wanted):
        raise Problem(422, "explain is 'analyze' or false in a batch: search with 'plan' plans one query")
    version = await service.version(request, served)
    key, links = caller(request), service.links(served, caller(request))

    def work() -> Any:
        at = served.at(version)
        for each in wanted:
            served.check_examples(each.query.examples, key)
        found = at.search_each([each.query for each in wanted])
        return [
            problem_of(result).to_dict()
            if isinstance(result, QuiverError)
            else service.answers.answer(result, each, links)
            for each, result in zip(wanted, found, strict=True)
        ]

    answers = await service.heavy(work)
    versions = [each["version"] for each in answers if "version" in each]
    return answered({"answers": answers}, version=max(versions, default=None))
