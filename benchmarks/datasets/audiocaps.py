"""AudioCaps: ten-second sounds of AudioSet with captions by people.

Kim et al. 2019, NAACL. Files: https://github.com/cdjkim/audiocaps, licence MIT; the sounds are parts of YouTube videos
and must be collected from there, and some are gone.

In the folder: ``dataset/{train,val,test}.csv`` with the columns audiocap_id, youtube_id, start_time (seconds), caption;
the sounds as ``audio/<youtube_id>_<start_time>.wav``, ten seconds from the start each.

Counts: train 49,838 captions of as many sounds; val 2,475 of 495; test 4,875 of 975: five captions each.

Protocol: ``text_to_audio``, every caption is a question, all sounds of the split compete; ``audio_to_text``, every
sound is a question, all captions compete and the best of its own counts. R@1, 5 and 10.

Known faults: captions repeat between sounds ("A man speaks"): see ``duplicates``. Papers score the sounds that could
still be collected: state how many those were, which the notes do.
"""

from quiver.benchmarks.datasets import _caption
from quiver.benchmarks.datasets._caption import Entry, spoken
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, unique

HOME = Home(
    "audiocaps",
    "https://github.com/cdjkim/audiocaps",
    "MIT, sounds as their uploaders say",
    "dataset/{train,val,test}.csv and audio/<youtube_id>_<start_time>.wav in it",
)
#: Captions and sounds.
COUNTS = {"train": (49838, 49838), "val": (2475, 495), "test": (4875, 975)}


def _entries(source: Source, split: str) -> list[Entry]:
    """Read the things of a split with their captions."""
    name = f"dataset/{split}.csv"
    rows = source.rows(name, "audiocap_id", "youtube_id", "start_time", "caption")
    unique([row["audiocap_id"] for row in rows], f"{source.path(name)}: audiocap_id")
    clips: dict[str, list[str]] = {}
    for row in rows:
        clips.setdefault(f"{row['youtube_id']}_{row['start_time']}", []).append(row["caption"])
    source.count(name, "captions", len(rows), COUNTS[split][0])
    source.count(name, "sounds", len(clips), COUNTS[split][1])
    sounds = source.media("audio")
    entries = [Entry(id, {"audio": str(sounds / f"{id}.wav")}, spoken(texts)) for id, texts in clips.items()]
    return entries


load = _caption.loader(HOME, _entries, key="audio", splits=("train", "val", "test"), default="test")
