"""Answers as JSON: hits with links to their media instead of paths, the plan, and what was measured."""

from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any
from urllib.parse import quote

import msgspec

from quiver.engine.execution.plan import Plan, Result, plain
from quiver.engine.server.asked import Asked
from quiver.engine.server.own import items_for, plan_for, reason_for
from quiver.media import moment, times
from quiver.types import Item

_PLAIN = (str, int, bool, type(None))
#: Plans whose JSON is kept: queries of one shape share a plan.
_PLANS = 256


class Links:
    """Addresses of the items of a collection; what they need in place of a key is added.

    Args:
        collection: its name.
        token: see ``media_tokens``; empty without keys.
    """

    def __init__(self, collection: str, token: str) -> None:
        self.items = f"/v1/collections/{quote(collection, safe='')}/items"
        self._token = f"?token={token}" if token else ""

    def media(self, id: str, media: Mapping[str, str]) -> dict[str, str]:
        """Return the media of an item: text as it is, a link for a file; its seconds are kept."""
        base = f"{self.items}/{quote(id, safe='')}/media/"
        return {
            name: value if name == "text" else _timed(f"{base}{name}{self._token}", value)
            for name, value in media.items()
        }


def _timed(link: str, reference: str) -> str:
    if "#t=" not in reference:
        return link
    whole, start, stop = times(reference)
    return link if whole == reference else moment(link, start, stop)


def values(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as JSON-compatible values."""
    return {name: value if type(value) in _PLAIN else plain(value) for name, value in meta.items()}


def item(found: Item, links: Links) -> dict[str, Any]:
    """Return an item."""
    return {"id": found.id, "meta": values(found.meta), "media": links.media(found.id, found.media)}


class Answers:
    """Turns results into JSON; the JSON of plans that several queries share is kept."""

    def __init__(self) -> None:
        self._plans: dict[int, tuple[Plan, msgspec.Raw]] = {}
        self._lock = Lock()

    def answer(self, result: Result, asked: Asked, links: Links) -> dict[str, Any]:
        """Return an answer, to be encoded by msgspec."""
        hits = list(self._hits(result, asked, links))
        plan = result.plan
        found = {
            "hits": hits,
            "version": plan.version,
            "items": items_for(plan) if asked.bound else plan.items,
            "partial": result.partial,
            "notes": list(plan.notes),
        }
        if asked.explain is not None:
            found["plan"] = plan_for(plan) if asked.bound else self.plan(plan)
            found["actual"] = [{"label": each.label, "rows": each.rows, "ms": each.ms} for each in result.actual]
        if not hits:
            from quiver.engine.serving.no_hits import reason

            why = reason_for if asked.bound else reason
            found["reason"] = why(result, offset=asked.query.offset)
        if asked.types:
            types: Mapping[str, Any] = getattr(result.hits, "types", {})
            found["types"] = {name: str(kind) for name, kind in types.items()}
        return found

    def _hits(self, result: Result, asked: Asked, links: Links) -> Iterable[dict[str, Any]]:
        for hit in result.hits:
            media = links.media(hit.id, hit.media)
            uri = next((value for name, value in media.items() if name != "text"), None)
            meta = hit.meta
            if asked.meta is not True:
                chosen = asked.meta or ()
                meta = {name: meta[name] for name in chosen if name in meta}
            found = {"id": hit.id, "score": float(hit.score), "uri": uri, "meta": values(meta), "media": media}
            if hit.folded:
                found["folded"] = hit.folded
            if asked.trace:
                found["trace"] = plain(hit.trace)
            yield found

    def plan(self, plan: Plan) -> msgspec.Raw:
        """Return a plan as JSON."""
        with self._lock:
            kept = self._plans.get(id(plan))
        if kept is not None and kept[0] is plan:
            return kept[1]
        made = msgspec.Raw(msgspec.json.encode(plan.to_dict()))
        with self._lock:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[id(plan)] = (plan, made)
        return made
