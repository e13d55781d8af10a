"""CIRR: a photo and words that lead to another photo of the same small set of look-alikes.

Liu et al. 2021, arXiv:2108.04024. Files: https://github.com/Cuberick-Orion/CIRR, branch ``cirr_dataset``, licence MIT;
the photos are of NLVR2 and are asked for there.

In the folder: ``captions/cap.rc2.{train,val,test1}.json``, a list of {pairid, reference, target_hard, target_soft:
{name: label}, caption, img_set: {id, members: [6]}}, where test1 has no target; ``image_splits/split.rc2.*.json``,
name to path; photos at those paths in ``img_raw/``, or in the folder itself.

Counts: train 28,225 questions over 16,939 photos, val 4,181 over 2,297 (the paper's 4,184 is a slip), test1 4,148 over
2,315; val and test1 have 503 sets.

Protocols. ``recall``: all photos of the split compete, the reference does not; R@1, 5, 10 and 50. ``subset``: the five
other members of the set compete; R_sub@1, 2 and 3, chance 20, 40 and 60 %. ``targets=hard`` has one answer, as modern
code does. ``targets=soft`` grades in tenths: 10 for a label of 1.0, 5, 2; the official soft score of a question is
the best label among the first K. Answers of test1 are not published: ``submission`` writes what the server reads.

Known faults: val names carry the prefix ``dev``. In 37 val questions the reference has a soft label of 1.0, in 5 the
hard target less: with the reference removed soft Recall ends at 99.904 %, R_subset at 99.546 %. Questions without any
positive soft label among those that compete cannot be answered: they are left out and counted; the official code
counts them as 0.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec, unique
from quiver.errors import BadData
from quiver.task import Question, Task
from quiver.types import Item, Query

HOME = Home(
    "cirr",
    "https://github.com/Cuberick-Orion/CIRR/tree/cirr_dataset, photos from https://lil.nlp.cornell.edu/nlvr/",
    "MIT, photos as NLVR2 says",
    "captions/, image_splits/ and the photos' folder img_raw/ in it",
)
VERSION = "rc2"
#: Questions and photos.
COUNTS = {"train": (28225, 16939), "val": (4181, 2297), "test1": (4148, 2315)}
PROTOCOLS = {
    "recall": "all photos of the split compete, the reference does not",
    "subset": "the five other members of the reference's set compete",
}
DEPTHS = {"recall": (5, 1, 10, 50), "subset": (1, 2, 3)}
KINDS = {"hard": "Success", "soft": "Soft"}
#: Names per question in a submission.
NAMES = {"recall": 50, "recall_subset": 3}
Track = Literal["recall", "subset"]
Targets = Literal["hard", "soft"]


def load(
    *,
    folder: Path | None = None,
    split: Literal["train", "val", "test1"] = "val",
    track: Track = "recall",
    targets: Targets = "hard",
    partial: bool = False,
) -> Task:
    """Read one split.

    Args:
        folder: where the files are; None looks under QUIVER_DATA.
        split: test1 has no answers.
        track: who competes, see above.
        targets: what counts as an answer, see above.
        partial: read files whose counts are not the official ones.

    Raises:
        BadData: files are absent, or not what they should be.
    """
    source = Source(HOME, folder, partial=partial)
    caps, names = f"captions/cap.{VERSION}.{split}.json", f"image_splits/split.{VERSION}.{split}.json"
    rows = source.records(caps, "pairid", "reference", "caption", "img_set", *_answer_fields(split, targets))
    paths = source.mapping(names)
    source.count(caps, "questions", len(rows), COUNTS[split][0])
    source.count(names, "photos", len(paths), COUNTS[split][1])
    images = source.media("img_raw", ".")
    refs = {name: str(images / path) for name, path in paths.items()}
    unique([str(row["pairid"]) for row in rows], f"{source.path(caps)}: pairid")
    _known(rows, refs, str(source.path(caps)))
    questions = [_question(row, refs, track, targets) for row in rows]
    if split == "test1":
        source.notes.append("targets of test1 are not published: it can be ranked and submitted, not scored")
    else:
        asked, questions = questions, [question for question in questions if _answers(question)]
        source.note(
            len(asked) - len(questions),
            f"of {len(asked):,} questions have no answer among those that compete: left out; official figures "
            "count them as 0",
        )
    return source.task(
        spec("cirr", split=split, track=track, targets=targets),
        [Item(name, {"image": ref}) for name, ref in refs.items()],
        questions,
        measures=tuple(f"{KINDS[targets]}@{k}" for k in DEPTHS[track]),
        target="image",
        protocol=f"{PROTOCOLS[track]}; {targets} targets" + (", graded in tenths" if targets == "soft" else ""),
    )


def submission(task: Task, rankings: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Make the object that the evaluation server reads; ``save`` writes it.

    Args:
        task: the task that was ranked; its track says which of the two files this is.
        rankings: names by question id, the best first.

    Returns:
        ``version``, ``metric`` and the first 50 names of each question, or 3 for the subset.

    Raises:
        BadData: a ranking is missing, too short, repeats a name, or holds one that does not compete.
    """
    questions = {question.id: question for question in task.questions}
    metric = "recall_subset" if all(question.candidates for question in questions.values()) else "recall"
    if strange := rankings.keys() - questions:
        raise BadData(f"{task.name}: there is no question {min(strange)!r} to rank for")
    known = {item.id for item in task.items}
    lists = {id: _names(question, rankings, known, NAMES[metric]) for id, question in questions.items()}
    return {"version": VERSION, "metric": metric, **lists}


