"""Contact sheets: answers as one self-contained HTML file with thumbnails, waveforms and key frames."""

import base64
import io
import mimetypes
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quiver.engine.execution.plan import Result, render
from quiver.errors import QuiverError
from quiver.files import write_text
from quiver.media import clock, fetch, locate, moment, thumbnail, times
from quiver.media.preview import sound_preview, video_preview
from quiver.types import Hit, Item, Query, values_of

#: Largest sound or clip in bytes that is embedded in the page to be played; of a larger clip, a preview is.
PLAYABLE = 1_000_000
#: Sounds of more bytes are embedded as MP3.
_SHRINK = 100_000
_SIZE = 192
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
figcaption p, .when { margin: .25rem 0 } .when { font-size: .8rem; text-align: center }
summary { cursor: pointer; opacity: .65 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 .5rem; margin: .25rem 0 0 } dt { opacity: .65 }
dd { margin: 0 } pre { overflow-x: auto; font-size: .8rem; background: #8881; padding: .75rem; border-radius: .5rem }
.note { opacity: .75; font-size: .9rem } figcaption, figcaption p, dt, dd { unicode-bidi: isolate }
"""
#: The page runs no script and requests nothing from a server, whatever ids, captions and file names contain.
_POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


class Shelf(Protocol):
    """Source of the items of a page."""

    def get(self, ids: Sequence[str]) -> list[Item]:
        """Return items by id."""
        ...

    def hidden(self, reference: str) -> str | None:
        """Return the reason why a file that an item names is not shown, or None if it may be shown."""
        ...


def write(path: Path, answers: Sequence[tuple[Query, Result]], *, collection: Shelf, title: str = "Quiver") -> None:
    """Write answers as one page, atomically.

    Args:
        path: the HTML file.
        answers: queries with their results.
        collection: source of the hits' media.
        title: title of the page.
    """
    save(path, [section(query, result, collection) for query, result in answers], title=title)


def save(path: Path, sections: Sequence[str], *, title: str) -> None:
    """Write sections of HTML as one page, atomically."""
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    head = f"<!doctype html><html lang=en><meta charset=utf-8>{policy}<title>{escape(title)}</title>"
    head += f"<style>{_STYLE}</style>"
    body = "\n".join(sections)
    write_text(path, f"{head}\n<h1>{escape(title)}</h1>\n{body}\n</html>\n")


def section(
    query: Query,
    result: Result,
    collection: Shelf,
    *,
    right: Collection[str] = (),
    expected: Sequence[tuple[Hit, str]] = (),
) -> str:
    """Return one answer as HTML.

    Args:
        query: the query.
        result: its result.
        collection: source of the media.
        right: ids of the right answers, which are marked.
        expected: missed right answers to show after the hits, each with a text in place of its score.
    """
    hits = [*((hit, f"{hit.score:.3f}", "right" if hit.id in right else "") for hit in result.hits)]
    hits += [(hit, says, "expected") for hit, says in expected]
    named = collection.get([*query.like, *(hit.id for hit, _, _ in hits)])
    items = {item.id: replace(item, media=_readable(item.media, collection)) for item in named}
    shown = [_hit(hit, items[hit.id].media, query.target, *marks) for hit, *marks in hits if hit.id in items]
    notes = "".join(f"<p class=note>{escape(note)}</p>" for note in result.plan.notes)
    empty = "" if result.hits else "<p>Nothing found.</p>"
    plan = f"<details><summary>plan</summary><pre>{escape(render(result.plan, result.actual))}</pre></details>"
    cards = f"<div class=row>{_query(query, items)}{''.join(shown)}</div>"
    return f"<h2>{escape(_title(query))}</h2>{notes}{cards}{empty}{plan if result.plan.stages else ''}"


class _Hidden(str):
    """The reason in place of a file that is not shown."""


def _readable(media: Mapping[str, Any], collection: Shelf) -> dict[str, Any]:
    """Return the media of an item, with a reason in place of each file that is not shown."""
    return {
        name: each if name == "text" or (reason := collection.hidden(each)) is None else _Hidden(reason)
        for name, each in media.items()
    }


def _title(query: Query) -> str:
    held = [f"“{each}”" if name == "text" else name for name in query.media for each in values_of(query.media, name)]
    held += [f"like {id}" for id in query.like] + [f"a vector of {name}" for name in query.vectors]
    wanted = f" → {query.target}" if query.target else ""
    away = "".join(f" - like {id}" for id in query.unlike)
    return " + ".join(held) + away + wanted + (f" where {query.condition}" if query.where else "")


def _query(query: Query, items: Mapping[str, Item]) -> str:
    held = [query.media, *(items[id].media for id in query.like if id in items)]
    shown = "".join(_media(media, query.target if media is not query.media else None) for media in held)
    said = "".join(f"<p>{escape(str(text))}</p>" for text in values_of(query.media, "text"))
    return f"<figure class=query>{shown}<figcaption>query{said}</figcaption></figure>" if shown else ""


def _hit(hit: Hit, media: Mapping[str, Any], target: str | None, score: str, mark: str) -> str:
    says = hit.meta.get("text") or hit.meta.get("name") or hit.meta.get("title") or ""
    facts = "".join(
        f"<dt>{escape(name)}<dd>{escape(str(value))}" for name, value in hit.meta.items() if value not in ("", says)
    )
    found = "; ".join(f"{stage}: {_said(said)}" for stage, said in hit.trace.items())
    more = f"<details><summary>more</summary><dl>{facts}</dl></details>" if facts else ""
    caption = f"<span class=score>{escape(score)}</span>{escape(hit.id)}<p>{escape(str(says))}</p>{more}"
    shown = _media(media, target)
    kind = f" class={mark}" if mark else ""
    return f"<figure{kind} title='{escape(found, quote=True)}'>{shown}<figcaption>{caption}</figcaption></figure>"


def _said(said: Mapping[str, float]) -> str:
    """Format the rank and score that a stage gave a hit.

    >>> _said({"rank": 2, "score": 0.51234})
    'rank 2, score 0.5123'
    """
    return ", ".join(f"{name} {value}" if name == "rank" else f"{name} {value:.4f}" for name, value in said.items())


def _media(media: Mapping[str, Any], target: str | None) -> str:
    """Show the target medium, or all media of an item if there is no target."""
    wanted = ("before", "after") if target == "pair" else (target,)
    names = [name for name in media if name != "text" and (target is None or name in wanted)]
    return "".join(_show(name, each) for name in names for each in values_of(media, name))


def _show(name: str, source: Any) -> str:
    if isinstance(source, _Hidden):
        return f"<p class=note>{escape(source)}</p>"
    key = "image" if name in ("before", "after") else name
    try:
        picture = thumbnail(source, key, size=_SIZE)
        clip = _playable(source, key) if key in ("audio", "video") and isinstance(source, str | Path) else ""
    except QuiverError as error:
        return f"<p class=note>{escape(str(error))}</p>"
    still = _data(_jpeg(picture), "image/jpeg") if picture is not None else ""
    image = f"<img alt='{escape(name)}' src='{still}'>"
    when = _when(source) if isinstance(source, str | Path) else ""
    if not clip:
        return image + when
    if key == "video":
        return f"<video controls preload=none poster='{still}' src='{clip}'></video>{when}"
    return f"{image}<audio controls preload=none src='{clip}'></audio>{when}"


def _playable(source: str | Path, key: str) -> str:
    """Return a sound or video as a data URI, empty if it is too large; a moment plays from its first second.

    A moment of a small file is the file with the media fragment ``#t=``; of a larger file, a preview of the moment.
    """
    whole, start, stop = times(source)
    path, offset, size = locate(source)
    fragment = "" if whole == str(source) else moment("", start, stop)
    size = os.stat(path).st_size - offset if size is None else size
    if size > PLAYABLE and fragment:
        return _preview(str(source), key)
    if size > PLAYABLE and key == "video":
        return ""
    content, name = fetch(whole), whole
    if key == "audio" and len(content) > _SHRINK:
        content, name = _smaller(content), "sound.mp3"
    if not content or len(content) > PLAYABLE:
        return ""
    guess = mimetypes.guess_type(name)[0] or ""
    return _data(content, guess if guess.startswith(("audio/", "video/")) else f"{key}/*") + fragment


def _preview(source: str, key: str) -> str:
    """Return the preview of a moment as a data URI; empty if this machine cannot encode it."""
    try:
        content = video_preview(source) if key == "video" else sound_preview(source)
    except QuiverError:
        return ""
    return _data(content, "video/mp4" if key == "video" else "audio/mpeg") if len(content) <= PLAYABLE else ""


def _when(source: str | Path) -> str:
    """Return the times of a moment, with a link to its file at that second; empty for a whole file."""
    whole, start, stop = times(source)
    if whole == str(source):
        return ""
    path, offset, size = locate(source)
    said = f"{clock(start)} to {'the end' if stop is None else clock(stop)}"
    if offset or size is not None:
        return f"<p class=when>{said}</p>"
    link = Path(os.path.abspath(path)).as_uri() + moment("", start, stop)
    return f"<p class=when><a href='{escape(link, quote=True)}'>{said}</a></p>"


def _smaller(content: bytes) -> bytes:
    """Encode a sound as mono MP3; if that fails, return it unchanged if it is small, else nothing."""
    try:
        import soundfile
    except ModuleNotFoundError:
        return content if len(content) <= PLAYABLE else b""
    fresh = io.BytesIO()
    try:
        samples, rate = soundfile.read(io.BytesIO(content), always_2d=True)
        soundfile.write(fresh, samples.mean(axis=1), rate, format="MP3")
    except (soundfile.SoundFileError, ValueError):
        return content if len(content) <= PLAYABLE else b""
    return fresh.getvalue()


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=85)
    return content.getvalue()


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
