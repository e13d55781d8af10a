"""Spot-the-Diff: two frames of one surveillance camera, and sentences on what differs.

Jhamtani and Berg-Kirkpatrick 2018, arXiv:1808.10584. Files: https://github.com/harsh19/spot-the-diff; no licence is
stated.

In the folder: ``annotations/{train,val,test}.json``, a list of {img_id, sentences}; ``resized_images/<id>.png``
(before) and ``<id>_2.png`` (after).

=====  =======  =====  =========
split  records  pairs  sentences
=====  =======  =====  =========
train  9,524    8,566  17,676
val    1,634    1,493  3,310
test   1,404    1,270  2,107
=====  =======  =====  =========

Protocol (CLIP4IDC): ``text_to_pair``, every sentence is a question, all pairs compete; ``pair_to_text``, every pair is
a question, all sentences compete and the best of its own counts. CLIP4IDC ranks groups of sentences by their best in
the second, so its ranks are a little better than these: an item's meta ``of`` names its group.

Known faults: a pair stands once per annotator, so records of one img_id are merged, sentences in file order; some
sentences are empty (53 of train, 6 of val): left out and counted; some pairs show no difference ("there are no
differences"), which answers for many pairs. The literature's 13,192 pairs are not what was published.
"""

from quiver.benchmarks.datasets import _caption
from quiver.benchmarks.datasets._caption import Entry, spoken
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source

HOME = Home(
    "spot_the_diff",
    "https://github.com/harsh19/spot-the-diff",
    "none stated",
    "annotations/{train,val,test}.json and resized_images/<id>.png, <id>_2.png in it",
)
#: Records, pairs and sentences.
COUNTS = {"train": (9524, 8566, 17676), "val": (1634, 1493, 3310), "test": (1404, 1270, 2107)}


def _entries(source: Source, split: str) -> list[Entry]:
    """Read the things of a split with their captions."""
    name = f"annotations/{split}.json"
    rows = source.records(name, "img_id", "sentences")
    merged: dict[str, list[str]] = {}
    for row in rows:
        merged.setdefault(str(row["img_id"]), []).extend(row["sentences"])
    sentences = sum(map(len, merged.values()))
    found = (len(rows), len(merged), sentences)
    for what, count, expected in zip(("records", "pairs", "sentences"), found, COUNTS[split], strict=True):
        source.count(name, what, count, expected)
    images = source.media("resized_images", "images")
    entries = [
        Entry(id, {"before": str(images / f"{id}.png"), "after": str(images / f"{id}_2.png")}, spoken(texts))
        for id, texts in merged.items()
    ]
    source.note(sentences - sum(len(entry.texts) for entry in entries), "sentences are empty: left out")
    return entries


load = _caption.loader(HOME, _entries, key="pair", splits=("train", "val", "test"), default="test")
