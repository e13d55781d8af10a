"""Examples with their captions as one picture, for a README: ``quiver bench caption --page FILE.png``."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from quiver.benchmarks.captioning.reference import Thing
from quiver.errors import BadMedia
from quiver.media import thumbnail
from quiver.types import source_of

#: Endings of files that are written as a picture; any other file is an HTML page.
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
#: Examples of a picture, and how many stand side by side.
EXAMPLES, COLUMNS = 12, 3
_SIDE, _LINE, _GAP, _FONT = 160, 16, 12, 13
#: Letters of a line, and lines of a caption and of a sentence.
_LETTERS, _LINES = 54, 2
_RIGHT, _WRONG, _GREY = (20, 120, 50), (150, 30, 20), (90, 90, 90)

Said = Sequence[tuple[str, bool]]


def save(path: Path, key: str, things: Sequence[Thing], said: Sequence[Said]) -> None:
    """Write the first examples side by side: media, captions (green and + if right, red and - if not), a sentence.

    Args:
        path: ends with one of ``SUFFIXES``.
        key: what the things are, such as ``pair``.
        things: the examples.
        said: of each example the caption of every model, and whether it is right.
    """
    cards = [_card(key, thing, each) for thing, each in zip(things[:EXAMPLES], said, strict=False)]
    width, height = cards[0].width, max(card.height for card in cards)
    columns = min(COLUMNS, len(cards))
    rows = -(-len(cards) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), "white")
    for place, card in enumerate(cards):
        row, column = divmod(place, columns)
        sheet.paste(card, (_GAP + column * (width + _GAP), _GAP + row * (height + _GAP)))
    sheet.save(path, quality=85)  # of the suffixes that have one; no palette, which would change colours


def _card(key: str, thing: Thing, said: Said) -> Image.Image:
    shown = _drawn(key, thing)
    lines = [
        (line, _RIGHT if right else _WRONG)
        for text, right in said
        for line in _wrapped(f"{'+' if right else '-'} {text or '(nothing)'}")
    ]
    lines += [(line, _GREY) for line in _wrapped(f"({thing.texts[0]})")]
    width = max(2 * _SIDE, shown.shape[1])
    card = Image.new("RGB", (width, _SIDE + 4 + _LINE * (_LINES * (len(said) + 1))), "white")
    card.paste(Image.fromarray(shown), (0, 0))
    draw, font = ImageDraw.Draw(card), ImageFont.load_default(_FONT)
    for number, (line, colour) in enumerate(lines):
        draw.text((0, _SIDE + 4 + _LINE * number), line, fill=colour, font=font)
    return card


def _drawn(key: str, thing: Thing) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return what a thing looks like, (side, width, 3); grey where it cannot be read."""
    try:
        shown = thumbnail(source_of(thing.media, key), key, size=_SIDE)
    except BadMedia:
        shown = None
    return np.full((_SIDE, _SIDE, 3), 200, np.uint8) if shown is None else shown


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _LETTERS, max_lines=_LINES, placeholder=" ...")
