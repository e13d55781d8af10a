"""Changes: upsert items with their files, set metadata, delete by ids or by a condition."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Request
from starlette.responses import Response

from quiver.engine.server.arrow import VECTOR, vectors
from quiver.engine.server.arrow import read as read_arrow
from quiver.engine.server.asked import FILES, decoded, joined
from quiver.engine.server.examples import body, errors
from quiver.engine.server.forms import ARROW, body_of, type_of
from quiver.engine.server.keys import Key
from quiver.engine.server.own import check_kept
from quiver.engine.server.problems import Problem
from quiver.engine.server.resources.items import checked, ids_of
from quiver.engine.server.resources.search import Name
from quiver.engine.server.served import Served
from quiver.engine.server.service import Service, answered, caller, service_of
from quiver.engine.server.settings import Limits
from quiver.engine.server.watching import audit
from quiver.errors import BadSpec
from quiver.files import once
from quiver.media import kind as kind_of
from quiver.types import MEDIA, Item

router = APIRouter(prefix="/v1/collections/{collection}/items", tags=["changes"])
#: Folder of uploaded files, in the folder of the collection.
UPLOADS = "uploads"
_STRING: dict[str, Any] = {"type": "string"}
_ITEM = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": _STRING, "text": _STRING, "meta": {"type": "object"}, **dict.fromkeys(FILES, _STRING)},
    "additionalProperties": False,
}
_VECTORS = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_UPSERT = {
    "type": "object",
    "required": ["items"],
    "properties": {"items": {"type": "array", "items": _ITEM}, "space": _STRING, "vectors": _VECTORS},
    "additionalProperties": False,
}
_PATCH = {
    "type": "object",
    "required": ["values"],
    "properties": {"values": {"type": "object", "additionalProperties": {"type": "object"}}},
    "additionalProperties": False,
}
_DELETE = {
    "type": "object",
    "properties": {
        "ids": {"type": "array", "items": _STRING},
        "where": _STRING,
        "params": {"anyOf": [{"type": "object"}, {"type": "array"}]},
        "expect": {"type": "integer", "minimum": 0},
        "missing_ok": {"type": "boolean"},
    },
    "additionalProperties": False,
}
_TWO = {"items": [{"id": "a", "image": "a.jpg", "meta": {"price": 3}}, {"id": "b", "text": "a red dress"}]}


@dataclass(frozen=True, slots=True)
class Upsert:
    """Items to add, or to replace.

    Attributes:
        items: ids, texts and metadata; media are names of uploads.
        files: the uploads by name.
        space: space of ready-made vectors; None embeds the items.
        vectors: (n, dim), one for each item.
    """

    items: Sequence[Item]
    files: Mapping[str, bytes]
    space: str | None = None
    vectors: Any = None


@router.put(
    "",
    summary="Add or replace items",
    openapi_extra=body(_UPSERT, _TWO, arrow=True),
    responses=errors(400, 404, 413, 415, 422, 507),
)
async def upsert(request: Request, collection: Name) -> Response:
    """Add items, or replace stored ones with the same ids.

    Send JSON, or `multipart/form-data` with a part `items` (this JSON) and the files that the items name, each as a
    part called `file` with that file name. The collection's encoders embed the items; with `space` and `vectors`, the
    vectors are taken as they are. Many items are better added by a job.

    Many ready-made vectors are better sent as an Arrow stream: columns `id`, `vector` (a fixed-size list of float32),
    perhaps `text`, and metadata; the metadata of its schema has the JSON `{"space": "mine"}` under `quiver`.
    """
    service = service_of(request)
    served, key = service.collection(request, "write"), caller(request)
    if type_of(request) == ARROW:
        return await _upsert_table(request, service, served)
    wanted = await read_upsert(service, request, key)
    report = await service.heavy(add, served, wanted)
    audit(key.id, "upsert", served.name, items=len(wanted.items), added=report["added"], updated=report["updated"])
    return answered(report, version=served.version)


async def _upsert_table(request: Request, service: Service, served: Served) -> Response:
    """Add ready-made vectors that come as an Arrow stream."""
    key = caller(request)
    _check_adds(key)
    table, note = read_arrow(await request.body(), service.settings.limits.ids)
    space = checked(note, ("space",)).get("space")
    if not isinstance(space, str):
        raise Problem(422, 'the schema needs the name of the space, as {"space": "mine"} under quiver', kind="bad-body")
    if "id" not in table.schema.names:
        raise Problem(422, "the stream needs a column id, of texts", kind="bad-body")
    if files := [name for name in FILES if name in table.schema.names]:
        detail = f"the column {files[0]} would name files: the service opens no path; send such items as a form"
        raise Problem(422, detail, kind="file-needed")
    report = await service.heavy(_add_table, served, table, space)
    audit(key.id, "upsert", served.name, items=len(table), added=report["added"], updated=report["updated"])
    return answered(report, version=served.version)


def _add_table(served: Served, table: pa.Table, space: str) -> dict[str, Any]:
    ready, meta = vectors(table), table.drop_columns(["id", VECTOR])
    ids, text = table["id"].to_pylist(), "text" if "text" in meta.schema.names else None
    columns = meta if meta.num_columns else None
    report = served.collection.add_vectors(ready, space=space, ids=ids, meta=columns, text=text, progress=False)
    served.wrote()
    return report_json(served, report)


def _check_adds(key: Key) -> None:
    """Refuse additions by a key whose condition new items could not meet.

    Raises:
        Problem: the key has a condition.
    """
    if key.where is not None:
        raise Problem(403, "this key has a condition on items, so it cannot add any: use a key without one")


async def read_upsert(service: Service, request: Request, key: Key) -> Upsert:
    """Read the items of a request.

    Raises:
        Problem: an item is no item, or a file is missing; or the key has a condition, which new items could not meet.
    """
    _check_adds(key)
    limits = service.settings.limits
    form = await body_of(request, limits, part="items", files=1_000)
    given = form.json if not isinstance(form.json, list) else {"items": form.json}
    given = checked(given, ("items", "space", "vectors"))
    rows = given.get("items")
    if not isinstance(rows, list) or not rows:
        raise Problem(422, "items is a list with at least one item", kind="bad-body")
    if len(rows) > limits.ids:
        raise Problem(422, f"a request has at most {limits.ids:,} items, not {len(rows):,}", limit=limits.ids)
    files = {name: data for _, name, data in form.files}
    items = [_item(row, place, files) for place, row in enumerate(rows)]
    return Upsert(items, files, *_ready(given, len(items)))


def _item(row: Any, place: int, files: Mapping[str, bytes]) -> Item:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not row["id"]:
        raise Problem(422, f"items[{place}] needs an id, a text", kind="bad-item")
    if odd := set(row) - {"id", "meta", *MEDIA}:
        raise Problem(422, f"items[{place}] has no {min(odd)[:50]!r}: metadata go into meta", kind="bad-item")
    media = {name: row[name] for name in MEDIA if row.get(name) is not None}
    for name, value in media.items():
        if not isinstance(value, str):
            raise Problem(422, f"items[{place}].{name} is a text", kind="bad-item")
        if name != "text" and value not in files:
            said = f"items[{place}].{name} names {value[:80]!r}, which is none of the uploaded files"
            raise Problem(422, f"{said}: the service opens no path and no address", kind="file-needed")
    meta = row.get("meta") or {}
    if not isinstance(meta, dict):
        raise Problem(422, f"items[{place}].meta is an object", kind="bad-item")
    return Item(row["id"], media, meta)


def _ready(given: Mapping[str, Any], count: int) -> tuple[str | None, Any]:
    space, vectors = given.get("space"), given.get("vectors")
    if (space is None) != (vectors is None):
        raise Problem(422, "ready-made vectors need both space, their name, and vectors", kind="bad-body")
    if space is None:
        return None, None
    try:
        found = np.asarray(vectors, np.float32)
    except (TypeError, ValueError, OverflowError):
        found = np.empty(0, np.float32)
    if found.ndim != 2 or len(found) != count or not isinstance(space, str):
        raise Problem(422, f"vectors is a list of {count} lists of numbers, one for each item", kind="bad-body")
    return space, found


def add(served: Served, wanted: Upsert, **options: Any) -> dict[str, Any]:
    """Store the uploads and add the items; returns the report."""
    items = stored(served, wanted)
    collection = served.collection
    if wanted.space is not None:
        rows = [{"id": each.id, **each.meta, **each.media} for each in items]
        table: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for row in rows for name in row}
        media: dict[str, Any] = {name: name for name in MEDIA if name in table}
        ids = table.pop("id")
        report = collection.add_vectors(
            wanted.vectors, space=wanted.space, ids=ids, meta=table or None, progress=False, **media
        )
    else:
        report = collection.add(list(items), progress=False, **options)
    served.wrote()
    return report_json(served, report)


def report_json(served: Served, report: Any) -> dict[str, Any]:
    """Return a report of an add as JSON-compatible values, without folders."""
    folder = f"{served.collection.uri}/"
    return {**report.counts(), "notes": [note.replace(folder, "") for note in report.notes]}


def stored(served: Served, wanted: Upsert) -> list[Item]:
    """Store uploads in the folder of the collection, named by the hash of their bytes; return items that name them.

    Raises:
        Problem: the collection is in an object store, which has no folder for files.
    """
    names = {value for item in wanted.items for name, value in item.media.items() if name != "text"}
    if names and "://" in served.collection.uri:
        raise Problem(422, "files can be uploaded to collections on a disk only: add them where the collection is made")
    places = {name: _store(served.collection.uri, name, wanted.files[name]) for name in names}
    return [
        Item(
            item.id,
            {name: value if name == "text" else places[value] for name, value in item.media.items()},
            item.meta,
        )
        for item in wanted.items
    ]


def _store(uri: str, name: str, data: bytes) -> str:
    suffix = os.path.splitext(name)[1].lower()
    kind = kind_of(f"a{suffix}") if suffix[1:].isalnum() else None
    if kind in (None, "text"):
        raise BadSpec(
            f"the file {name[:80]!r} needs the ending of a picture, sound or video, such as .jpg, .wav or .mp4"
        )
    if not data:
        raise BadSpec(f"the file {name[:80]!r} is empty")
    sha256 = hashlib.sha256(data).hexdigest()
    path = Path(uri) / UPLOADS / sha256[:2] / f"{sha256}{suffix}"
    once(path, lambda draft: _write(draft, data))
    return str(path)


def _write(draft: Path, data: bytes) -> None:
    draft.write_bytes(data)


@router.patch(
    "",
    summary="Set metadata",
    openapi_extra=body(_PATCH, {"values": {"a": {"price": 5}}}),
    responses=errors(400, 404, 422),
)
async def patch(request: Request, collection: Name) -> Response:
    """Set metadata of items by id; null clears a value."""
    service = service_of(request)
    served, key = service.collection(request, "write"), caller(request)
    given = checked(decoded(await request.body()), ("values",))
    values = given.get("values")
    if not isinstance(values, dict) or not all(isinstance(each, dict) for each in values.values()):
        raise Problem(422, 'values maps ids to columns and values, such as {"a": {"price": 5}}', kind="bad-body")
    ids_of(list(values), service.settings.limits.ids)
    changed = await service.heavy(_patch, served, key, values)
    audit(key.id, "patch", served.name, items=changed)
    return answered({"changed": changed}, version=served.version)


def _patch(served: Served, key: Key, values: Mapping[str, Mapping[str, Any]]) -> int:
    if key.condition is not None:
        columns = {name for each in values.values() for name in each}
        if named := served.columns(key.condition) & columns:
            raise Problem(403, f"this key is bound to values of {min(named)!r}, so it cannot change them")
        served.check_examples(values, key)
        check_kept(served.types(), values)
    changed = served.collection.update_meta(values)
    served.wrote()
    return changed


@router.delete(
    "",
    summary="Delete items",
    openapi_extra=body(_DELETE, {"where": "price < 5", "expect": 3}),
    responses=errors(400, 404, 409, 422),
)
async def delete(request: Request, collection: Name) -> Response:
    """Delete items by ids or by a condition; earlier versions keep them.

    `expect` is the number of items that the caller saw: if another number matches, nothing is deleted and the answer is
    409. A condition needs it, ids may have it.
    """
    service = service_of(request)
    served, key = service.collection(request, "write"), caller(request)
    given = checked(decoded(await request.body()), ("ids", "where", "params", "expect", "missing_ok"))
    count = await service.heavy(_delete, served, key, given, service.settings.limits)
    audit(key.id, "delete", served.name, items=count)
    return answered({"deleted": count}, version=served.version)


def _delete(served: Served, key: Key, given: Mapping[str, Any], limits: Limits) -> int:
    expect, missing_ok = given.get("expect"), given.get("missing_ok", False)
    if not isinstance(expect, int | None) or isinstance(expect, bool) or not isinstance(missing_ok, bool):
        raise Problem(422, "expect is a whole number, and missing_ok is true or false", kind="bad-body")
    if ("ids" in given) == ("where" in given):
        raise Problem(422, "delete takes either ids or where", kind="bad-body")
    count = _deleted(served, key, given, limits)
    served.wrote()
    return count


def _deleted(served: Served, key: Key, given: Mapping[str, Any], limits: Limits) -> int:
    expect, missing_ok = given.get("expect"), given.get("missing_ok", False)
    if "ids" in given:
        named = ids_of(given["ids"], limits.ids)
        if missing_ok and key.condition is not None:
            named = served.collection.stored(named, where=key.condition)
        served.check_examples(named, key)
        return served.collection.delete(named, expect=expect, missing_ok=missing_ok) if named else 0
    if expect is None:
        raise Problem(422, "a condition needs expect: the number of items that it matches, as items/count tells it")
    condition = joined(given["where"], given.get("params"), key.condition)
    return served.collection.delete(where=condition, expect=expect)
