"""Shoes: a shoe's photo and words on how the wanted one differs.

Guo et al. 2018, arXiv:1805.00145, on photos of Berg et al. 2010. Files:
https://github.com/XiaoxiaoGuo/fashion-retrieval; no licence is stated. Photos: the attribute discovery data set of
http://tamaraberg.com/attributesDataset/.

In the folder: ``relative_captions_shoes.json``, a list of {ImageName (the target), ReferenceImageName,
RelativeCaption}; ``train_im_names.txt`` and ``eval_im_names.txt``, a name per line; ``captions_shoes.json`` with plain
captions of 3,600 photos, not read here; photos anywhere under ``womens/`` (or ``images/``), found by their name.

Counts: 10,751 relative captions, 8,990 of train (10,000 photos) and 1,761 of eval (4,658 photos). The copy that came
with VAL lists 4,621 eval photos, which leaves 1,732 questions; both are read, and the notes say which it was.

Protocol: all photos of the split compete, the reference left out (``reference=removed``) or not; R@1, R@10 and R@50.

Known faults: 27 captions have their own target as reference (26 of train, 1 of eval, "is identical"). Where the
reference is removed they cannot be answered: they are left out, and counted. A caption that crosses the splits is
dropped and counted; the official file has none.
"""

from pathlib import Path
from typing import Literal

from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec, unique
from quiver.errors import BadData
from quiver.task import Question, Task
from quiver.types import Item, Query

HOME = Home(
    "shoes",
    "https://github.com/XiaoxiaoGuo/fashion-retrieval, photos from http://tamaraberg.com/attributesDataset/",
    "none stated",
    "relative_captions_shoes.json, {train,eval}_im_names.txt and the photos' folder womens/ in it",
)
CAPTIONS = "relative_captions_shoes.json"
#: Photos and questions of each release: the published one, and for eval VAL's copy.
COUNTS = {"train": {10000: 8990}, "eval": {4658: 1761, 4621: 1732}}


def load(
    *,
    folder: Path | None = None,
    split: Literal["train", "eval"] = "eval",
    reference: Literal["removed", "kept"] = "removed",
    partial: bool = False,
) -> Task:
    """Read one split.

    Args:
        folder: where the files are; None looks under QUIVER_DATA.
        split: which photos.
        reference: whether the photo held is left out of the answer.
        partial: read files whose counts are not the official ones.

    Raises:
        BadData: files are absent, or not what they should be.
    """
    source = Source(HOME, folder, partial=partial)
    list_name = f"{split}_im_names.txt"
    names = source.lines(list_name)
    unique(names, f"{source.path(list_name)}: name")
    source.count(list_name, "photos", len(names), *COUNTS[split])
    known, paths = set(names), _paths(source)
    questions = []
    same = crossing = inside = 0
    for number, row in enumerate(source.records(CAPTIONS, "ImageName", "ReferenceImageName", "RelativeCaption")):
        target, held = row["ImageName"], row["ReferenceImageName"]
        crossing += (target in known) != (held in known)
        if target not in known or held not in known:
            continue
        inside += 1
        if target == held and reference == "removed":
            same += 1
            continue
        questions.append(
            Question(
                id=str(number),
                query=Query(
                    media={"image": _image(paths, held), "text": row["RelativeCaption"].strip()}, target="image"
                ),
                relevant={target: 1},
                exclude=(held,) if reference == "removed" else (),
                source=held,
            )
        )
    source.count(CAPTIONS, f"captions within {split}", inside, COUNTS[split].get(len(names), inside))
    source.notes.append(f"{len(names):,} photos are listed" + (": VAL's copy" if len(names) == 4621 else ""))
    source.note(same, "questions hold their own answer, which the protocol removes: left out")
    source.note(crossing, "captions name a photo outside this split's list: left out")
    return source.task(
        spec("shoes", split=split, reference=reference),
        [Item(name, {"image": _image(paths, name)}) for name in names],
        questions,
        measures=("Success@10", "Success@1", "Success@50"),
        target="image",
        protocol=f"all photos of the split compete; reference {reference}",
    )


def _paths(source: Source) -> dict[str, Path]:
    """Map the names of the photos that are on disk to where they are; an empty name gives the folder."""
    root = source.media("womens", "images")
    paths = {"": root}
    for path in sorted(root.rglob("*.jpg")):
        if path.name in paths:
            raise BadData(f"two photos are called {path.name}: {paths[path.name]} and {path}")
        paths[path.name] = path
    return paths


def _image(paths: dict[str, Path], name: str) -> str:
    return str(paths.get(name) or paths[""] / name)
