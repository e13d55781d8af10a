"""A page of examples with their captions, right and wrong ones as they come: ``quiver bench caption --page FILE``.

An HTML page with maps, or one picture of the first twelve examples if the file is named so (``examples.png``).
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from quiver import registry
from quiver.benchmarks import datasets
from quiver.benchmarks.captioning import sheet
from quiver.benchmarks.captioning.reference import Thing, gather
from quiver.benchmarks.captioning.run import Report
from quiver.encoders._cider import plain
from quiver.engine import contact_sheet
from quiver.engine.execution.cards import highlighted, pictures
from quiver.errors import BadMedia
from quiver.types import Floats, source_of

#: Examples of a page.
EXAMPLES = 24
#: Sentences shown of a thing.
_SHOWN = 4


def write(path: Path, report: Report, dataset: str, encoders: Sequence[str]) -> None:
    """Write examples of a report as one HTML page, with the attention of the first encoder that shows its own.

    A file that ends with one of ``sheet.SUFFIXES`` is one picture of the first examples instead, without attention.

    Examples are drawn with the seed of the report, whatever their captions are; baselines are left out.

    Args:
        path: the file.
        report: of ``captioning.measure``.
        dataset: the spec that it was made with.
        encoders: likewise.
    """
    key, things = gather(datasets.load(dataset))
    captioned = [each for each in report["systems"] if each["name"] in encoders]
    kept = [thing for thing in things if all(thing.id in each["captions"] for each in captioned)]
    order = np.random.default_rng(report["options"]["seed"]).permutation(len(kept))[:EXAMPLES]
    drawn = [kept[place] for place in order]
    if path.suffix.lower() in sheet.SUFFIXES:
        said = [[(each["captions"][thing.id], _right(each, thing)) for each in captioned] for thing in drawn]
        sheet.save(path, key, drawn, said)
        return
    maps = _maps(encoders, key, drawn)
    cards = [_card(thing, key, captioned, each) for thing, each in zip(drawn, maps, strict=True)]
    note = (
        f"{len(drawn)} of {len(kept):,} examples, drawn with seed {report['options']['seed']}, whatever their captions "
        "are. Green: the caption is one of the sentences of the data set; others may be right in other words."
    )
    shares = (
        f"{each['name']}: {sum(_right(each, thing) for thing in kept):,} of {len(kept):,} captions are one of the "
        "sentences of their thing"
        for each in captioned
    )
    lines = "".join(f"<p class=note>{escape(line)}</p>" for line in (report["dataset"], note, *shares))
    contact_sheet.save(path, [f"{lines}<div class=row>{''.join(cards)}</div>"], title="Captions")


def _right(system: dict[str, Any], thing: Thing) -> bool:
    """Whether a caption is one of the sentences of its thing, in the words that measures compare."""
    return plain(system["captions"][thing.id]) in map(plain, thing.texts)


def _card(thing: Thing, key: str, systems: Sequence[dict[str, Any]], maps: Floats | None) -> str:
    shown = pictures(thing.media, key) + ("" if maps is None else highlighted(thing.media, maps))
    right = bool(systems) and all(_right(each, thing) for each in systems)
    said = "".join(
        f"<dt>{escape(each['name'] if len(systems) > 1 else 'caption')}"
        f"<dd>{'&#10003;' if _right(each, thing) else '&#10007;'} <b>{escape(each['captions'][thing.id]) or '-'}</b>"
        for each in systems
    )
    sentences = "".join(f"<dd>{escape(text)}" for text in list(thing.texts)[:_SHOWN])
    name = f"{escape(thing.id)}{f' ({escape(thing.kind)})' if thing.kind else ''}"
    caption = f"<figcaption>{name}<dl>{said}<dt>sentences{sentences}</dl></figcaption>"
    return f"<figure{' class=right' if right else ''}>{shown}{caption}</figure>"


def _maps(encoders: Sequence[str], key: str, things: Sequence[Thing]) -> list[Floats | None]:
    """Return where the first encoder that tells it finds that the two pictures of each pair differ."""
    found: list[Floats | None] = [None] * len(things)
    if key != "pair":
        return found
    for spec in encoders:
        encoder = registry.load("encoders", spec)
        if hasattr(encoder, "differences"):
            read = encoder.reader("pair")
            for place, thing in enumerate(things):
                try:
                    found[place] = encoder.differences([read(source_of(thing.media, key))])[0]
                except BadMedia:
                    continue
            return found
    return found
