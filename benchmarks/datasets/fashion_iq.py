"""FashionIQ: a garment's photo and two people's words on how the wanted one differs.

Wu et al. 2021, arXiv:1905.12794. Files: https://github.com/XiaoxiaoGuo/fashion-iq, licence CDLA; the photos must be
collected from the addresses there, and some are gone.

In the folder: ``captions/cap.{dress,shirt,toptee}.{train,val,test}.json``, a list of {target, candidate, captions:
[2]}, where the candidate is the reference photo and test has no target; ``image_splits/split.*.json``, a list of
names; ``images/<name>.jpg``.

=========  ===================  ==================  ===================
questions  dress                shirt               toptee
=========  ===================  ==================  ===================
train      5,985 of 11,452      5,988 of 19,036     6,027 of 16,121
val        2,017 of 3,817       2,038 of 6,346      1,961 of 5,373
test       2,024 of 3,818       2,038 of 6,346      2,056 of 5,374
=========  ===================  ==================  ===================

Protocols. ``original``: the photos of the split's list compete, each category for itself. ``val`` (of the VAL paper):
only those that are a reference or a target of some question: 2,628, 3,089 and 2,902 on the val split. Figures are R@10
and R@50, averaged over the categories. The two captions make two questions, one in each order (``captions=both``, as
ARTEMIS and CoSMo do), one question in the order given (``one``, CLIP4Cir), or a question each (``each``, VAL). The
reference does not compete (``reference=removed``, ARTEMIS) or does (``kept``, CLIP4Cir and SPRC).

Known faults: some captions say nothing ("is the same"), and some are empty: these are left out of the text, and
counted; 11 val questions stand twice; test targets are not published, so that split can be ranked and not scored. Shirt
and toptee share 1,180 training photos, and 393 of toptee's test photos are training photos of shirt.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec
from quiver.errors import BadData, BadSpec
from quiver.task import Question, Task
from quiver.types import Item, Query

HOME = Home(
    "fashion_iq",
    "https://github.com/XiaoxiaoGuo/fashion-iq",
    "CDLA",
    "captions/, image_splits/ and images/<name>.jpg in it",
)
CATEGORIES = ("dress", "shirt", "toptee")
#: Questions, names in the split, and names that are a reference or a target of a question.
COUNTS = {
    ("train", "dress"): (5985, 11452, 7757),
    ("train", "shirt"): (5988, 19036, 8988),
    ("train", "toptee"): (6027, 16121, 8695),
    ("val", "dress"): (2017, 3817, 2628),
    ("val", "shirt"): (2038, 6346, 3089),
    ("val", "toptee"): (1961, 5373, 2902),
    ("test", "dress"): (2024, 3818, 0),
    ("test", "shirt"): (2038, 6346, 0),
    ("test", "toptee"): (2056, 5374, 0),
}
PROTOCOLS = {"original": "the whole split list competes", "val": "references and targets of the split compete"}
Captions = Literal["both", "one", "each"]


def load(
    *,
    folder: Path | None = None,
    split: Literal["train", "val", "test"] = "val",
    category: Literal["dress", "shirt", "toptee", "all"] = "all",
    protocol: Literal["original", "val"] = "original",
    captions: Captions = "both",
    reference: Literal["removed", "kept"] = "removed",
    partial: bool = False,
) -> Task:
    """Read one split.

    Args:
        folder: where the files are; None looks under QUIVER_DATA.
        split: test has no answers.
        category: which garments; all of them are averaged, and compete each with its kind.
        protocol: who competes, see above.
        captions: what a question's text is, see above.
        reference: whether the photo held is left out of the answer.
        partial: read files whose counts are not the official ones.

    Raises:
        BadData: files are absent, or not what they should be.
        BadSpec: the val protocol is asked of test, whose targets are not known.
    """
    if split == "test" and protocol == "val":
        raise BadSpec("fashion_iq: protocol=val needs the targets, which test has not: use protocol=original")
    source = Source(HOME, folder, partial=partial)
    images = source.media("images", "image_data")
    items: dict[str, Item] = {}
    questions: list[Question] = []
    for name in CATEGORIES if category == "all" else (category,):
        gallery, rows = _read(source, split, name, protocol)
        for id in gallery:
            items.setdefault(id, Item(id, {"image": str(images / f"{id}.jpg")}, {"category": name}))
        for number, row in enumerate(rows):
            for order, text in enumerate(_texts(row["captions"], captions)):
                asked = _question(row, text, images, f"{name}-{number}-{order}", kept=reference == "kept")
                questions.append(replace(asked, candidates=gallery if category == "all" else None, group=name))
    if split == "test":
        source.notes.append("targets of the test split are not published: it can be ranked, not scored")
    options = {"category": category, "protocol": protocol, "captions": captions, "reference": reference}
    return source.task(
        spec("fashion_iq", split=split, **options),
        list(items.values()),
        questions,
        measures=("Success@10", "Success@50"),
        target="image",
        protocol=f"{PROTOCOLS[protocol]}, within its category; captions: {captions}; reference {reference}; "
        "figures are means over categories, the score is the mean of R@10 and R@50",
    )


def _question(row: dict[str, Any], text: str, images: Path, id: str, *, kept: bool) -> Question:
    media = {"image": str(images / f"{row['candidate']}.jpg")}
    return Question(
        id=id,
        query=Query(media={**media, "text": text} if text else media, target="image"),
        relevant={row["target"]: 1} if "target" in row else {},
        exclude=() if kept else (row["candidate"],),
        source=row["candidate"],
    )


def _read(source: Source, split: str, category: str, protocol: str) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Return who competes, in order of the split, and the annotations."""
    caps, names = f"captions/cap.{category}.{split}.json", f"image_splits/split.{category}.{split}.json"
    fields = ("candidate", "captions") if split == "test" else ("candidate", "captions", "target")
    rows, listed = source.records(caps, *fields), source.strings(names)
    asked, size, union = COUNTS[split, category]
    source.count(caps, "questions", len(rows), asked)
    source.count(names, "images", len(listed), size)
    known = set(listed)
    used: dict[str, None] = {}
    for number, row in enumerate(rows):
        for field in ("candidate", "target"):
            if field in row:
                used[row[field]] = None
        if absent := [row[field] for field in ("candidate", "target") if field in row and row[field] not in known]:
            raise BadData(f"{source.path(caps)}: record {number} names {absent[0]!r}, which {names} does not list")
    mute = sum(len(row["captions"]) - len(_said(row["captions"])) for row in rows)
    source.note(mute, f"captions of {category} are empty: left out of their question's text")
    if protocol == "original":
        return tuple(listed), rows
    source.count(caps, "references and targets", len(used), union)
    return tuple(name for name in listed if name in used), rows


def _texts(captions: list[str], how: Captions) -> list[str]:
    """Return the texts of the questions, without empty captions."""
    said = _said(captions)
    orders = {"both": [said, said[::-1]], "one": [said], "each": [[text] for text in said] or [said]}
    return [" and ".join(order) for order in orders[how]]


def _said(captions: list[str]) -> list[str]:
    return [text.strip(" .,?") for text in captions if text.strip(" .,?")]
