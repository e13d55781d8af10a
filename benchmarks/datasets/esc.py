"""ESC: five seconds of sound, the 50 classes of ESC-50 in two packs that share no clip and no recording.

Piczak 2015, ESC: Dataset for Environmental Sound Classification, ACM MM. Sources and licences: esc10 is
karolpiczak/ESC-10 @553c8f17, CC BY 3.0; esc40 is fold 4 of the other 40 classes of karolpiczak/ESC-50, from a partial
copy, caitlinnguyen0/ESC-50 @7085beb7, CC BY-NC 3.0: not for commercial use. Clips have licences of their own, in meta.
Counts of the development part: esc10 320 clips of 10 classes (folds 1 to 4), esc40 240 clips of 40 classes; 410
Freesound recordings. Descriptions are those of AudioSet's ontology (CC BY-SA 4.0), read from
``weights/audioset_classes.csv`` by the mapping AUDIOSET.

Splits keep a Freesound recording in one piece. esc10 by official fold: 1 and 2 train, 3 validation, 4 test. esc40 has
one fold and is split by recording: a class's recordings, ordered by the hash of their number, are train from the front
and test from the back, ENDS says how many of each.

Tracks: ``text`` searches clips with words, and ``text=`` says which.
* label: the class name, 50 questions at most; relevant are the clips of the class.
* description: what AudioSet's ontology says of the class; three classes have no counterpart there and are not asked.
* title: each title that Freesound users gave, once; grade 2 for clips of that title, 1 for the rest of its class.
``audio`` searches clips with every clip, leave-one-out: relevant are the clips of the same class; what comes from the
same recording does not compete, itself included, and clips whose class has no other recording are not asked.

Known faults: six clips of esc10 are not 5 s long (3.6 to 7.2 s); one of esc40 has no title, author and licence; many
titles are mere file names ("8am.wav").
"""

from collections import defaultdict
from pathlib import Path
from typing import Literal

from quiver.benchmarks.datasets import _place
from quiver.benchmarks.datasets._pack import Row, Sample, Split, alike, digest, finish, named, whole
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec
from quiver.task import Question, Task
from quiver.types import Query

HOME = Home(
    name="esc",
    url="https://github.com/karolpiczak/ESC-10 and https://github.com/karolpiczak/ESC-50",
    licence="esc10 CC BY 3.0, esc40 CC BY-NC 3.0, AudioSet descriptions CC BY-SA 4.0",
    put="esc10/meta.csv, esc10/audio/, esc40/meta.csv, esc40/audio/ and weights/audioset_classes.csv in the folder",
)
FOLDERS = ("esc10", "esc40")
COUNTS = {"esc10": 320, "esc40": 240}
CLASSES = {"esc10": 10, "esc40": 40}
COLUMNS = ("file", "fold", "label", "source_id", "seconds", "title", "author", "licence", "url")
FOLDS = {"1": "train", "2": "train", "3": "validation", "4": "test"}
#: Splits of the last recordings of an esc40 class by how many it has; those before them are train.
ENDS = {1: (), 2: ("test",), 3: ("validation", "test"), 4: ("validation", "test")}
MOST = ("validation", "test", "test")
PROTOCOL = {
    "label": "class name to clips of that class; all clips of the split compete",
    "description": "AudioSet description of a class to its clips; all clips of the split compete",
    "title": "uploader's title to clips of that title (grade 2) and class (grade 1); all clips of the split compete",
    "audio": "clip to clips of its class, leave-one-out; clips of the same Freesound recording do not compete",
}
#: Name in AudioSet's ontology of what a class is; classes without a counterpart are left out.
AUDIOSET = {
    "airplane": "Fixed-wing aircraft, airplane",
    "baby_cry": "Baby cry, infant cry",
    "breathing": "Breathing",
    "brushing_teeth": "Toothbrush",
    "car_horn": "Vehicle horn, car horn, honking",
    "cat": "Cat",
    "chainsaw": "Chainsaw",
    "chirping_birds": "Chirp, tweet",
    "church_bells": "Church bell",
    "clapping": "Clapping",
    "clock_alarm": "Alarm clock",
    "clock_tick": "Tick-tock",
    "coughing": "Cough",
    "cow": "Moo",
    "crickets": "Cricket",
    "crow": "Crow",
    "dog_bark": "Bark",
    "door_wood_creaks": "Creak",
    "door_wood_knock": "Knock",
    "engine": "Engine",
    "fire_crackling": "Crackle",
    "fireworks": "Fireworks",
    "footsteps": "Walk, footsteps",
    "frog": "Frog",
    "glass_breaking": "Shatter",
    "hand_saw": "Sawing",
    "helicopter": "Helicopter",
    "hen": "Cluck",
    "insects": "Insect",
    "keyboard_typing": "Computer keyboard",
    "laughing": "Laughter",
    "mouse_click": "Clicking",
    "person_sneeze": "Sneeze",
    "pig": "Pig",
    "pouring_water": "Pour",
    "rain": "Rain",
    "rooster": "Crowing, cock-a-doodle-doo",
    "sea_waves": "Waves, surf",
    "sheep": "Sheep",
    "siren": "Siren",
    "snoring": "Snoring",
    "thunderstorm": "Thunderstorm",
    "toilet_flush": "Toilet flush",
    "train": "Train",
    "vacuum_cleaner": "Vacuum cleaner",
    "water_drops": "Drip",
    "wind": "Wind",
}


