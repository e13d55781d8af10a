"""HowTo100M: narrated instructional videos, cut into the clips that MIL-NCE and MMV learn from.

Miech et al. 2019, arXiv:1906.03327, https://www.di.ens.fr/willow/research/howto100m/ (list of videos, captions, and a
form for the videos, 12 TB), howto100m_captions.zip (one file per video) as linked by antoine77340/MIL-NCE_HowTo100M,
whose rule for candidates this follows. Narrations are from speech recognition.

In the folder:

* ``HowTo100M_v1.csv`` with the column video_id: which videos count, in this order;
* ``captions/<video_id>.csv`` with the columns start, end (seconds) and text, or ``captions/<video_id>.json`` with
  {start: [...], end: [...], text: [...]}, or one ``caption.json`` with such an object by video_id;
* ``videos/<video_id>.mp4`` (or webm, mkv), with its sound. Clips are read from there: nothing is cut or copied.

Clips: one per caption. ``cut=caption`` takes its interval, grown to ``seconds`` about its middle where it is shorter;
``cut=fixed`` takes ``seconds`` about its middle. ``per_video`` takes that many of each video, drawn anew with another
``seed``: all of the 136 million are too many to list.

Candidates of a clip, as MIL-NCE chooses them: from its own caption on, repeatedly the neighbour that keeps the time
covered shorter. Here they are fewer where a video has fewer captions; the reference repeats the last one.

Protocol, for training: every caption is a question; right are the clips it is a candidate of, the nearest with the
highest grade. Clips of one video carry its name in ``source_id``.

Counts: 1,238,911 videos; most collections lack some, which ``partial=true`` leaves out and the notes count.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from quiver.benchmarks.datasets._pack import digest, finish, whole
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec, unique
from quiver.errors import BadData, BadSpec
from quiver.media import moment
from quiver.task import Question, Task
from quiver.types import Item, Query

HOME = Home(
    "howto100m",
    "https://www.di.ens.fr/willow/research/howto100m/",
    "for research; videos as their uploaders say",
    "HowTo100M_v1.csv, captions/<video_id>.csv or .json (or caption.json), and videos/<video_id>.mp4 in it",
)
LIST, TOGETHER, VIDEOS = "HowTo100M_v1.csv", "caption.json", 1_238_911
NOTHING: dict[str, list[Any]] = {"start": [], "end": [], "text": []}
SUFFIXES = (".mp4", ".webm", ".mkv")
MEASURES = ("Success@1", "Success@5", "Success@10", "MedR")


@dataclass(frozen=True, slots=True)
class Caption:
    """A line of speech: when it begins and ends in the video (s), and its words."""

    start: float
    end: float
    text: str


def load(
    *,
    folder: Path | None = None,
    cut: Literal["caption", "fixed"] = "caption",
    seconds: float = 3.2,
    candidates: int = 5,
    per_video: int | None = 1,
    seed: int = 0,
    partial: bool = False,
) -> Task:
    """List clips and their narrations.

    Args:
        folder: where the files are; None looks under QUIVER_DATA.
        cut: whether a clip lasts as long as its caption, and at least ``seconds``, or exactly ``seconds``.
        seconds: see ``cut``.
        candidates: narrations of a clip.
        per_video: clips drawn from each video; None for all.
        seed: of the draw.
        partial: leave out videos that are not on disk, and read lists of another length.

    Raises:
        BadData: files are absent, or not what they should be.
        BadSpec: a number is not positive.
    """
    if not seconds > 0 or candidates < 1 or (per_video is not None and per_video < 1):
        raise BadSpec(f"howto100m: seconds={seconds}, candidates={candidates}, per_video={per_video} must be positive")
    source = Source(HOME, folder, partial=partial)
    films = _films(source, partial=partial)
    said = source.mapping(TOGETHER) if source.has(TOGETHER) else None
    items: list[Item] = []
    questions: list[Question] = []
    silent = 0
    for video, path in films.items():
        captions = list(_captions(source, video, said))
        silent += not captions
        chosen = _drawn(len(captions), per_video, f"{seed}/{video}")
        items += [_clip(video, path, captions[n], n, seconds=seconds, fixed=cut == "fixed") for n in chosen]
        questions += _asked(video, captions, chosen, candidates)
    source.note(silent, "videos have no captions: left out")
    options = {"cut": cut, "seconds": seconds, "candidates": candidates, "per_video": per_video, "seed": seed}
    task = source.task(
        spec("howto100m", **options),
        items,
        questions,
        measures=MEASURES,
        target="video",
        protocol=f"caption to the clips it is one of the {candidates} nearest narrations of; for training",
    )
    return finish(task, partial=False)


def nearest(captions: Sequence[Caption], index: int, count: int) -> list[int]:
    """Choose the captions around one, nearest first: repeatedly the side that keeps the time covered shorter.

    >>> lines = [Caption(0, 2, "a"), Caption(3, 4, "b"), Caption(4, 5, "c"), Caption(9, 10, "d")]
    >>> nearest(lines, 1, 3), nearest(lines, 3, 3), nearest(lines, 0, 9)
    ([1, 2, 0], [3, 2, 1], [0, 1, 2, 3])
    """
    first = last = index
    chosen = [index]
    while len(chosen) < min(count, len(captions)):
        if last == len(captions) - 1 or (
            first > 0
            and captions[last].end - captions[first - 1].start < captions[last + 1].end - captions[first].start
        ):
            first -= 1
            chosen.append(first)
        else:
            last += 1
            chosen.append(last)
    return chosen


def _films(source: Source, *, partial: bool) -> dict[str, Path]:
    names = [row["video_id"] for row in source.rows(LIST, "video_id")]
    unique(names, f"{source.path(LIST)}: video_id")
    source.count(LIST, "videos", len(names), VIDEOS)
    folder = source.media("videos")
    there = {path.stem: path for path in sorted(folder.glob("*")) if path.suffix in SUFFIXES}
    files = {name: there.get(name, folder / f"{name}.mp4") for name in names}
    whole(source, list(files.values()), partial=partial)
    kept = {name: files[name] for name in names if name in there}
    source.note(len(names) - len(kept), f"of {len(names):,} videos are not on disk: left out")
    return kept


def _captions(source: Source, video: str, said: dict[str, Any] | None) -> Iterator[Caption]:
    """Yield what is said in a video and is not empty, in order of time."""
    name = f"captions/{video}.csv" if source.has(f"captions/{video}.csv") else f"captions/{video}.json"
    where = f"{source.path(TOGETHER)}: {video}" if said is not None else str(source.path(name))
    try:
        columns = said.get(video, NOTHING) if said is not None else _columns(name, source.text(name))
        lines = zip(columns["start"], columns["end"], columns["text"], strict=True)
        captions = [Caption(float(start), float(end), str(text).strip()) for start, end, text in lines]
    except (KeyError, TypeError, ValueError) as error:
        raise BadData(f"{where}: start, end and text must be lists of one length ({error})") from error
    yield from sorted((each for each in captions if each.text and each.end > each.start), key=lambda each: each.start)


def _columns(name: str, text: str) -> dict[str, list[Any]]:
    if name.endswith(".json"):
        return json.loads(text)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    return {name: [row[name] for row in rows] for name in NOTHING}


def _drawn(count: int, wanted: int | None, seed: str) -> list[int]:
    if wanted is None or wanted >= count:
        return list(range(count))
    return sorted(np.random.default_rng(digest(seed)).choice(count, wanted, replace=False).tolist())


def _clip(video: str, path: Path, caption: Caption, number: int, *, seconds: float, fixed: bool) -> Item:
    start, end = caption.start, caption.end
    if fixed or end - start < seconds:
        start = max(0.0, (start + end - seconds) / 2)
        end = start + seconds
    ref = moment(path, start, end)
    meta = {"source_id": video, "start": round(start, 3), "end": round(end, 3)}
    return Item(_id(video, number), {"video": ref, "audio": ref}, meta)


def _asked(video: str, captions: Sequence[Caption], chosen: Sequence[int], candidates: int) -> Iterator[Question]:
    right: dict[int, dict[str, int]] = {}
    for clip in chosen:
        for rank, number in enumerate(nearest(captions, clip, candidates)):
            right.setdefault(number, {})[_id(video, clip)] = candidates - rank
    for number, relevant in sorted(right.items()):
        query = Query(media={"text": captions[number].text}, target="video")
        yield Question(id=f"{video}#{number}", query=query, relevant=relevant)


def _id(video: str, number: int) -> str:
    return f"{video}_{number}"
