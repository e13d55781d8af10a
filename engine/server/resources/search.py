"""Searches: one query, with files of query media or without, and batches of queries."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from quiver.engine.execution.plan import Result, plain
from quiver.engine.server.answers import Links
from quiver.engine.server.arrow import VECTOR, answer, vectors
from quiver.engine.server.arrow import read as read_arrow
from quiver.engine.server.asked import PARTS, Asked, asked, many
from quiver.engine.server.examples import ANSWER, BATCH, BATCH_ANSWER, SEARCH_BODY, errors
from quiver.engine.server.forms import ARROW, Form, body_of, media_of, type_of
from quiver.engine.server.keys import Key
from quiver.engine.server.own import plan_for
from quiver.engine.server.problems import Problem, problem_of
from quiver.engine.server.served import Served
from quiver.engine.server.service import Service, answered, caller, service_of
from quiver.errors import BadSpec, QuiverError

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
        served.check_examples(wanted.query.examples, key, version=version)
        return served.at(version).explain(wanted.query)

    plan = await service.heavy(explain)
    return answered(
        {"hits": [], "plan": plan_for(plan) if wanted.bound else plain(plan.to_dict()), "partial": False},
        version=plan.version,
    )


@router.post(
    "/batch",
    summary="Search many",
    openapi_extra=BATCH,
    responses={200: BATCH_ANSWER, **errors(400, 404, 413, 415, 422, 503)},
)
async def batch(request: Request, collection: Name) -> Response:
    """Answer up to 256 queries; a bad one has its problem in its place, and the others have their answers.

    Vectors may be sent without JSON, as an Arrow stream with a column `vector`, one row for each query; the words that
    the queries share are JSON in the metadata of its schema, under `quiver`, with `space` for the space of the vectors.
    With `Accept: application/vnd.apache.arrow.stream` the hits of all queries are one Arrow stream with a column
    `query`; a bad query then is the problem of the whole request.
    """
    service = service_of(request)
    served = service.collection(request)
    wanted = await _many(request, service)
    if any(each.explain == "plan" for each in wanted):
        raise Problem(422, "explain is 'analyze' or false in a batch: search with 'plan' plans one query")
    version = await service.version(request, served)
    key, links = caller(request), service.links(served, caller(request))
    arrow = ARROW in request.headers.get("accept", "")

    def work() -> Any:
        found = _each(served, version, wanted, key)
        if arrow:
            return _table(found, wanted, links)
        return [
            problem_of(result).to_dict()
            if isinstance(result, QuiverError)
            else service.answers.answer(result, each, links)
            for each, result in zip(wanted, found, strict=True)
        ]

    answers = await service.heavy(work)
    if arrow:
        body, newest = answers
        return Response(body, headers={"Quiver-Version": str(newest)}, media_type=ARROW)
    versions = [each["version"] for each in answers if "version" in each]
    return answered({"answers": answers}, version=max(versions, default=None))


def _each(served: Served, version: int | None, wanted: Sequence[Asked], key: Key) -> list[Result | QuiverError]:
    """Answer the queries of a batch; one whose examples do not exist for the key has that error in its place."""
    errors: dict[int, QuiverError] = {}
    for place, each in enumerate(wanted):
        try:
            served.check_examples(each.query.examples, key, version=version)
        except BadSpec as error:
            errors[place] = error
    rest = [each.query for place, each in enumerate(wanted) if place not in errors]
    answers = iter(served.at(version).search_each(rest) if rest else ())
    return [errors[place] if place in errors else next(answers) for place in range(len(wanted))]


async def _many(request: Request, service: Service) -> Sequence[Asked]:
    """Read the queries of a batch: JSON, or vectors as an Arrow stream."""
    limits, within = service.settings.limits, caller(request).condition
    if type_of(request) != ARROW:
        form = await body_of(request, limits, part="query", files=0, forms=False)
        return many(form.json, limits, within=within)
    table, shared = read_arrow(await request.body(), limits.batch)
    if odd := [name for name in table.schema.names if name != VECTOR]:
        raise Problem(422, f"there is no column {odd[0][:50]!r} here: there is {VECTOR}", kind="bad-body")
    space, rows = shared.pop("space", None), vectors(table)
    if not isinstance(space, str | None):
        raise Problem(422, "space is the name of a space", kind="bad-body")
    given = ({"vector": row} if space is None else {"vectors": {space: row}} for row in rows)
    return many({"queries": [{**shared, **each} for each in given]}, limits, within=within)


def _table(found: Sequence[Result | QuiverError], wanted: Sequence[Asked], links: Links) -> tuple[bytes, int]:
    """Return the answers as an Arrow stream, and their version.

    Raises:
        QuiverError: the error of the first bad query, with its place.
    """
    results = []
    for place, each in enumerate(found):
        if isinstance(each, QuiverError):
            each.args = (f"queries[{place}]: {each}",)
            raise each
        results.append(each)
    return answer(results, wanted, links), max(each.plan.version for each in results)
