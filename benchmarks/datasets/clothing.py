"""Clothing: volunteers' photographs of clothes in their rooms, 17 classes.

Source: https://github.com/alexeygrigorev/clothing-dataset @7ed86a9c; licence: CC0 1.0. Counts of the development part:
4,076 photographs of 17 classes by 315 senders, 3,609 groups of near-duplicates (dHash distance of at most 5).

Protocol: image to image, leave-one-out: each photograph asks for those of its class; its own group does not compete.
Splits: groups by the hash of their number, seven tenths train, one validation, two test.

Known faults: senders are not kept apart, so the same floor may be seen on both sides; groups chain through
near-duplicates and 27 of them, the largest of 271 photographs among them, hold more than one class; the classes
overlap (T-Shirt, Top, Undershirt, Polo); pictures are at most 128 pixels wide and high.
"""

from pathlib import Path

from quiver.benchmarks.datasets._pack import Sample, Split, alike, finish, split_of, whole
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec
from quiver.task import Task

HOME = Home(
    name="clothing",
    url="https://github.com/alexeygrigorev/clothing-dataset",
    licence="CC0 1.0",
    put="meta.csv and images/ in the folder",
)
ROWS, CLASSES = 4_076, 17
COLUMNS = ("file", "label", "kids", "sender_id", "group", "width", "height")


def load(*, split: Split = "test", folder: Path | None = None, partial: bool = False) -> Task:
    """Read the photographs of a split.

    Args:
        split: part of the development part, see above.
        folder: the folder of meta.csv; None looks at QUIVER_DATA.
        partial: read a pack of other counts, or without all of its pictures.

    Raises:
        BadData: the pack is not on disk, or not as it should be.
    """
    source = Source(HOME, folder, partial=partial)
    rows = source.rows("meta.csv", *COLUMNS)
    source.count("meta.csv", "photographs", len(rows), ROWS)
    source.count("meta.csv", "classes", len({row["label"] for row in rows}), CLASSES)
    root = source.path("meta.csv").parent
    whole(source, [root / row["file"] for row in rows], partial=partial)
    samples = [
        Sample(
            id=Path(row["file"]).stem,
            media={"image": str(root / row["file"])},
            label=row["label"],
            group=row["group"],
            meta={"label": row["label"], "kids": row["kids"], "sender": row["sender_id"], "group": row["group"]},
        )
        for row in rows
        if split in ("all", split_of(row["group"], pack="clothing"))
    ]
    questions, alone = alike(samples, target="image")
    source.note(alone, "photographs not asked: no other group of their class is in the split")
    task = source.task(
        spec("clothing", split=split),
        [sample.item for sample in samples],
        questions,
        measures=("Success@1", "Success@5", "P@10"),
        target="image",
        protocol="photograph to those of its class, leave-one-out; its near-duplicates do not compete",
    )
    return finish(task, partial=partial)
