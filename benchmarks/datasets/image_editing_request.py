"""Image-Editing-Request: a photo, the same photo edited, and the request that asked for it.

Tan et al. 2019, arXiv:1909.13296. Files: https://github.com/airsplay/VisualRelationships; no licence is stated.

In the folder: ``dataset/adobe/{train,valid,test}.json``, a list of {img0 (before), img1 (after), sents, uid}; the
photos in ``dataset/adobe/images/`` or ``images/``.

Counts: train 3,061 pairs with a sentence each, valid 383 and test 495 with three each.

Protocol: ``text_to_pair``, every sentence is a question, all pairs compete; ``pair_to_text``, every pair is a question,
all sentences compete and the best of its own counts.

Known faults: one photo is edited several times (3,061 train edits start from 2,009 photos, 495 of test from 402), so
some rivals hold the right photo and another edit. They compete (``same_source=compete``) or are left out
(``excluded``). Requests are short and repeat ("change the background"): see ``duplicates``.
"""

from quiver.benchmarks.datasets import _caption
from quiver.benchmarks.datasets._caption import Entry, spoken
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, unique

HOME = Home(
    "image_editing_request",
    "https://github.com/airsplay/VisualRelationships",
    "none stated",
    "{train,valid,test}.json and the photos' folder images/ in it",
)
#: Pairs and sentences.
COUNTS = {"train": (3061, 3061), "valid": (383, 1149), "test": (495, 1485)}


def _entries(source: Source, split: str, *, same_source: str) -> list[Entry]:
    """Read the edits of a split; with same_source=excluded other edits of one photo do not compete."""
    name = f"dataset/adobe/{split}.json"
    rows = source.records(name, "img0", "img1", "sents", "uid")
    unique([row["uid"] for row in rows], f"{source.path(name)}: uid")
    source.count(name, "pairs", len(rows), COUNTS[split][0])
    source.count(name, "sentences", sum(len(row["sents"]) for row in rows), COUNTS[split][1])
    images = source.media("dataset/adobe/images", "images")
    entries = [
        Entry(
            row["uid"],
            {"before": str(images / row["img0"]), "after": str(images / row["img1"])},
            spoken(row["sents"]),
            source=row["img0"] if same_source == "excluded" else "",
        )
        for row in rows
    ]
    source.note(len(rows) - len({row["img0"] for row in rows}), f"pairs edit a photo again: these {same_source}")
    return entries


load = _caption.loader(
    HOME, _entries, key="pair", splits=("train", "valid", "test"), default="test", same_source=("compete", "excluded")
)