def load(
    *,
    track: Literal["text", "audio"] = "text",
    text: Literal["label", "description", "title"] = "label",
    pack: Literal["esc", "esc10", "esc40"] = "esc",
    split: Split = "test",
    folder: Path | None = None,
    partial: bool = False,
) -> Task:
    """Read clips of one or both packs.

    Args:
        track: what is asked with.
        text: which words, on the track ``text``.
        pack: both packs, or one of them.
        split: part of the development part, see above.
        folder: the folder that holds esc10, esc40 and weights; None looks at QUIVER_DATA.
        partial: read a pack of other counts, or without all of its clips.

    Raises:
        BadData: the packs are not on disk, or not as they should be.
    """
    source = Source(HOME, folder or _place.places("", None)[0], partial=partial)
    packs = tuple(COUNTS) if pack == "esc" else (pack,)
    clips = [clip for name in packs for clip in _clips(source, name, split, partial=partial)]
    how = text if track == "text" else "audio"
    options = {"track": track, **({"text": text} if track == "text" else {}), "pack": pack, "split": split}
    if how == "audio":
        questions, alone = alike(clips, target="audio")
        source.note(alone, "clips not asked: no other recording of their class is in the split")
    elif how == "title":
        questions = _titles(clips)
        source.note(sum(not clip.meta["title"] for clip in clips), "clips without a title, which only compete")
    else:
        questions = _classes(source, clips, how)
    task = source.task(
        spec("esc", **options),
        [clip.item for clip in clips],
        questions,
        measures=("Success@1", "Success@5", "AP@10"),
        target="audio",
        protocol=PROTOCOL[how],
    )
    return finish(task, partial=partial)


def _clips(source: Source, pack: str, split: str, *, partial: bool) -> list[Sample]:
    table = f"{pack}/meta.csv"
    rows = source.rows(table, *COLUMNS)
    source.count(table, "clips", len(rows), COUNTS[pack])
    source.count(table, "classes", len({row["label"] for row in rows}), CLASSES[pack])
    root = source.path(table).parent
    whole(source, [root / row["file"] for row in rows], partial=partial)
    splits = {row["source_id"]: FOLDS[row["fold"]] for row in rows} if pack == "esc10" else _by_recording(rows)
    return [_sample(pack, root, row) for row in rows if split in ("all", splits[row["source_id"]])]


def _by_recording(rows: list[Row]) -> dict[str, str]:
    recordings: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        recordings[row["label"]].add(row["source_id"])
    splits: dict[str, str] = {}
    for numbers in recordings.values():
        ordered = sorted(numbers, key=lambda number: digest(f"esc40/{number}"))
        ends = ENDS.get(len(ordered), MOST)
        splits |= dict.fromkeys(ordered, "train") | dict(zip(ordered[len(ordered) - len(ends) :], ends, strict=True))
    return splits


def _sample(pack: str, root: Path, row: Row) -> Sample:
    meta = {"pack": pack, **{name: row[name] for name in COLUMNS[1:]}, "seconds": float(row["seconds"])}
    id = f"{pack}/{Path(row['file']).stem}"
    return Sample(id, {"audio": str(root / row["file"])}, row["label"], row["source_id"], meta)


def _classes(source: Source, clips: list[Sample], text: str) -> list[Question]:
    if text == "label":
        return named(clips, {clip.label: clip.label.replace("_", " ") for clip in clips}, target="audio")
    rows = source.rows("weights/audioset_classes.csv", "name", "description")
    said = {row["name"]: row["description"] for row in rows}
    source.note(len({clip.label for clip in clips} - set(AUDIOSET)), "classes not asked: AudioSet has none like them")
    told = [clip for clip in clips if clip.label in AUDIOSET]
    return named(told, {label: said[name] for label, name in AUDIOSET.items()}, target="audio")


def _titles(clips: list[Sample]) -> list[Question]:
    first: dict[str, Sample] = {}
    for clip in clips:
        if clip.meta["title"]:
            first.setdefault(clip.meta["title"], clip)
    return [
        Question(
            id=asker.id,
            query=Query(media={"text": title}, target="audio"),
            relevant={clip.id: 2 if clip.meta["title"] == title else 1 for clip in clips if clip.label == asker.label},
        )
        for title, asker in first.items()
    ]
