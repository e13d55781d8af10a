"""CLEVR-Change: a made table before and after one change or none, and sentences on it.

Park et al. 2019, arXiv:1901.02527. Files: https://github.com/Seth-Park/RobustChangeCaptioning; no licence is stated.

In the folder (theirs is ``data/``):

* ``change_captions.json`` and ``no_change_captions.json``, {"CLEVR_default_%06d.png": [sentences]};
* ``splits.json``, {train, val, test: [number]};
* ``type_mapping.json``, {color, material, add, drop, move: ["%06d.png"]}, if there;
* ``images/CLEVR_default_%06d.png`` (before), ``sc_images/CLEVR_semantic_%06d.png`` (after a change),
  ``nsc_images/CLEVR_nonsemantic_%06d.png`` (after none: only camera and light move).

Counts: 79,606 scenes: train 67,660, val 3,976, test 7,970.

Protocol (CLIP4IDC): ``text_to_pair``, every sentence is a question, all pairs compete; ``pair_to_text``, every pair is
a question, all sentences compete and the best of its own counts. ``pairs=changed`` takes the changed ones, ``all`` adds
the unchanged, whose id ends in ``_n``. An item's meta ``type`` says what changed (``material`` is the paper's texture),
and ``distractor`` of a changed pair is its scene before, seen from elsewhere and in another light: CLIP4IDC's training
replaces the picture before by it, half of the time.

Known faults: sentences come from templates and repeat across scenes, so "own" punishes right answers: report
``duplicates=shared`` too, and always for ``pairs=all``, where one sentence fits every unchanged pair.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quiver.benchmarks.datasets import _caption
from quiver.benchmarks.datasets._caption import Entry, spoken
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, unique
from quiver.errors import BadData

HOME = Home(
    "clevr_change",
    "https://github.com/Seth-Park/RobustChangeCaptioning",
    "none stated",
    "change_captions.json, no_change_captions.json, splits.json, type_mapping.json, images/, sc_images/ and "
    "nsc_images/ in it",
)
COUNTS = {"train": 67660, "val": 3976, "test": 7970}


def _entries(source: Source, split: str, *, pairs: str) -> list[Entry]:
    """Read the changed pairs of a split; with pairs=all the unchanged ones too."""
    numbers = source.mapping("splits.json").get(split)
    if not isinstance(numbers, list) or not all(isinstance(number, int) for number in numbers):
        raise BadData(f"{source.path('splits.json')}: {split!r} must be a list of scene numbers")
    unique([str(number) for number in numbers], f"{source.path('splits.json')}: {split} scene")
    source.count("splits.json", f"scenes of {split}", len(numbers), COUNTS[split])
    kinds = _kinds(source)
    entries = list(_changed(source, numbers, kinds))
    if pairs == "all":
        entries += _unchanged(source, numbers)
    return entries


load = _caption.loader(
    HOME, _entries, key="pair", splits=("train", "val", "test"), default="test", pairs=("changed", "all")
)


def _changed(source: Source, numbers: list[int], kinds: dict[str, str]) -> Iterator[Entry]:
    after, again = source.media("sc_images"), source.media("nsc_images")
    for id, before, texts in _scenes(source, "change_captions.json", numbers):
        media = {"before": before, "after": str(after / f"CLEVR_semantic_{id}.png")}
        distractor = str(again / f"CLEVR_nonsemantic_{id}.png")
        yield Entry(id, media, texts, {"type": kinds.get(id, ""), "distractor": distractor})


def _unchanged(source: Source, numbers: list[int]) -> Iterator[Entry]:
    after = source.media("nsc_images")
    for id, before, texts in _scenes(source, "no_change_captions.json", numbers):
        media = {"before": before, "after": str(after / f"CLEVR_nonsemantic_{id}.png")}
        yield Entry(f"{id}_n", media, texts, {"type": "none"})


def _scenes(source: Source, file: str, numbers: list[int]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each scene's number, its picture before, and its sentences."""
    captions, images = source.mapping(file), source.media("images")
    for number in numbers:
        key = f"CLEVR_default_{number:06d}.png"
        if key not in captions:
            raise BadData(f"{source.path(file)} has no {key}, which splits.json lists")
        yield f"{number:06d}", str(images / key), spoken(captions[key])


def _kinds(source: Source) -> dict[str, str]:
    """Map scenes to what changed in them."""
    if not source.has("type_mapping.json"):
        source.notes.append("no type_mapping.json: what changed is not known")
        return {}
    table: dict[str, Any] = source.mapping("type_mapping.json")
    return {Path(name).stem: kind for kind, names in table.items() for name in names}
