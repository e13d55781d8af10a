"""Things of a task with the sentences that describe them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quiver.errors import BadData
from quiver.task import Task
from quiver.types import keys_of

#: Columns of an item that name what changed, for figures by kind.
KINDS = ("change", "type")


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing to be captioned.

    Attributes:
        id: of its item, or of the question that asks with it.
        media: its references, without text.
        texts: the sentences that describe it.
        kind: what changed, such as ``colour``, or ``none``; empty where the data set does not say.
        source: what intervals resample: things of one source stay together.
    """

    id: str
    media: Mapping[str, Any]
    texts: Sequence[str]
    kind: str = ""
    source: str = ""


@dataclass(slots=True)
class _Found:
    media: Mapping[str, Any]
    kind: str
    source: str = ""
    texts: dict[str, None] = field(default_factory=dict)


def gather(task: Task) -> tuple[str, list[Thing]]:
    """Return the key of what a task's sentences describe, such as ``pair``, and the things that have a sentence.

    Args:
        task: questions of text about items, or questions with media about items of text.

    Raises:
        BadData: it has neither, or several kinds of media.
    """
    found = _about_questions(task) if task.target == "text" else _about_items(task)
    things = [
        Thing(id, each.media, list(each.texts), each.kind, each.source or id)
        for id, each in found.items()
        if each.texts and each.media
    ]
    keys = {key for thing in things for key in keys_of(thing.media)}
    if len(keys) != 1:
        have = f"several kinds of media ({', '.join(sorted(keys))})" if keys else "no sentence about any media"
        raise BadData(
            f"{task.name} has {have}: captions need a track between text and one medium, such as text_to_pair"
        )
    return keys.pop(), things


def _about_items(task: Task) -> dict[str, _Found]:
    found = {
        item.id: _Found(_without_text(item.media, task.target), _kind(item.meta), str(item.meta.get("source", "")))
        for item in task.items
    }
    for question in task.questions:
        if question.query.media.keys() == {"text"}:
            for id in question.relevant:
                found[id].texts[str(question.query.media["text"])] = None
    return found


def _about_questions(task: Task) -> dict[str, _Found]:
    items = {item.id: item for item in task.items}
    found = {}
    for question in task.questions:
        each = _Found(question.query.media, "", question.source)
        for id in question.relevant:
            each.texts[str(items[id].media.get("text", ""))] = None
            each.kind = each.kind or _kind(items[id].meta)
        each.texts.pop("", None)
        found[question.id] = each
    return found


def _without_text(media: Mapping[str, Any], target: str) -> dict[str, Any]:
    names = ("before", "after") if target == "pair" else (target,)
    return {name: media[name] for name in names if name in media}


def _kind(meta: Mapping[str, Any]) -> str:
    return next((str(meta[name]) for name in KINDS if meta.get(name)), "")
