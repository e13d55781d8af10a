"""Long work: adds, embedding, indexes and checks as jobs, with their progress as server-sent events."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from quiver.engine.server.asked import check_names, decoded, many
from quiver.engine.server.examples import QUERY, errors
from quiver.engine.server.forms import FORM, JSON
from quiver.engine.server.jobs import Job
from quiver.engine.server.keys import Key
from quiver.engine.server.problems import Problem
from quiver.engine.server.resources.changes import read_upsert, stored
from quiver.engine.server.resources.items import checked, ids_of
from quiver.engine.server.resources.search import Name
from quiver.engine.server.service import Service, answered, caller, service_of, whole, without_paths
from quiver.engine.server.settings import Limits
from quiver.engine.server.watching import audit
from quiver.types import KEYS

router = APIRouter(prefix="/v1", tags=["jobs"])
EVENTS = "text/event-stream"
#: Options of each kind of job that takes none of files, and the types of their values.
_OPTIONS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "embed": {},
    "index": {"spaces": list, "recall": (int, float), "k": int, "updates": str},
    "check": {"spaces": list},
    "catch_up": {},
    "check_vectors": {"sample": int, "again": int},
    "threshold": {"queries": list, "answers": list, "by": str, "target": str, "rate": (int, float),
                  "confidence": (int, float), "source": str},
    "measure": {"queries": list, "scorer": str, "k": int},
    "fit": {"queries": list, "answers": list, "scorer": str, "depth": int, "source": str},
}  # fmt: skip
_KINDS = ("add", *_OPTIONS)
_NEEDED = {"measure": ("queries",), "fit": ("queries", "answers")}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["kind"],
                    "properties": {
                        "kind": {"enum": list(_OPTIONS)},
                        "spaces": {"type": "array", "items": {"type": "string"}},
                        "recall": {"type": "number", "minimum": 0.5, "maximum": 1},
                        "k": {"type": "integer", "minimum": 1, "maximum": 1000},
                        "updates": {"enum": ["rare", "often"]},
                        "queries": {"type": "array", "items": QUERY},
                        "answers": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
                        "by": {"type": "string"},
                        "target": {"enum": list(KEYS)},
                        "rate": {"type": "number"},
                        "confidence": {"type": "number"},
                        "source": {"type": "string"},
                        "scorer": {"type": "string"},
                        "depth": {"type": "integer", "minimum": 1},
                        "sample": {"type": "integer", "minimum": 1},
                        "again": {"type": "integer", "minimum": 0},
                    },
                },
                "example": {"kind": "index", "recall": 0.95},
            },
            FORM: {"schema": {"type": "object", "properties": {"items": {}, "file": {"format": "binary"}}}},
        },
    }
}


@router.post(
    "/collections/{collection}/jobs",
    summary="Start a job",
    status_code=202,
    openapi_extra=_BODY,
    responses=errors(400, 404, 415, 422, 503),
)
async def start(request: Request, collection: Name) -> Response:
    """Start long work; one job runs at a time, and searches go on meanwhile.

    `embed` embeds stored items that an encoder of the collection has not embedded yet; `index` builds indexes with a
    recall target, `check` checks the targets, and `catch_up` updates stale indexes; `check_vectors` looks for signs
    that an encoder is not well; `threshold`, `measure` and `fit` learn from labelled queries, as the methods of
    `Collection` do. A form of several parts, as for adding items, adds them as a job.
    """
    service = service_of(request)
    form = request.headers.get("content-type", "").startswith(FORM)
    served, key = service.collection(request, "write" if form else "admin"), caller(request)
    if form:
        wanted = await read_upsert(service, request, key)
        if wanted.space is not None:
            raise Problem(422, "a job embeds items: add ready-made vectors by PUT items")
        items = await service.off(stored, served, wanted)
        kind = "add"
        options: dict[str, Any] = {
            "items": [{"id": each.id, "media": dict(each.media), "meta": dict(each.meta)} for each in items]
        }
    else:
        if key.where is not None:
            raise Problem(
                403, "this key has a condition on items, and a job works on all of them: use a key without one"
            )
        kind, options = _read(decoded(await request.body()), service)
    job = service.jobs.submit(served, kind, options, key=key.id)
    audit(key.id, "job", served.name, kind=kind, job=job.id)
    answer = answered(job.to_dict(), status=202)
    answer.headers["Location"] = f"/v1/jobs/{job.id}"
    return answer


def _read(given: Any, service: Service) -> tuple[str, dict[str, Any]]:
    kind = given.get("kind") if isinstance(given, dict) else None
    if not isinstance(kind, str) or kind not in _OPTIONS:
        said = "add takes a form with items and files" if kind == "add" else f"kind is {', '.join(_OPTIONS)}"
        raise Problem(422, said, kind="bad-body")
    types = _OPTIONS[kind]
    told = checked(given, ("kind", *types)).items()
    options = {name: value for name, value in told if name != "kind" and value is not None}
    for name, value in options.items():
        if not isinstance(value, types[name]) or isinstance(value, bool):
            raise Problem(422, f"{name} has a value of a wrong type: {str(value)[:50]!r}", kind="bad-body")
    ids_of(options.get("spaces", []), service.settings.limits.ids)
    if options.get("updates", "rare") not in ("rare", "often"):
        raise Problem(422, "updates is 'rare' or 'often'", kind="bad-body")
    if missing := [name for name in _NEEDED.get(kind, ()) if name not in options]:
        raise Problem(422, f"{kind} needs {missing[0]}", kind="bad-body")
    _check_labelled(options, service.settings.limits)
    return kind, options


def _check_labelled(options: dict[str, Any], limits: Limits) -> None:
    """Check labelled queries, and the name of a scorer, before the job is taken.

    Raises:
        Problem, BadSpec: one is invalid.
    """
    check_names(options)
    if "queries" in options:
        many({"queries": options["queries"]}, replace(limits, batch=limits.ids))
    for place, each in enumerate(options.get("answers", ())):
        if not isinstance(each, list) or not all(isinstance(id, str) for id in each):
            raise Problem(422, f"answers[{place}] is a list of ids", kind="bad-body")


@router.get("/jobs", summary="List jobs", responses=errors())
async def jobs(request: Request) -> Response:
    """Return the jobs of collections that this key may change, oldest first; none for a key with a condition."""
    service, key = service_of(request), caller(request)
    if not key.may("write"):
        raise Problem(403, "jobs need the scope write", scope="write")
    found = [_told(request, job) for job in service.jobs.all() if _sees(key, job)]
    return answered({"jobs": found})


@router.get("/jobs/{job}", summary="A job, or its events", responses=errors(404))
async def job(request: Request, job: str) -> Response:
    """Return a job; with `Accept: text/event-stream`, its events as they happen.

    A client that was cut off sends `Last-Event-ID` and gets the events after it.
    """
    found = _find(request, job)
    if EVENTS not in request.headers.get("accept", ""):
        return answered(_told(request, found))
    last = whole(request.headers.get("last-event-id", "0"), "Last-Event-ID")
    return StreamingResponse(_events(request, found, last), media_type=EVENTS, headers={"Cache-Control": "no-store"})


async def _events(request: Request, job: Job, last: int) -> AsyncIterator[str]:
    async for number, event in service_of(request).jobs.events(job, last):
        data = without_paths(request, msgspec.json.encode(event).decode())
        yield f"id: {number}\nevent: {event['event']}\ndata: {data}\n\n"


@router.delete("/jobs/{job}", summary="Stop a job", responses=errors(404))
async def stop(request: Request, job: str) -> Response:
    """Stop a job; what it has committed stays."""
    found = _find(request, job)
    await service_of(request).jobs.cancel(found)
    audit(caller(request).id, "stop", found.collection, job=found.id)
    return answered(_told(request, found))


def _find(request: Request, id: str) -> Job:
    service, key = service_of(request), caller(request)
    found = service.jobs.get(id)
    if found is None or not _sees(key, found):
        raise Problem(404, f"there is no job {id[:50]!r}, or this key may not see it")
    return found


def _sees(key: Key, job: Job) -> bool:
    """Whether a job exists for a key; jobs work on all items, and their reports count and name them."""
    return key.may("write") and key.where is None and key.reaches(job.collection)


def _told(request: Request, job: Job) -> dict[str, Any]:
    told = job.to_dict()
    if "detail" in told:
        told["detail"] = without_paths(request, told["detail"])
    return told
