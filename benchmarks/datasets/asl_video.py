"""ASL video: finger-spelt letters as clips, and still photographs of them: image to video by activity.

Source: https://github.com/tomnlittle/ASL-Gesture-Dataset @d2b23454; licence: none stated, for internal verification,
not to be passed on. Counts of the development part: 379 clips of 40 frames (128 x 128 pixels, 30 frames per second,
1.33 s) and 379 stills; 24 letters, A to Y without J; jack has 234 of each and tom 145.

Protocol: each still asks for the clips of its letter. A still was taken from the recording its clips were cut from, 31
frames after one clip and 30 before the next: those two do not compete. With ``other_person=true`` only clips of the
other person compete, which is the harder and the more honest question. MobileNetV2 on the owner's part: first answer
right 0.88, other person 0.44, chance 0.04.
Splits: by time within a (letter, person), which is one recording: the last fifth of its clips, and at least one, is
test, as many before them validation while one is left, the rest train. At the borders splits are 1 to 2 s apart; the
two people are in all of them.

Known faults: the letter is in the shape of the hand, so appearance alone can solve it, without motion; hand only, plain
wall; the frame rate is from the recorder's script, not measured.
"""

from collections import defaultdict
from pathlib import Path

from quiver.benchmarks.datasets._pack import Row, Split, finish, whole
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec
from quiver.task import Question, Task
from quiver.types import Item, Query

HOME = Home(
    name="asl_video",
    url="https://github.com/tomnlittle/ASL-Gesture-Dataset",
    licence="none stated: internal use only",
    put="meta.csv, clips/ and stills/ in the folder",
)
ROWS, LETTERS, PEOPLE = 379, 24, 2
COLUMNS = ("file", "letter", "person", "first_frame", "still", "still_frame")
#: Frames between the beginnings of two neighbouring clips.
STEP = 100


def load(
    *, other_person: bool = False, split: Split = "test", folder: Path | None = None, partial: bool = False
) -> Task:
    """Read the clips and stills of a split.

    Args:
        other_person: whether only clips of the person who is not in the still compete.
        split: part of the development part, see above.
        folder: the folder of meta.csv; None looks at QUIVER_DATA.
        partial: read a pack of other counts, or without all of its files.

    Raises:
        BadData: the pack is not on disk, or not as it should be.
    """
    source = Source(HOME, folder, partial=partial)
    rows = source.rows("meta.csv", *COLUMNS)
    for what, found, expected in (
        ("clips", len(rows), ROWS),
        ("letters", len({row["letter"] for row in rows}), LETTERS),
        ("people", len({row["person"] for row in rows}), PEOPLE),
    ):
        source.count("meta.csv", what, found, expected)
    root = source.path("meta.csv").parent
    whole(source, [root / row[name] for row in rows for name in ("file", "still")], partial=partial)
    splits = _splits(rows)
    kept = [row for row in rows if split in ("all", splits[row["file"]])]
    rivals = {row["person"]: tuple(_id(each) for each in kept if each["person"] != row["person"]) for row in kept}
    questions = [_question(root, row, kept, rivals[row["person"]] if other_person else None) for row in kept]
    asked = [each for each in questions if each.relevant]
    source.note(len(questions) - len(asked), "stills not asked: no clip of their letter is left in the split")
    task = source.task(
        spec("asl_video", other_person=str(other_person).lower(), split=split),
        [_item(root, row) for row in kept],
        asked,
        measures=("Success@1", "APh@10", "APh@20", "APh@50", "APh@100"),
        target="video",
        protocol="still to clips of its letter; "
        + ("only clips of the other person compete" if other_person else "the clips just before and after it do not"),
    )
    return finish(task, partial=partial)


def _splits(rows: list[Row]) -> dict[str, str]:
    recordings: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        recordings[row["letter"], row["person"]].append(row)
    splits: dict[str, str] = {}
    for clips in recordings.values():
        files = [row["file"] for row in sorted(clips, key=lambda row: int(row["first_frame"]))]
        fifth = max(1, round(len(files) / 5))
        test = len(files) - fifth
        validation = max(1, test - fifth)
        parts = ["train"] * validation + ["validation"] * (test - validation) + ["test"] * fifth
        splits |= dict(zip(files, parts[-len(files) :], strict=True))
    return splits


def _item(root: Path, row: Row) -> Item:
    meta = {name: row[name] for name in ("letter", "person", "first_frame")}
    return Item(_id(row), {"video": str(root / row["file"])}, meta)


def _id(row: Row) -> str:
    return Path(row["file"]).stem


def _question(root: Path, row: Row, rows: list[Row], rivals: tuple[str, ...] | None) -> Question:
    """Ask with a still among the rivals, or else among all but the clips just before and after it."""
    near = [_id(other) for other in rows if other is row or _next(row, other)] if rivals is None else []
    competing = {_id(other) for other in rows}.difference(near) if rivals is None else set(rivals)
    return Question(
        id=f"still_{_id(row)}",
        query=Query(media={"image": str(root / row["still"])}, target="video"),
        relevant={_id(other): 1 for other in rows if other["letter"] == row["letter"] and _id(other) in competing},
        exclude=tuple(sorted(near)),
        candidates=rivals,
    )


def _next(row: Row, other: Row) -> bool:
    """Say whether the other clip follows in the same recording."""
    same = (row["letter"], row["person"]) == (other["letter"], other["person"])
    return same and int(other["first_frame"]) - int(row["first_frame"]) == STEP
