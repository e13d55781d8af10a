"""Clotho: Freesound recordings of 15 to 30 seconds with five captions each.

Drossos et al. 2020, arXiv:1910.09387. Files: https://zenodo.org/records/4783391 (v2.1); licence of Tampere University,
non-commercial with attribution; each recording has its own Creative Commons licence.

In the folder: ``clotho_captions_{development,validation,evaluation}.csv`` with the columns file_name and caption_1 to
caption_5; the recordings in ``development/``, ``validation/`` and ``evaluation/`` (or all in ``audio/``).

Counts, recordings: v1 development 2,893, evaluation 1,045; v2.1 development 3,839, validation 1,045, evaluation 1,045.
Both are read; the notes say which development it was. The evaluation parts are the same.

Protocol: ``text_to_audio``, every caption is a question, all recordings of the split compete; ``audio_to_text``, every
recording is a question, all captions compete and the best of its own counts. R@1, 5 and 10.
"""

from pathlib import Path
from typing import Literal

from quiver.benchmarks.datasets import _caption
from quiver.benchmarks.datasets._caption import Duplicates, Entry, spoken
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec, unique
from quiver.task import Task

HOME = Home(
    "clotho",
    "https://zenodo.org/records/4783391",
    "Tampere University, non-commercial with attribution; recordings Creative Commons",
    "clotho_captions_{development,validation,evaluation}.csv and folders of these names with the recordings in it",
)
#: Recordings of each release.
COUNTS = {"development": (3839, 2893), "validation": (1045,), "evaluation": (1045,)}
CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


def load(
    *,
    folder: Path | None = None,
    split: Literal["development", "validation", "evaluation"] = "evaluation",
    track: Literal["text_to_audio", "audio_to_text"] = "text_to_audio",
    duplicates: Duplicates = "own",
    partial: bool = False,
) -> Task:
    """Read one split.

    Args:
        folder: where the files are; None looks under QUIVER_DATA.
        split: which part.
        track: what is held and what is searched.
        duplicates: whether a caption that several recordings carry answers for its own only, or for all.
        partial: read files whose counts are not the official ones.

    Raises:
        BadData: files are absent, or not what they should be.
    """
    source = Source(HOME, folder, partial=partial)
    name = f"clotho_captions_{split}.csv"
    rows = source.rows(name, "file_name", *CAPTIONS)
    unique([row["file_name"] for row in rows], f"{source.path(name)}: file_name")
    source.count(name, "recordings", len(rows), *COUNTS[split])
    source.note(len(rows), "recordings" + (": release v1" if split == "development" and len(rows) == 2893 else ""))
    sounds = source.media(split, "audio")
    entries = [
        Entry(
            row["file_name"],
            {"audio": str(sounds / row["file_name"])},
            spoken([row[column] for column in CAPTIONS]),
        )
        for row in rows
    ]
    source.note(5 * len(rows) - sum(len(entry.texts) for entry in entries), "captions are empty: left out")
    target = "text" if track == "audio_to_text" else "audio"
    spelled = spec("clotho", split=split, track=track)
    return _caption.task(source, spelled, entries, target=target, key="audio", duplicates=duplicates)
