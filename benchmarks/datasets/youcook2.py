"""YouCook2, zero-shot: steps of cooking videos and the sentences on them.

Zhou et al. 2018, arXiv:1703.09788, http://youcook2.eecs.umich.edu; annotations MIT, the videos are on YouTube and some
are gone. The list of clips that is used for retrieval is ``csv/validation_youcook.csv`` of
https://github.com/antoine77340/MIL-NCE_HowTo100M.

In the folder:

* for ``val``, ``validation_youcook.csv`` with the columns end, start (seconds), task (recipe), text, video_id;
* for ``train``, ``youcookii_annotations_trainval.json`` with {database: {video_id: {subset, recipe_type, annotations:
  [{id, segment: [start, end], sentence}]}}};
* each clip as a file of its own, ``clips/<video_id>_<start>_<end>.mp4``, cut with ``ffmpeg -ss START -to END -i VIDEO
  CLIP``; an item's meta has video, start and end.

Counts: val 3,350 rows (the official validation part has 3,492 segments; papers score 3,320 to 3,350, depending on what
could still be collected: state it); train 10,337 segments of 1,333 videos.

Protocol: ``text_to_video``, every sentence is a question, all clips compete; ``video_to_text`` the other way. R@1, 5,
10 and the median rank.

Known faults: one clip of val stands twice with two sentences (oJZUxU9szWA, 120 to 252 s): it is one item, so 3,349
compete; 3,273 of the sentences are different: see ``duplicates``.
"""

from collections.abc import Iterator
from typing import Any

from quiver.benchmarks.datasets import _caption
from quiver.benchmarks.datasets._caption import Entry, spoken
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source
from quiver.errors import BadData

HOME = Home(
    "youcook2",
    "http://youcook2.eecs.umich.edu and https://github.com/antoine77340/MIL-NCE_HowTo100M (csv/validation_youcook.csv)",
    "annotations MIT, videos as their uploaders say",
    "validation_youcook.csv, for training youcookii_annotations_trainval.json, and clips/<video_id>_<start>_<end>.mp4 "
    "in it",
)
FILES = {"val": "csv/validation_youcook.csv", "train": "youcookii_annotations_trainval.json"}
COUNTS = {"val": 3350, "train": 10337}
#: Video, recipe, start and end in seconds as they are written, sentence.
Step = tuple[str, str, str, str, str]


def _entries(source: Source, split: str) -> list[Entry]:
    """Read the things of a split with their captions."""
    steps = _listed(source) if split == "val" else list(_annotated(source))
    source.count(FILES[split], "sentences", len(steps), COUNTS[split])
    said: dict[str, list[str]] = {}
    meta: dict[str, dict[str, Any]] = {}
    for video, recipe, start, end, text in steps:
        id = f"{video}_{start}_{end}"
        said.setdefault(id, []).append(text)
        meta[id] = {"video": video, "recipe": recipe, "start": _seconds(source, split, start), "end": float(end)}
        if meta[id]["end"] <= meta[id]["start"]:
            raise BadData(f"{source.path(FILES[split])}: a clip of {video} ends at {end} s, not after {start} s")
    source.note(len(steps) - len(said), "rows name a clip again: one item, each sentence a question")
    clips = source.media("clips")
    entries = [Entry(id, {"video": str(clips / f"{id}.mp4")}, spoken(texts), meta[id]) for id, texts in said.items()]
    return entries


load = _caption.loader(HOME, _entries, key="video", splits=("train", "val"), default="val")


def _listed(source: Source) -> list[Step]:
    rows = source.rows(FILES["val"], "video_id", "task", "start", "end", "text")
    return [(row["video_id"], row["task"], row["start"], row["end"], row["text"]) for row in rows]


def _annotated(source: Source) -> Iterator[Step]:
    for id, video in source.mapping(FILES["train"]).get("database", {}).items():
        if video.get("subset") == "training":
            for step in video["annotations"]:
                start, end = map(str, step["segment"])
                yield id, str(video.get("recipe_type", "")), start, end, step["sentence"]


def _seconds(source: Source, split: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadData(f"{source.path(FILES[split])}: {text!r} is not a time in seconds") from None
