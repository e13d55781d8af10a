"""FSDD: spoken digits, ten words by five speakers.

Free Spoken Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset @26eb9aaf; licence: CC BY-SA 4.0.
Counts of the development part: 2,250 recordings, 8 kHz mono, of 10 digits by 5 speakers, 45 takes each.

Tracks: ``text`` asks for the recordings of a digit with its name, ten questions; ``audio`` asks with every recording,
leave-one-out, for the same digit by other speakers: recordings of the same speaker do not compete, so ``validation``,
which has one speaker, cannot be asked so.
Splits are by speaker: george and jackson train, lucas validation, nicolas and yweweler test.

Known faults: all speakers are male; accents and microphones go with the speaker.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from quiver.benchmarks.datasets._pack import Sample, Split, alike, finish, named, whole
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec
from quiver.task import Question, Task

HOME = Home(
    name="fsdd",
    url="https://github.com/Jakobovski/free-spoken-digit-dataset",
    licence="CC BY-SA 4.0",
    put="meta.csv and audio/ in the folder",
)
ROWS = 2_250
COLUMNS = ("file", "digit", "text", "speaker", "take", "seconds")
SPEAKERS = {
    "george": "train",
    "jackson": "train",
    "lucas": "validation",
    "nicolas": "test",
    "yweweler": "test",
}
PROTOCOL = {
    "text": "name of a digit to its recordings; all recordings of the split compete",
    "audio": "recording to the same digit by other speakers; the speaker's own recordings do not compete",
}


def load(
    *,
    track: Literal["text", "audio"] = "text",
    split: Split = "test",
    folder: Path | None = None,
    partial: bool = False,
) -> Task:
    """Read the recordings of a split.

    Args:
        track: what is asked with.
        split: part of the development part, see above.
        folder: the folder of meta.csv; None looks at QUIVER_DATA.
        partial: read a pack of other counts or speakers (who are test), or without all of its recordings.

    Raises:
        BadData: the pack is not on disk or not as it should be, or the split has nothing to ask.
    """
    source = Source(HOME, folder, partial=partial)
    rows = source.rows("meta.csv", *COLUMNS)
    source.count("meta.csv", "recordings", len(rows), ROWS)
    source.count("meta.csv", "known speakers", len({row["speaker"] for row in rows} & set(SPEAKERS)), len(SPEAKERS))
    root = source.path("meta.csv").parent
    whole(source, [root / row["file"] for row in rows], partial=partial)
    samples = [
        Sample(
            id=Path(row["file"]).stem,
            media={"audio": str(root / row["file"])},
            label=row["digit"],
            group=row["speaker"],
            meta={name: row[name] for name in COLUMNS[1:5]},
        )
        for row in rows
        if split in ("all", SPEAKERS.get(row["speaker"], "test"))
    ]
    questions: Sequence[Question]
    if track == "text":
        questions = named(samples, {row["digit"]: row["text"] for row in rows}, target="audio")
    else:
        questions, alone = alike(samples, target="audio")
        source.note(alone, "recordings not asked: no other speaker is in the split")
    task = source.task(
        spec("fsdd", track=track, split=split),
        [sample.item for sample in samples],
        questions,
        measures=("Success@1", "P@10", "AP"),
        target="audio",
        protocol=PROTOCOL[track],
    )
    return finish(task, partial=partial)
