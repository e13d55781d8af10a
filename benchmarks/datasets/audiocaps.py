"""AudioCaps: ten-second sounds of AudioSet and what people wrote of them.

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

from pathlib import Path
from typing import Literal

from quiver.benchmarks.datasets import _caption
from quiver.benchmarks.datasets._caption import Duplicates, Entry, spoken
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec, unique
from quiver.task import Task

HOME = Home(
    "audiocaps",
    "https://github.com/cdjkim/audiocaps",
    "MIT, sounds as their uploaders say",
    "dataset/{train,val,test}.csv and audio/<youtube_id>_<start_time>.wav in it",
)
#: Captions and sounds.
COUNTS = {"train": (49838, 49838), "val": (2475, 495), "test": (4875, 975)}


def load(
    *,
    folder: Path | None = None,
    split: Literal["train", "val", "test"] = "test",
    track: Literal["text_to_audio", "audio_to_text"] = "text_to_audio",
    duplicates: Duplicates = "own",
    partial: bool = False,
) -> Task:
    """Read one split.

    Args:
        folder: where the files are; None looks under QUIVER_DATA.
        split: which part.
        track: what is held and what is searched.
        duplicates: whether a caption that several sounds carry answers for its own sound only, or for all.
        partial: read files whose counts are not the official ones.

    Raises:
        BadData: files are absent, or not what they should be.
    """
    source = Source(HOME, folder, partial=partial)
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
    target = "text" if track == "audio_to_text" else "audio"
    spelled = spec("audiocaps", split=split, track=track)
    return _caption.task(source, spelled, entries, target=target, key="audio", duplicates=duplicates)
