"""A contact sheet: answers as one HTML file with thumbnails, waveforms and key frames, complete in itself."""

import base64
import io
import mimetypes
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quiver.encoders._media import fetch, thumbnail
from quiver.engine.plan import Result, render
from quiver.errors import QuiverError
from quiver.types import Hit, Item, Query

#: Sounds and clips up to this many bytes are put into the page and can be played there.
PLAYABLE = 1_000_000
_SIZE = 192
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem }
.row { display: flex; gap: .75rem; flex-wrap: wrap; align-items: flex-start }
figure { margin: 0; width: 12rem; border: 1px solid #8884; border-radius: .5rem; padding: .5rem; overflow: hidden }
figure.query { border: 2px solid #d97706 }
img { width: 100%; height: 9rem; object-fit: contain; background: #8881; border-radius: .25rem }
audio, video { width: 100%; margin-top: .25rem } video { height: 9rem; background: #000 }
figcaption { font-size: .8rem; overflow-wrap: anywhere } .score { font-weight: 600; float: right }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 .5rem; margin: .25rem 0 0 } dt { opacity: .65 }
dd { margin: 0 } pre { overflow-x: auto; font-size: .8rem; background: #8881; padding: .75rem; border-radius: .5rem }
.note { opacity: .75; font-size: .9rem }
"""


class Shelf(Protocol):
    """Where the items of a page come from."""

    def get(self, ids: Sequence[str]) -> list[Item]:
        """Return items by id."""
        ...


def write(path: Path, answers: Sequence[tuple[Query, Result]], *, collection: Shelf, title: str = "Quiver") -> None:
    """Write answers as one page; the file appears whole or not at all.

    Args:
        path: the HTML file.
        answers: queries with their results.
        collection: where the hits' media are looked up.
        title: of the page.
    """
    sections = "\n".join(_section(query, result, collection) for query, result in answers)
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    fresh = path.with_name(path.name + ".new")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh.write_text(f"{head}\n<h1>{escape(title)}</h1>\n{sections}\n</html>\n", encoding="utf-8")
    os.replace(fresh, path)


def _section(query: Query, result: Result, collection: Shelf) -> str:
    wanted = [*query.like, *(hit.id for hit in result.hits)]
    items = {item.id: item for item in collection.get(wanted)}
    cards = [_query(query, items), *(_hit(hit, items[hit.id]) for hit in result.hits if hit.id in items)]
    notes = "".join(f"<p class=note>{escape(note)}</p>" for note in result.plan.notes)
    empty = "" if result.hits else "<p>Nothing found.</p>"
    plan = f"<details><summary>plan</summary><pre>{escape(render(result.plan, result.actual))}</pre></details>"
    return f"<h2>{escape(_title(query))}</h2>{notes}<div class=row>{''.join(cards)}</div>{empty}{plan}"


def _title(query: Query) -> str:
    held = [f"“{query.media['text']}”" if name == "text" else name for name in query.media]
    held += [f"like {id}" for id in query.like] + [f"a vector of {name}" for name in query.vectors]
    wanted = f" → {query.target}" if query.target else ""
    return " + ".join(held) + wanted + (f" where {query.where}" if query.where else "")


def _query(query: Query, items: Mapping[str, Item]) -> str:
    shown = _media(query.media) + "".join(_media(items[id].media) for id in query.like if id in items)
    return f"<figure class=query>{shown}<figcaption>query</figcaption></figure>" if shown else ""


def _hit(hit: Hit, item: Item) -> str:
    facts = "".join(f"<dt>{escape(name)}<dd>{escape(str(value))}" for name, value in hit.meta.items())
    found = "; ".join(f"{stage}: rank {each['rank']}, {each['score']:.4f}" for stage, each in hit.trace.items())
    caption = f"<span class=score>{hit.score:.3f}</span>{escape(hit.id)}<dl>{facts}</dl>"
    return (
        f"<figure title='{escape(found, quote=True)}'>{_media(item.media)}<figcaption>{caption}</figcaption></figure>"
    )


def _media(media: Mapping[str, Any]) -> str:
    return "".join(_show(name, source) for name, source in media.items() if name != "text")


def _show(name: str, source: Any) -> str:
    key = "image" if name in ("before", "after") else name
    try:
        picture = thumbnail(source, key, size=_SIZE)
    except QuiverError as error:
        return f"<p class=note>{escape(str(error))}</p>"
    still = f"<img alt='{escape(name)}' src='{_data(_jpeg(picture), 'image/jpeg')}'>" if picture is not None else ""
    if key not in ("audio", "video") or not isinstance(source, str | Path):
        return still
    content = fetch(source)
    if len(content) > PLAYABLE:
        return still
    kind = mimetypes.guess_type(str(source))[0] or f"{key}/*"
    player = f"<{key} controls preload=none src='{_data(content, kind)}'></{key}>"
    return still + player


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=85)
    return content.getvalue()


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
