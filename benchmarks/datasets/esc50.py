"""ESC-50: 2,000 five-second sounds of 50 classes, in five folds.

Piczak 2015, ACM MM. Files: https://github.com/karolpiczak/ESC-50, licence CC BY-NC 3.0 (the part ESC-10: CC BY 3.0);
each clip's author is named there.

In the folder: ``meta/esc50.csv`` with the columns filename, fold, target, category, esc10, src_file, take;
``audio/<filename>``.

Counts: 2,000 clips, 40 of each class, 400 in each fold; ESC-10 is 400 clips of 10 classes.

Protocols (no paper fixes one for retrieval): ``text_to_audio``, every class name is a question ("door wood knock"), its
clips answer. ``audio_to_audio``, every clip is a question, the other clips of its class answer; clips cut from the same
recording (``src_file``) do not compete, as they are nearly the clip itself. ``fold=k`` searches the clips of that fold
with class names, and, with that fold's clips as questions, the four others. mAP@10, R@1 and hit rate at 5.

Known fault: several clips stem from one recording, always within one fold: mixing folds without leaving them out
flatters audio to audio.
"""

from collections import defaultdict
from pathlib import Path
from typing import Literal

from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec, unique
from quiver.errors import BadData, BadSpec
from quiver.task import Question, Task
from quiver.types import Item, Query

HOME = Home(
    "esc50",
    "https://github.com/karolpiczak/ESC-50",
    "CC BY-NC 3.0, ESC-10 CC BY 3.0",
    "meta/esc50.csv and audio/<filename> in it",
)
META = "meta/esc50.csv"
Row = dict[str, str]


def load(
    *,
    folder: Path | None = None,
    split: Literal["esc50", "esc10"] = "esc50",
    track: Literal["text_to_audio", "audio_to_audio"] = "text_to_audio",
    fold: int | None = None,
    partial: bool = False,
) -> Task:
    """Read all clips, or those of the ten classes of ESC-10.

    Args:
        folder: where the files are; None looks under QUIVER_DATA.
        split: which classes.
        track: what is held.
        fold: 1 to 5, see above; None takes all clips.
        partial: read files whose counts are not the official ones.

    Raises:
        BadData: files are absent, or not what they should be.
        BadSpec: no such fold.
    """
    if fold is not None and fold not in range(1, 6):
        raise BadSpec(f"esc50: fold must be 1 to 5, not {fold}")
    source = Source(HOME, folder, partial=partial)
    rows = _clips(source)
    if split == "esc10":
        rows = [row for row in rows if row["esc10"] == "True"]
        source.count(META, "clips of ESC-10", len(rows), 400)
    held = [row for row in rows if fold is None or row["fold"] == str(fold)]
    searched = [row for row in rows if fold is None or row["fold"] != str(fold)]
    texts = track == "text_to_audio"
    audio = source.media("audio")
    questions = _named(held) if texts else _heard(source, held, searched, audio)
    across = f"fold {fold} asks the other folds" if fold and not texts else f"fold {fold}" if fold else "all folds"
    return source.task(
        spec("esc50", split=split, track=track, fold=fold),
        [_item(row, audio) for row in (held if texts else searched)],
        questions,
        measures=("AP@10", "Success@1", "Success@5"),
        target="audio",
        protocol=f"{'class names' if texts else 'clips'} ask for the clips of their class, {across}"
        + ("" if texts else "; clips of the same recording do not compete"),
    )


def _clips(source: Source) -> list[Row]:
    rows = source.rows(META, "filename", "fold", "category", "esc10", "src_file")
    unique([row["filename"] for row in rows], f"{source.path(META)}: filename")
    source.count(META, "clips", len(rows), 2000)
    source.count(META, "classes", len({row["category"] for row in rows}), 50)
    if strange := [row for row in rows if row["fold"] not in set("12345")]:
        raise BadData(f"{source.path(META)}: {strange[0]['filename']} is in fold {strange[0]['fold']!r}, not 1 to 5")
    return rows


def _item(row: Row, audio: Path) -> Item:
    meta = {"category": row["category"], "fold": int(row["fold"]), "recording": row["src_file"]}
    return Item(row["filename"], {"audio": str(audio / row["filename"])}, meta)


def _named(rows: list[Row]) -> list[Question]:
    clips: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows:
        clips[row["category"]][row["filename"]] = 1
    return [
        Question(id=name, query=Query(media={"text": name.replace("_", " ")}, target="audio"), relevant=clips[name])
        for name in sorted(clips)
    ]


def _heard(source: Source, held: list[Row], searched: list[Row], audio: Path) -> list[Question]:
    recordings: dict[str, list[str]] = defaultdict(list)
    classes: dict[str, list[str]] = defaultdict(list)
    for row in searched:
        recordings[row["src_file"]].append(row["filename"])
        classes[row["category"]].append(row["filename"])
    questions = []
    for row in held:
        out = recordings[row["src_file"]]
        relevant = {name: 1 for name in classes[row["category"]] if name not in out}
        query = Query(media={"audio": str(audio / row["filename"])}, target="audio")
        if relevant:
            questions.append(Question(id=row["filename"], query=query, relevant=relevant, exclude=tuple(out)))
    source.note(len(held) - len(questions), "clips have no other recording of their class: left out")
    return questions
