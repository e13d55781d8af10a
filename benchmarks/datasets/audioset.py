"""AudioSet: ten-second parts of YouTube videos with sounds of 527 classes; picture and sound, no text.

Gemmeke et al. 2017, ICASSP, https://research.google.com/audioset/download.html: lists CC BY 4.0. The videos must be
collected from YouTube, and some are gone.

In the folder: ``balanced_train_segments.csv``, ``unbalanced_train_segments.csv`` or ``eval_segments.csv`` with
``YTID, start_seconds, end_seconds, positive_labels`` behind three lines that begin with #; and the videos with their
sound, either cut as ``videos/<YTID>_<start>.mp4`` with the start in whole seconds, or whole as ``videos/<YTID>.mp4``
(or webm, mkv), of which the part is read.

Counts: balanced 22,160, unbalanced 2,041,789, eval 20,371 in the files; the page speaks of 22,176, 2,042,985, 20,383.

Protocol: every sound is a question, all parts compete, its own picture is right. ``labels`` of an item are the
identifiers of its classes, separated by spaces.
"""

import csv
from pathlib import Path
from typing import Literal

from quiver.benchmarks.datasets._pack import finish, whole
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec, unique
from quiver.errors import BadData
from quiver.media import moment
from quiver.task import Question, Task
from quiver.types import Item, Query

HOME = Home(
    "audioset",
    "https://research.google.com/audioset/download.html",
    "lists CC BY 4.0, videos as their uploaders say",
    "{balanced_train,unbalanced_train,eval}_segments.csv, and videos/<YTID>_<start>.mp4 or videos/<YTID>.mp4 in it",
)
COUNTS = {
    "balanced_train": (22_160, 22_176),
    "unbalanced_train": (2_041_789, 2_042_985),
    "eval": (20_371, 20_383),
}
SUFFIXES = (".mp4", ".webm", ".mkv")
#: YouTube's name, first and last second, identifiers of classes.
Segment = tuple[str, float, float, tuple[str, ...]]


def load(
    *,
    folder: Path | None = None,
    split: Literal["balanced_train", "unbalanced_train", "eval"] = "eval",
    partial: bool = False,
) -> Task:
    """Read one list.

    Args:
        folder: where the files are; None looks under QUIVER_DATA.
        split: which list.
        partial: leave out videos that are not on disk, and read lists of another length.

    Raises:
        BadData: files are absent, or not what they should be.
    """
    source = Source(HOME, folder, partial=partial)
    name = f"{split}_segments.csv"
    segments = _segments(source, name)
    source.count(name, "segments", len(segments), *COUNTS[split])
    refs = _refs(source, segments, partial=partial)
    items = [
        Item(
            _id(segment),
            {"video": refs[_id(segment)], "audio": refs[_id(segment)]},
            {"source_id": segment[0], "start": segment[1], "end": segment[2], "labels": " ".join(segment[3])},
        )
        for segment in segments
        if _id(segment) in refs
    ]
    source.note(len(segments) - len(items), f"of {len(segments):,} parts are not on disk: left out")
    questions = [
        Question(
            id=f"q_{item.id}",
            query=Query(media={"audio": item.media["audio"]}, target="video"),
            relevant={item.id: 1},
        )
        for item in items
    ]
    task = source.task(
        spec("audioset", split=split),
        items,
        questions,
        measures=("Success@1", "Success@5", "Success@10", "MedR"),
        target="video",
        protocol="every sound is a question, all parts compete, its own picture is right",
    )
    return finish(task, partial=False)


def _segments(source: Source, name: str) -> list[Segment]:
    lines = [line for line in source.lines(name) if not line.startswith("#")]
    segments: list[Segment] = []
    for number, row in enumerate(csv.reader(lines, skipinitialspace=True), start=1):
        try:
            video, start, end, labels = row
            segments.append((video, float(start), float(end), tuple(labels.split(","))))
        except ValueError as error:
            raise BadData(f"{source.path(name)}: row {number} is not YTID, start, end, labels ({error})") from error
        if not 0 <= segments[-1][1] < segments[-1][2]:
            raise BadData(f"{source.path(name)}: row {number} ends at {end} s, not after {start} s")
    unique([_id(segment) for segment in segments], f"{source.path(name)}: segment")
    return segments


def _refs(source: Source, segments: list[Segment], *, partial: bool) -> dict[str, str]:
    """Return the reference of every part that is there: a file of its own, or a moment of the whole video."""
    folder = source.media("videos")
    there = {path.stem: path for path in sorted(folder.glob("*")) if path.suffix in SUFFIXES}
    refs = {}
    for segment in segments:
        video, start, end, _ = segment
        if _id(segment) in there:
            refs[_id(segment)] = str(there[_id(segment)])
        elif video in there:
            refs[_id(segment)] = moment(there[video], start, end)
    absent = [folder / f"{_id(segment)}.mp4" for segment in segments if _id(segment) not in refs]
    whole(source, absent, partial=partial)
    return refs


def _id(segment: Segment) -> str:
    return f"{segment[0]}_{segment[1]:.0f}"
