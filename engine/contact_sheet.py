"""Contact sheets: answers as one self-contained HTML file with thumbnails, waveforms and key frames."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, Protocol

from quiver.engine.execution import label_page
from quiver.engine.execution.cards import Hidden, card, pictures, readable
from quiver.engine.execution.plan import Result, render
from quiver.files import write_text
from quiver.types import Floats, Hit, Item, Query, keys_of, values_of

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem }
.row { display: flex; gap: .75rem; flex-wrap: wrap; align-items: flex-start }
figure { box-sizing: border-box; margin: 0; width: 12rem; border: 1px solid #8884; border-radius: .5rem }
figure { padding: .5rem; overflow: hidden }
figure.query { border: 2px solid #d97706 } figure.right { border: 2px solid #16a34a }
figure.expected { border: 2px dashed #16a34a }
img { width: 100%; height: 9rem; object-fit: contain; background: #8881; border-radius: .25rem }
audio { width: 100%; height: 2rem; margin-top: .25rem } video { width: 100%; height: 9rem; background: #8881 }
figcaption { font-size: .8rem; overflow-wrap: anywhere } .score { font-weight: 600; float: right }
.maps { display: flex; gap: .25rem } .maps img { width: 50%; height: 5rem }
figcaption p, .when { margin: .25rem 0 } .when { font-size: .8rem; text-align: center }
summary { cursor: pointer; opacity: .65 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 .5rem; margin: .25rem 0 0 } dt { opacity: .65 }
dd { margin: 0 } pre { overflow-x: auto; font-size: .8rem; background: #8881; padding: .75rem; border-radius: .5rem }
.asked { margin: 0 0 .75rem } .right .score, .expected .score { color: #16a34a }
.note { opacity: .75; font-size: .9rem } figcaption, figcaption p, dt, dd { unicode-bidi: isolate }
"""
#: The page runs no script but that for marks, and requests nothing from a server, whatever ids and captions contain.
_POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


