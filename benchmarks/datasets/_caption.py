"""Things with captions, made into questions of either direction: text to thing, thing to text.

Text to thing: every caption is a question, all things compete, its own thing is the answer. Thing to text: every
thing is a question, all captions of all things compete, each of its own is an answer, so the rank that counts is
that of the best. A caption that several things share word for word answers for its own thing only
(``duplicates="own"``, what papers report) or for all that carry it (``"shared"``).
"""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Lazy, Source, spec
from quiver.task import Question, Task
from quiver.types import Item, Query

Duplicates = Literal["own", "shared"]
SHARED = {"own": "its own only", "shared": "all that carry it"}
WORDS = {"audio": "sounds", "video": "videos", "image": "photos", "pair": "ordered pairs"}
MEASURES = ("Success@1", "Success@5", "Success@10", "MedR")
Asked = tuple[list[Item], Sequence[Question]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One medium and its captions.

    Attributes:
        id: unique within its data set.
        media: its references, without text.
        texts: its captions; a thing without any is a distractor.
        meta: columns of its item.
        source: things of one source do not compete with each other, where this is not empty.
    """

    id: str
    media: Mapping[str, str]
    texts: tuple[str, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


def task(source: Source, name: str, entries: Sequence[Entry], *, target: str, key: str, duplicates: Duplicates) -> Task:
    """Make the task of one direction.

    Args:
        source: where the entries were read.
        name: the spec, without ``duplicates``.
        entries: the things and their captions.
        target: what is searched: ``text``, or the key of the things.
        key: what the things are: ``audio``, ``video``, ``image`` or ``pair``.
        duplicates: for whom a caption that several things share answers.
    """
    how = SHARED[duplicates]
    source.note(repeated(entries), f"captions belong to several {WORDS[key]}: each answers for {how}")
    source.note(
        sum(not entry.texts for entry in entries),
        f"{WORDS[key]} have no caption: they compete, but no question asks for them",
    )
    if target == "text":
        items, questions = ask_thing(entries, duplicates=duplicates)
        who = f"every {key} is a question, all captions compete, the best of its own counts"
    else:
        items, questions = ask_text(entries, target=key, duplicates=duplicates)
        who = f"every caption is a question, all {WORDS[key]} of the split compete"
    return source.task(
        f"{name} duplicates={duplicates}",
        items,
        questions,
        measures=MEASURES,
        target=target,
        protocol=f"{who}; a shared caption answers for {how}",
    )


def loader(
    home: Home,
    read: Callable[..., Iterable[Entry]],
    *,
    key: str,
    splits: tuple[str, ...],
    default: str,
    **options: tuple[str, ...],
) -> Callable[..., Task]:
    """Return the ``load`` of a data set with captions.

    It takes keywords: ``folder`` (None looks under QUIVER_DATA), ``split``, ``track`` (``text_to_KEY`` or
    ``KEY_to_text``), ``duplicates`` (whether a caption that several things carry answers for its ``own`` thing only, or
    is ``shared`` by all), ``partial`` (whether files whose counts are not the official ones are read), and ``options``.
    It raises BadData where files are absent, or are not the official ones.

    Args:
        home: where the data set comes from.
        read: given a Source, the split and the options, returns the things of the split with their captions.
        key: medium of the things: ``audio``, ``video``, ``image`` or ``pair``.
        splits: names of the splits.
        default: the split that is read if none is named.
        options: further settings with their values, the default first.
    """
    tracks = (f"text_to_{key}", f"{key}_to_text")

    def load(
        *,
        folder: Path | None = None,
        split: str = default,
        track: str = tracks[0],
        duplicates: Duplicates = "own",
        partial: bool = False,
        **chosen: str,
    ) -> Task:
        source = Source(home, folder, partial=partial)
        further = {name: chosen.pop(name, values[0]) for name, values in options.items()}
        if chosen:
            raise TypeError(f"{home.name} takes no {next(iter(chosen))!r}")
        entries = list(read(source, split, **further))
        target = "text" if track == tracks[1] else key
        spelled = spec(home.name, split=split, track=track, **further)
        return task(source, spelled, entries, target=target, key=key, duplicates=duplicates)

    load.__doc__ = f"Read one split of {home.name}."
    one_of = {"split": splits, "track": tracks, **options}
    load.__signature__ = _signature(load, one_of, options)  # type: ignore[attr-defined]
    return load


def _signature(
    load: Callable[..., Task], one_of: Mapping[str, tuple[str, ...]], options: Mapping[str, tuple[str, ...]]
) -> inspect.Signature:
    """Return the signature of a ``load`` with the values that settings may have, and with its further options."""
    literal: Any = Literal  # of values that are known only here
    kinds = {name: literal[values] for name, values in one_of.items()}
    plain = list(inspect.signature(load, eval_str=True).parameters.values())[:-1]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=values[0]) for name, values in options.items()
    ]
    typed = [each.replace(annotation=kinds.get(each.name, each.annotation)) for each in (*plain, *more)]
    return inspect.Signature(typed, return_annotation=Task)


def caption_id(entry: str, number: int) -> str:
    """Return the id of a thing's caption: of a question about it, or of an item that holds it.

    >>> caption_id("video7", 3)
    'video7#3'
    """
    return f"{entry}#{number}"


def ask_text(entries: Sequence[Entry], *, target: str, duplicates: Duplicates = "own") -> Asked:
    """Search the things with each of their captions.

    Returns:
        One item per entry, one question per caption, both in order.
    """
    items = [Item(entry.id, entry.media, entry.meta) for entry in entries]
    places = [(entry, number) for entry in entries for number in range(len(entry.texts))]
    said, kin = _said(entries), _kin(entries)

    def question(index: int) -> Question:
        entry, number = places[index]
        text = entry.texts[number]
        answers = said[_plain(text)] if duplicates == "shared" else [entry.id]
        return Question(
            id=caption_id(entry.id, number),
            query=Query(media={"text": text}, target=target),
            relevant=dict.fromkeys(answers, 1),
            exclude=tuple(id for id in kin.get(entry.source, ()) if id not in answers),
            source=entry.source or entry.id,
        )

    return items, Lazy(len(places), question)


def ask_thing(entries: Sequence[Entry], *, duplicates: Duplicates = "own") -> Asked:
    """Search all captions with each thing that has some.

    Returns:
        One item per caption, whose meta ``of`` names its thing, and one question per captioned entry, both in order.
    """
    asked = [entry for entry in entries if entry.texts]
    items = [
        Item(caption_id(entry.id, number), {"text": text}, {"of": entry.id})
        for entry in asked
        for number, text in enumerate(entry.texts)
    ]
    same: dict[str, list[str]] = defaultdict(list)
    for item in items:
        same[_plain(item.media["text"])].append(item.id)
    kin = _kin(asked)
    captions = {entry.id: [caption_id(entry.id, number) for number in range(len(entry.texts))] for entry in asked}

    def question(index: int) -> Question:
        entry = asked[index]
        shared = [id for text in entry.texts for id in same[_plain(text)]]
        answers = dict.fromkeys(shared if duplicates == "shared" else captions[entry.id], 1)
        others = [id for other in kin.get(entry.source, ()) if other != entry.id for id in captions[other]]
        return Question(
            id=entry.id,
            query=Query(media=dict(entry.media), target="text"),
            relevant=answers,
            exclude=tuple(id for id in others if id not in answers),
            source=entry.source,
        )

    return items, Lazy(len(asked), question)


def repeated(entries: Sequence[Entry]) -> int:
    """Count the captions that another medium has too, word for word."""
    said = _said(entries)
    return sum(len(said[_plain(text)]) > 1 for entry in entries for text in entry.texts)


def spoken(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the captions that are not empty, stripped of white space."""
    return tuple(text.strip() for text in texts if text.strip())


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _said(entries: Sequence[Entry]) -> dict[str, list[str]]:
    said: dict[str, dict[str, None]] = defaultdict(dict)
    for entry in entries:
        for text in entry.texts:
            said[_plain(text)][entry.id] = None
    return {text: list(ids) for text, ids in said.items()}


def _kin(entries: Sequence[Entry]) -> dict[str, list[str]]:
    kin: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        if entry.source:
            kin[entry.source].append(entry.id)
    return kin
