"""Exercise pairs: a photograph of the start and one of the end of an exercise, with its name and instructions.

Source: https://github.com/yuhonas/free-exercise-db @acd61f75; licence: Unlicense claimed by the repository, which does
not name the maker of the photographs. Counts of the development part: 700 exercises, 1,400 photographs.

Tracks: ``text`` finds a pair by its text, ``pair`` finds the text of a pair, ``frame`` finds the end photograph by the
start photograph. Texts (``text=``) are names, all different, or instructions, which four exercises lack: those are not
asked for; an instruction that two exercises share is right for both.
Splits: by exercise, and exercises that share a photograph byte for byte or an instruction stay together; the hash of
the first of them decides, seven tenths train, one validation, two test.

Known faults: instructions tell the movement but were not written as captions of a difference; many exercises are
photographed in one gym by one person, so the end photograph is often found by its background (MobileNetV2 nearest
neighbour 0.67); 34 photographs are one of 16 that several exercises share, so an answer may look like its rivals.
"""

import hashlib
from pathlib import Path
from typing import Literal

from quiver.benchmarks.datasets._caption import Asked, Entry, ask_text, ask_thing
from quiver.benchmarks.datasets._pack import Row, Split, connected, finish, split_of, whole
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec
from quiver.errors import BadData
from quiver.task import Question, Task
from quiver.types import Item, Query

HOME = Home(
    name="exercise_pairs",
    url="https://github.com/yuhonas/free-exercise-db",
    licence="Unlicense claimed; the photographs' maker is not named",
    put="meta.csv and images/ in the folder",
)
ROWS = 1_400
COLUMNS = ("file", "exercise", "frame", "name", "category", "force", "equipment", "level", "mechanic", "muscles")
PROTOCOL = {
    "text": "the text of an exercise to its pair of photographs; all pairs of the split compete",
    "pair": "a pair of photographs to its text, equal texts alike; the texts of all pairs compete",
    "frame": "the start photograph of an exercise to its end photograph; all end photographs compete",
}
TARGET = {"text": "pair", "pair": "text", "frame": "image"}
Pair = tuple[Row, Row]


def load(
    *,
    track: Literal["text", "pair", "frame"] = "text",
    text: Literal["name", "instructions"] = "name",
    split: Split = "test",
    folder: Path | None = None,
    partial: bool = False,
) -> Task:
    """Read the exercises of a split.

    Args:
        track: what is held and what is searched.
        text: which text, on the tracks ``text`` and ``pair``.
        split: part of the development part, see above.
        folder: the folder of meta.csv; None looks at QUIVER_DATA.
        partial: read a pack of other counts, or without all of its pictures.

    Raises:
        BadData: the pack is not on disk, or not as it should be.
    """
    source = Source(HOME, folder, partial=partial)
    root = source.path("meta.csv").parent
    pairs = [pair for pair, its in _pairs(source, root, partial=partial) if split in ("all", its)]
    items, questions = _frames(root, pairs) if track == "frame" else _texts(source, root, pairs, (track, text))
    options = {"track": track, **({} if track == "frame" else {"text": text}), "split": split}
    task = source.task(
        spec("exercise_pairs", **options),
        items,
        questions,
        measures=("Success@1", "Success@5", "Success@10", "MedR"),
        target=TARGET[track],
        protocol=PROTOCOL[track],
    )
    return finish(task, partial=partial)


def _pairs(source: Source, root: Path, *, partial: bool) -> list[tuple[Pair, str]]:
    """Return the two rows of every exercise, and its split."""
    rows = source.rows("meta.csv", *COLUMNS, "instructions")
    source.count("meta.csv", "photographs", len(rows), ROWS)
    whole(source, [root / row["file"] for row in rows], partial=partial)
    frames: dict[str, dict[str, Row]] = {}
    for row in rows:
        frames.setdefault(row["exercise"], {})[row["frame"]] = row
    if odd := [name for name, its in frames.items() if set(its) != {"0", "1"}]:
        raise BadData(f"{source.path('meta.csv')}: exercise {odd[0]!r} needs the frames 0 and 1")
    pairs = [(its["0"], its["1"]) for its in frames.values()]
    first = connected([_keys(root, pair) for pair in pairs])
    return [
        (pair, split_of(pairs[n][0]["exercise"], pack="exercise_pairs")) for pair, n in zip(pairs, first, strict=True)
    ]


def _keys(root: Path, pair: Pair) -> list[str]:
    """Return what an exercise must not share with one of another split: its photographs and its instructions."""
    paths = [root / row["file"] for row in pair]
    photographs = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()]
    return [*photographs, *filter(None, [pair[0]["instructions"]])]


def _media(root: Path, pair: Pair) -> dict[str, str]:
    return {"before": str(root / pair[0]["file"]), "after": str(root / pair[1]["file"])}


def _meta(pair: Pair) -> dict[str, str]:
    return {name: pair[0][name] for name in COLUMNS[3:]}


def _texts(source: Source, root: Path, pairs: list[Pair], asked: tuple[str, str]) -> Asked:
    track, text = asked
    entries = [
        Entry(start["exercise"], _media(root, (start, end)), tuple(filter(None, [start[text]])), _meta((start, end)))
        for start, end in pairs
    ]
    source.note(sum(not entry.texts for entry in entries), f"exercises without {text} are not asked for")
    if track == "text":
        return ask_text(entries, target="pair", duplicates="shared")
    return ask_thing(entries, duplicates="shared")


def _frames(root: Path, pairs: list[Pair]) -> Asked:
    items = [Item(pair[0]["exercise"], {"image": str(root / pair[1]["file"])}, _meta(pair)) for pair in pairs]
    questions = [
        Question(
            id=item.id,
            query=Query(media={"image": str(root / pair[0]["file"])}, target="image"),
            relevant={item.id: 1},
        )
        for item, pair in zip(items, pairs, strict=True)
    ]
    return items, questions