#: What the frames mean, for pages on which right answers are known.
_LEGEND = "<p class=note>An orange frame holds the question. A green frame and \u2713 mark a right answer.</p>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of a page.

    Attributes:
        query: the query.
        result: its result.
        asked: one sentence that says what was asked; empty to leave it out.
        right: ids of the right answers, where they are known.
    """

    query: Query
    result: Result
    asked: str = ""
    right: Collection[str] = ()


class Shelf(Protocol):
    """Source of the items of a page."""

    def get(self, ids: Sequence[str]) -> list[Item]:
        """Return items by id."""
        ...

    def hidden(self, reference: str) -> str | None:
        """Return the reason why a file that an item names is not shown, or None if it may be shown."""
        ...

    def differences(self, pairs: Sequence[tuple[Any, Any]]) -> list[Floats | None]:
        """Return for each pair of pictures a map (2, rows, columns) of where they differ, or None if there is none."""
        ...


def write(
    path: Path,
    answers: Sequence[tuple[Query, Result] | Answer],
    *,
    collection: Shelf,
    title: str = "Quiver",
    label: bool = False,
) -> None:
    """Write answers as one page, atomically.

    Args:
        path: the HTML file.
        answers: queries with their results, or with what was asked and what is right too.
        collection: source of the hits' media.
        title: title of the page.
        label: whether hits can be marked as right or wrong, see ``quiver.engine.execution.label_page``.
    """
    given = [each if isinstance(each, Answer) else Answer(query=each[0], result=each[1]) for each in answers]
    legend = [_LEGEND] if any(each.right for each in given) else []
    grades: dict[str, int] | None = {} if label else None
    sections = [
        section(each.query, each.result, collection, sentence=each.asked, right=each.right, grades=grades)
        for each in given
    ]
    save(path, [*legend, *sections], title=title)


def write_groups(
    path: Path, groups: Sequence[Sequence[str]], titles: Sequence[str], *, collection: Shelf, title: str
) -> None:
    """Write groups of stored items as one page, atomically.

    Args:
        path: the HTML file.
        groups: ids of the items of each group.
        titles: title of each group.
        collection: source of the items.
        title: title of the page.
    """
    sections = []
    for ids, said in zip(groups, titles, strict=True):
        items = collection.get(ids)
        media = [readable(item.media, collection.hidden) for item in items]
        shown = [
            card(Hit(item.id, 0.0, meta=item.meta), own, None, "", "") for item, own in zip(items, media, strict=True)
        ]
        sections.append(f"<h2>{escape(said)}</h2><div class=row>{''.join(shown)}</div>")
    save(path, sections or ["<p>Nothing found.</p>"], title=title)


def save(path: Path, sections: Sequence[str], *, title: str) -> None:
    """Write sections of HTML as one page, atomically; if one has marks, with the script for marks."""
    marks = any("<section data-query=" in each for each in sections)
    policy = f"{_POLICY}; {label_page.POLICY}" if marks else _POLICY
    head = "<!doctype html><html lang=en><meta charset=utf-8>"
    head += f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{escape(title)}</title>'
    head += f"<style>{_STYLE}{label_page.STYLE if marks else ''}</style>"
    body = "\n".join([label_page.HEAD, *sections, f"<script>{label_page.SCRIPT}</script>"] if marks else sections)
    write_text(path, f"{head}\n<h1>{escape(title)}</h1>\n{body}\n</html>\n")


def section(
    query: Query,
    result: Result,
    collection: Shelf,
    *,
    sentence: str = "",
    right: Collection[str] = (),
    expected: Sequence[tuple[Hit, str]] = (),
    grades: Mapping[str, int] | None = None,
    id: str = "",
) -> str:
    """Return one answer as HTML.

    Args:
        query: the query.
        result: its result.
        collection: source of the media.
        sentence: says what was asked; empty to leave it out.
        right: ids of the right answers, which are marked.
        expected: missed right answers to show after the hits, each with a text in place of its score.
        grades: known grades by item id, for a page on which hits can be marked; None for a page without marks.
        id: id of the query in the files of marks; empty for one made of the query.
    """
    asked = None if grades is None else label_page.asked(query)
    known = grades if grades is not None and asked is not None else None
    hits = [_marked(hit, hit.id in right) for hit in result.hits]
    hits += [(hit, says, "expected") for hit, says in expected]
    named = collection.get([*query.like, *(hit.id for hit, _, _ in hits)])
    items = {item.id: replace(item, media=readable(item.media, collection.hidden)) for item in named}
    maps = _maps(items, collection) if query.target in ("pair", None) else {}
    shown = [
        card(hit, items[hit.id].media, query.target, *marks, maps=maps.get(hit.id), judged=_judged(hit.id, known))
        for hit, *marks in hits
        if hit.id in items
    ]
    notes = "".join(f"<p class=note>{escape(note)}</p>" for note in result.plan.notes)
    empty = "" if result.hits else "<p>Nothing found.</p>"
    plan = f"<details><summary>plan</summary><pre>{escape(render(result.plan, result.actual))}</pre></details>"
    cards = f"<div class=row>{_query(query, items)}{''.join(shown)}</div>"
    said = f"<p class=asked>{escape(sentence)}</p>" if sentence else ""
    whole = f"<h2>{escape(_title(query))}</h2>{said}{notes}{cards}{empty}{plan if result.plan.stages else ''}"
    return whole if asked is None else f"{label_page.opening(asked, id or label_page.query_id(asked))}{whole}</section>"


def _judged(id: str, grades: Mapping[str, int] | None) -> tuple[str, str]:
    """Return the attributes and buttons of a card; empty on a page without marks."""
    return (
        ("", "") if grades is None else (label_page.attributes(id, grades.get(id)), label_page.buttons(grades.get(id)))
    )


def _marked(hit: Hit, right: bool) -> tuple[Hit, str, str]:
    """Return a hit with the text beside it and its mark; a right one is told by a sign too, not by colour alone."""
    return (hit, f"\u2713 {hit.score:.3f}", "right") if right else (hit, f"{hit.score:.3f}", "")


def _maps(items: Mapping[str, Item], collection: Shelf) -> dict[str, Floats]:
    """Return by id where the pictures of items with a pair differ."""
    pairs = {
        id: (item.media["before"], item.media["after"])
        for id, item in items.items()
        if "pair" in keys_of(item.media) and not any(isinstance(each, Hidden) for each in item.media.values())
    }
    found = collection.differences(list(pairs.values())) if pairs else []
    return {id: maps for id, maps in zip(pairs, found, strict=True) if maps is not None}


def _title(query: Query) -> str:
    held = [f"“{each}”" if name == "text" else name for name in query.media for each in values_of(query.media, name)]
    held += [f"like {id}" for id in query.like] + [f"a vector of {name}" for name in query.vectors]
    wanted = f" → {query.target}" if query.target else ""
    away = "".join(f" - like {id}" for id in query.unlike)
    shunned = [(name, each) for name in query.unlike_media for each in values_of(query.unlike_media, name)]
    away += "".join(f" - “{each}”" if name == "text" else f" - {name}" for name, each in shunned)
    return " + ".join(held) + away + wanted + (f" where {query.condition}" if query.where else "")


def _query(query: Query, items: Mapping[str, Item]) -> str:
    held = [query.media, *(items[id].media for id in query.like if id in items)]
    shown = "".join(pictures(media, query.target if media is not query.media else None) for media in held)
    said = "".join(f"<p>{escape(str(text))}</p>" for text in values_of(query.media, "text"))
    return f"<figure class=query>{shown}<figcaption>query{said}</figcaption></figure>" if shown else ""
