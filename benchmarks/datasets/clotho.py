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

from quiver.benchmarks.datasets import _caption
from quiver.benchmarks.datasets._caption import Entry, spoken
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, unique

HOME = Home(
    "clotho",
    "https://zenodo.org/records/4783391",
    "Tampere University, non-commercial with attribution; recordings Creative Commons",
    "clotho_captions_{development,validation,evaluation}.csv and folders of these names with the recordings in it",
)
#: Recordings of each release.
COUNTS = {"development": (3839, 2893), "validation": (1045,), "evaluation": (1045,)}
CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


def _entries(source: Source, split: str) -> list[Entry]:
    """Read the things of a split with their captions."""
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
    return entries


load = _caption.loader(
    HOME, _entries, key="audio", splits=("development", "validation", "evaluation"), default="evaluation"
)
