"""Image to video by activity: a still of someone doing something asks for the videos in which it is done.

The task of APIVR (AAAI 2020) and MAP-IVR (AAAI 2021) on ActivityNet and THUMOS'14. Their features were published as
pickles behind a login, with splits and counts that no text confirms, so no official numbers stand here: what is read
is a manifest of stills and videos that anybody can make from those sets' own annotations (http://activity-net.org,
https://www.crcv.ucf.edu/THUMOS14; videos as their uploaders say).

In the folder: ``manifest.csv`` with the columns

* id: unique;
* kind: ``image`` (a still, a question) or ``video`` (an item);
* path: the file, relative to the folder;
* labels: the activity, or several with ``|`` between them;
* split: a name such as train or test;
* source (may be absent): the id of the video an image was taken from, which then does not compete for it.

Protocol: every still of the split is a question; all videos of the split compete; those that share a label answer.
mAP@10, 20, 50 and 100 as that field computes it: precision at the ranks of the videos found, averaged over those found
(``APh@K``), which is above the class's share even for random order: hold it against the random baseline.

Faults: a still whose labels no video has cannot be answered: left out and counted.
"""

from collections import defaultdict
from pathlib import Path

from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec, unique
from quiver.errors import BadData
from quiver.task import Question, Task
from quiver.types import Item, Query

HOME = Home(
    "activity",
    "http://activity-net.org or https://www.crcv.ucf.edu/THUMOS14",
    "videos as their uploaders say",
    "manifest.csv (id, kind, path, labels, split, source) and the files it names in it",
)
MANIFEST = "manifest.csv"
Row = dict[str, str]


def load(*, folder: Path | None = None, split: str = "test") -> Task:
    """Read one split of a manifest.

    Args:
        folder: where the files are; None looks under QUIVER_DATA.
        split: a name that stands in the manifest.

    Raises:
        BadData: the manifest is absent, not as above, or has no such split.
    """
    source = Source(HOME, folder, partial=False)
    everything = source.rows(MANIFEST, "id", "kind", "path", "labels", "split")
    _check(everything, str(source.path(MANIFEST)))
    rows = [row for row in everything if row["split"] == split]
    if not rows:
        names = sorted({row["split"] for row in everything})
        raise BadData(f"{source.path(MANIFEST)} has no split {split!r}; it has {', '.join(names)}")
    root = source.path(MANIFEST).parent
    videos = [row for row in rows if row["kind"] == "video"]
    return source.task(
        spec("activity", split=split),
        [Item(row["id"], {"video": str(root / row["path"])}, {"labels": row["labels"]}) for row in videos],
        _questions(source, rows, root),
        measures=("APh@100", "APh@10", "APh@20", "APh@50"),
        target="video",
        protocol="every still is a question, all videos of the split compete but the one it was taken from; those that "
        "share a label answer",
    )


def _questions(source: Source, rows: list[Row], root: Path) -> list[Question]:
    doing: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["kind"] == "video":
            for label in _labels(row):
                doing[label].append(row["id"])
    stills = [row for row in rows if row["kind"] == "image"]
    known = {row["id"] for row in rows if row["kind"] == "video"}
    questions = []
    for row in stills:
        own = row.get("source") or ""
        relevant = {id: 1 for label in _labels(row) for id in doing[label] if id != own}
        query = Query(media={"image": str(root / row["path"])}, target="video")
        if relevant:
            questions.append(Question(row["id"], query, relevant, exclude=(own,) if own in known else ()))
    source.note(len(stills) - len(questions), "stills show what no other video of the split does: left out")
    return questions


def _check(rows: list[Row], path: str) -> None:
    unique([row["id"] for row in rows], f"{path}: id")
    for row in rows:
        if row["kind"] not in ("image", "video"):
            raise BadData(f"{path}: {row['id']} is of kind {row['kind']!r}, not image or video")
        if not _labels(row):
            raise BadData(f"{path}: {row['id']} has no label")


def _labels(row: Row) -> list[str]:
    return [label.strip() for label in row["labels"].split("|") if label.strip()]
