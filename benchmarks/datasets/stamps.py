"""Stamps: small pictures with captions in seven languages, some with a sound.

Source: Debian package tuxpaint-stamps-default 2022.06.04-1, https://tuxpaint.org; licence: GPL-2 as a collection, not
to be mixed into a permissive release. Counts of the development part: 429 pictures (90 of them cartoons), 397 English
captions, 82 sounds.

Tracks: ``text`` finds pictures by their caption, ``image`` finds the captions of a picture, ``audio`` finds the picture
that a sound belongs to. A caption that several pictures share is right for all of them, in the language asked in; a
sound, for all pictures with the caption of its own. Captions in other languages are translations by volunteers; two
are missing in Italian, and those pictures only compete.
Splits: pictures that share a caption in any language stay together; the hash of the first of them decides, seven tenths
train, one validation, two test.

Known faults: captions are short noun phrases ("A male black rhino."), not sentences about the picture; translations
merge things that English tells apart; one picture (a fireman) stands in two categories.
"""

from collections import defaultdict
from pathlib import Path
from typing import Literal

from quiver.benchmarks.datasets._caption import Asked, Entry, ask_text, ask_thing
from quiver.benchmarks.datasets._pack import Row, Split, connected, finish, split_of, whole
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec
from quiver.task import Question, Task
from quiver.types import Item, Query

HOME = Home(
    name="stamps",
    url="https://packages.debian.org/tuxpaint-stamps-default",
    licence="GPL-2 as a collection",
    put="meta.csv, images/ and sounds/ in the folder",
)
ROWS, CAPTIONS, SOUNDS = 429, 397, 82
#: Column of the captions in a language.
CAPTION = {
    "en": "caption",
    **{language: f"caption_{language}" for language in ("fr", "es", "de", "it", "ru", "ja")},
}
COLUMNS = ("file", "category", "cartoon", "group", "sound", *CAPTION.values())
PROTOCOL = {
    "text": "caption to the pictures that have it; all pictures of the split compete",
    "image": "picture to its caption, equal captions alike; the captions of all pictures compete",
    "audio": "sound to the pictures of its caption; all pictures of the split compete",
}


def load(
    *,
    track: Literal["text", "image", "audio"] = "text",
    language: Literal["en", "fr", "es", "de", "it", "ru", "ja"] = "en",
    split: Split = "test",
    folder: Path | None = None,
    partial: bool = False,
) -> Task:
    """Read the stamps of a split.

    Args:
        track: what is held.
        language: of the captions; the track ``audio`` has none.
        split: part of the development part, see above.
        folder: the folder of meta.csv; None looks at QUIVER_DATA.
        partial: read a pack of other counts, or without all of its files.

    Raises:
        BadData: the pack is not on disk, or not as it should be.
    """
    source = Source(HOME, folder, partial=partial)
    rows = source.rows("meta.csv", *COLUMNS)
    for what, found, expected in (
        ("pictures", len(rows), ROWS),
        ("captions", len({row["caption"] for row in rows}), CAPTIONS),
        ("sounds", sum(bool(row["sound"]) for row in rows), SOUNDS),
    ):
        source.count("meta.csv", what, found, expected)
    root = source.path("meta.csv").parent
    whole(source, [root / row[name] for row in rows for name in ("file", "sound") if row[name]], partial=partial)
    first = connected([[row[name] for name in CAPTION.values() if row[name]] for row in rows])
    splits = [split_of(rows[number]["file"], pack="stamps") for number in first]
    kept = [row for row, its in zip(rows, splits, strict=True) if split in ("all", its)]
    items, questions = _sounds(root, kept) if track == "audio" else _words(source, root, kept, (track, language))
    options = {"track": track, **({} if track == "audio" else {"language": language}), "split": split}
    task = source.task(
        spec("stamps", **options),
        items,
        questions,
        measures=("Success@1", "Success@5", "Success@10", "MedR"),
        target="text" if track == "image" else "image",
        protocol=PROTOCOL[track],
    )
    return finish(task, partial=partial)


def _item(root: Path, row: Row) -> Item:
    meta = {name: row[name] for name in ("category", "cartoon", "caption")}
    return Item(Path(row["file"]).stem, {"image": str(root / row["file"])}, meta)


def _words(source: Source, root: Path, rows: list[Row], asked: tuple[str, str]) -> Asked:
    track, language = asked
    entries = []
    for row in rows:
        item = _item(root, row)
        entries.append(Entry(item.id, item.media, tuple(filter(None, [row[CAPTION[language]]])), item.meta))
    source.note(sum(not entry.texts for entry in entries), f"pictures have no caption in {language} and only compete")
    return (
        ask_text(entries, target="image", duplicates="shared")
        if track == "text"
        else ask_thing(entries, duplicates="shared")
    )


def _sounds(root: Path, rows: list[Row]) -> Asked:
    items = [_item(root, row) for row in rows]
    same: dict[str, list[str]] = defaultdict(list)
    for item in items:
        same[item.meta["caption"]].append(item.id)
    questions = [
        Question(
            id=f"sound_{item.id}",
            query=Query(media={"audio": str(root / row["sound"])}, target="image"),
            relevant=dict.fromkeys(same[row["caption"]], 1),
        )
        for item, row in zip(items, rows, strict=True)
        if row["sound"]
    ]
    return items, questions
