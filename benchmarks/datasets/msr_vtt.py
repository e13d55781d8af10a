"""MSR-VTT, the 1k-A split: a thousand videos with one caption each, zero-shot.

Xu et al. 2016, CVPR; the split is of Yu et al. 2018 (JSFusion). Lists:
https://github.com/antoine77340/MIL-NCE_HowTo100M (``csv/msrvtt_test.csv``) and https://github.com/ArrowLuo/CLIP4Clip;
the videos are of Microsoft Research, for research only.

In the folder: for ``test``, ``msrvtt_test.csv`` (or the same file as ``MSRVTT_JSFUSION_test.csv``) with the columns
key, vid_key, video_id, sentence; for ``train9k`` and ``train7k``, ``MSRVTT_train.9k.csv`` or ``.7k.csv`` with a column
video_id, and ``MSRVTT_data.json`` with {sentences: [{caption, video_id, sen_id}]}; ``videos/<video_id>.mp4``.

Counts: test 1,000 videos and captions; train9k 9,000 videos and 180,000 captions; train7k 7,010 and 140,200.

Protocol: ``text_to_video``, every caption is a question, all videos of the split compete; ``video_to_text`` the other
way. R@1, 5, 10 and the median rank.

Known faults: nine test captions are shared by several videos (995 are different): see ``duplicates``. train7k leaves
out the official validation part that train9k holds.
"""

from quiver.benchmarks.datasets import _caption
from quiver.benchmarks.datasets._caption import Entry, spoken
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, unique
from quiver.errors import BadData

HOME = Home(
    "msr_vtt",
    "https://github.com/antoine77340/MIL-NCE_HowTo100M (csv/msrvtt_test.csv) and https://github.com/ArrowLuo/CLIP4Clip",
    "videos for research only (Microsoft)",
    "msrvtt_test.csv, for training MSRVTT_train.9k.csv and MSRVTT_data.json, and videos/<video_id>.mp4 in it",
)
TESTS = ("csv/msrvtt_test.csv", "MSRVTT_JSFUSION_test.csv")
#: Videos and captions.
COUNTS = {"test": (1000, 1000), "train9k": (9000, 180000), "train7k": (7010, 140200)}
Said = dict[str, list[str]]


def _entries(source: Source, split: str) -> list[Entry]:
    """Read the things of a split with their captions."""
    name, said = _test(source) if split == "test" else _train(source, f"MSRVTT_train.{split[-2:]}.csv")
    source.count(name, "videos", len(said), COUNTS[split][0])
    source.count(name, "captions", sum(map(len, said.values())), COUNTS[split][1])
    videos = source.media("videos", "videos/all")
    entries = [Entry(id, {"video": str(videos / f"{id}.mp4")}, spoken(texts)) for id, texts in said.items()]
    return entries


load = _caption.loader(HOME, _entries, key="video", splits=("test", "train9k", "train7k"), default="test")


def _test(source: Source) -> tuple[str, Said]:
    name = TESTS[1] if source.has(TESTS[1]) else TESTS[0]
    rows = source.rows(name, "video_id", "sentence")
    unique([row["video_id"] for row in rows], f"{source.path(name)}: video_id")
    return name, {row["video_id"]: [row["sentence"]] for row in rows}


def _train(source: Source, name: str) -> tuple[str, Said]:
    said: Said = {row["video_id"]: [] for row in source.rows(name, "video_id")}
    sentences = source.mapping("MSRVTT_data.json").get("sentences")
    if not isinstance(sentences, list):
        raise BadData(f"{source.path('MSRVTT_data.json')} has no list of 'sentences'")
    for sentence in sentences:
        if sentence["video_id"] in said:
            said[sentence["video_id"]].append(sentence["caption"])
    if silent := [id for id, texts in said.items() if not texts]:
        raise BadData(f"{source.path(name)} lists {silent[0]!r}, which MSRVTT_data.json lacks")
    return name, said
