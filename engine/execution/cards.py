"""Hits as HTML: thumbnails, waveforms and key frames, inlined. Nothing is loaded from elsewhere, and no script runs."""

import base64
import io
import mimetypes
import os
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.errors import QuiverError
from quiver.media import ImageReader, clock, fetch, locate, moment, thumbnail, times
from quiver.media.preview import sound_preview, video_preview
from quiver.types import Floats, Hit, values_of

#: Largest sound or clip in bytes that is embedded in the page to be played; of a larger clip, a preview is.
PLAYABLE = 1_000_000
#: Sounds of more bytes are embedded as MP3.
_SHRINK = 100_000
_SIZE = 192


class Hidden(str):
    """The reason in place of a file that is not shown."""


def readable(media: Mapping[str, Any], hidden: Callable[[str], str | None]) -> dict[str, Any]:
    """Return the media of an item, with a reason in place of each file that is not shown.

    Args:
        media: the references.
        hidden: returns the reason why a file is not shown, or None if it may be shown.
    """
    return {
        name: each if name == "text" or (reason := hidden(each)) is None else Hidden(reason)
        for name, each in media.items()
    }


def card(
    hit: Hit,
    media: Mapping[str, Any],
    target: str | None,
    score: str,
    mark: str,
    *,
    maps: Floats | None = None,
    judged: tuple[str, str] = ("", ""),
) -> str:
    """Show a hit with its score and its terms, metadata and media.

    Args:
        hit: the hit.
        media: its media.
        target: the medium to show; None for all.
        score: its score as text.
        mark: class of the card, such as ``right``.
        maps: where its two pictures differ.
        judged: attributes and buttons for marks, see ``label_page``.
    """
    says = hit.meta.get("text") or hit.meta.get("name") or hit.meta.get("title") or ""
    facts = "".join(
        f"<dt>{escape(name)}<dd>{escape(str(value))}" for name, value in hit.meta.items() if value not in ("", says)
    )
    found = "; ".join(f"{stage}: {said(values)}" for stage, values in hit.trace.items())
    more = f"<details><summary>more</summary><dl>{facts}</dl></details>" if facts else ""
    folded = f"<p class=note>{hit.folded} near-duplicates folded</p>" if hit.folded else ""
    caption = f"<span class=score>{escape(score)}</span>{escape(hit.id)}<p>{escape(str(says))}</p>{folded}"
    caption += f"{_terms(hit)}{more}"
    attributes, buttons = judged
    shown = pictures(media, target) + ("" if maps is None else highlighted(media, maps))
    kind = f" class={mark}" if mark else ""
    title = f" title='{escape(found, quote=True)}'"
    return f"<figure{kind}{attributes}{title}>{shown}<figcaption>{caption}{buttons}</figcaption></figure>"


def _terms(hit: Hit) -> str:
    """Return the terms of a hit's score; empty if there is one term alone, which is the score."""
    terms = [values for values in hit.trace.values() if "rank" not in values and len(values) > 1]
    return "".join(f"<p class=note>{escape(said(values))}</p>" for values in terms)


def said(values: Mapping[str, float]) -> str:
    """Format the rank and score that a stage gave a hit.

    >>> said({"rank": 2, "score": 0.51234})
    'rank 2, score 0.5123'
    """
    whole = ("rank", "folded")
    return ", ".join(f"{name} {value}" if name in whole else f"{name} {value:.4f}" for name, value in values.items())


def pictures(media: Mapping[str, Any], target: str | None) -> str:
    """Show the target medium, or all media of an item if there is no target."""
    wanted = ("before", "after") if target == "pair" else (target,)
    names = [name for name in media if name != "text" and (target is None or name in wanted)]
    return "".join(show(name, each) for name in names for each in values_of(media, name))


def highlighted(media: Mapping[str, Any], maps: Floats) -> str:
    """Show both pictures of a pair once more, dark where they are alike.

    Args:
        media: with ``before`` and ``after``.
        maps: (2, rows, columns), not negative; the largest value is shown undimmed.
    """
    shown = []
    for name, grid in zip(("before", "after"), maps / max(float(maps.max()), 1e-12), strict=True):
        try:
            picture = ImageReader(_SIZE, fit="squash", resample="bilinear")(media[name])
        except QuiverError:
            return ""
        shown.append(f"<img alt='{name}: where they differ' src='{_data(_jpeg(_lit(picture, grid)), 'image/jpeg')}'>")
    return f"<details open><summary>where they differ</summary><div class=maps>{''.join(shown)}</div></details>"


def _lit(picture: NDArray[np.uint8], grid: Floats) -> NDArray[np.uint8]:
    """Darken a picture (H, W, 3) where a grid from 0 to 1 is low; between its cells it is interpolated."""
    from PIL import Image

    height, width = picture.shape[:2]
    smooth = np.asarray(Image.fromarray(grid.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    return (picture * (0.25 + 0.75 * smooth.clip(0, 1))[:, :, None]).astype(np.uint8)


def show(name: str, source: Any, *, play: bool = True) -> str:
    """Show a file: a picture, and with ``play`` a player of short sounds and clips, and the times of a moment."""
    if isinstance(source, Hidden):
        return f"<p class=note>{escape(source)}</p>"
    key = "image" if name in ("before", "after") else name
    try:
        picture = thumbnail(source, key, size=_SIZE)
        plays = play and key in ("audio", "video") and isinstance(source, str | Path)
        clip = _playable(source, key) if plays else ""
    except QuiverError as error:
        return f"<p class=note>{escape(str(error))}</p>"
    still = _data(_jpeg(picture), "image/jpeg") if picture is not None else ""
    image = f"<img alt='{escape(name)}' src='{still}'>"
    when = _when(source, link=play) if isinstance(source, str | Path) else ""
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


def _when(source: str | Path, *, link: bool) -> str:
    """Return the times of a moment, with a link to its file at that second if wanted; empty for a whole file."""
    whole, start, stop = times(source)
    if whole == str(source):
        return ""
    path, offset, size = locate(source)
    said = f"{clock(start)} to {'the end' if stop is None else clock(stop)}"
    if offset or size is not None or not link:
        return f"<p class=when>{said}</p>"
    target = Path(os.path.abspath(path)).as_uri() + moment("", start, stop)
    return f"<p class=when><a href='{escape(target, quote=True)}'>{said}</a></p>"


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