def save(path: Path, task: Task, rankings: Mapping[str, Sequence[str]]) -> None:
    """Write a submission file; the server takes one for each track, of at most 5 MB."""
    path.write_text(json.dumps(submission(task, rankings), separators=(",", ":")), encoding="utf-8")


def _names(question: Question, rankings: Mapping[str, Sequence[str]], known: set[str], count: int) -> list[str]:
    competing = (set(question.candidates) if question.candidates else known) - set(question.exclude)
    names = list(rankings.get(question.id, ()))
    unique(names, f"the ranking of question {question.id}: name")
    if strange := [name for name in names if name not in competing]:
        raise BadData(f"the ranking of question {question.id} has {strange[0]!r}, which does not compete")
    if len(names) < min(count, len(competing)):
        raise BadData(f"the ranking of question {question.id} has {len(names)} names, {count} are needed")
    return names[:count]


def _answer_fields(split: str, targets: Targets) -> tuple[str, ...]:
    return () if split == "test1" else (f"target_{targets}",)


def _known(rows: list[dict[str, Any]], refs: Mapping[str, str], path: str) -> None:
    """See that every photo named is in the split, and every set holds its reference."""
    for row in rows:
        named = [row["reference"], *row["img_set"]["members"], *row.get("target_soft", ())]
        named += [row["target_hard"]] if "target_hard" in row else []
        if absent := [name for name in named if name not in refs]:
            raise BadData(f"{path}: pairid {row['pairid']} names {absent[0]!r}, which the split does not list")
        if row["reference"] not in row["img_set"]["members"]:
            raise BadData(f"{path}: pairid {row['pairid']}: the reference is not a member of its set")


def _question(row: dict[str, Any], refs: Mapping[str, str], track: Track, targets: Targets) -> Question:
    reference = row["reference"]
    others = tuple(name for name in row["img_set"]["members"] if name != reference)
    relevant = _hard(row) if targets == "hard" else _soft(row)
    if track == "subset":
        relevant = {name: grade for name, grade in relevant.items() if name in others}
    wish = {"text": text} if (text := row["caption"].strip()) else {}  # one caption of test1 is empty
    return Question(
        id=str(row["pairid"]),
        query=Query(media={"image": refs[reference], **wish}, target="image"),
        relevant=relevant,
        exclude=(reference,),
        candidates=others if track == "subset" else None,
        source=reference,
    )


def _hard(row: dict[str, Any]) -> dict[str, int]:
    return {row["target_hard"]: 1} if "target_hard" in row else {}


def _soft(row: dict[str, Any]) -> dict[str, int]:
    return {name: round(10 * label) for name, label in row.get("target_soft", {}).items() if label > 0}


def _answers(question: Question) -> set[str]:
    return set(question.relevant) - set(question.exclude)
