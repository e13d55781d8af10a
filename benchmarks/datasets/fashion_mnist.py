"""Fashion-MNIST: 60,000 grey pictures of clothing, 28 x 28 pixels, ten classes; also a set of 784-wide vectors.

Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747. Source: https://github.com/zalandoresearch/fashion-mnist; licence: MIT.
Counts of the development part, the official train file: 60,000 pictures, 6,000 of each class.

Tracks: ``image`` asks with each picture for those of its class, itself left out; ``text`` with the ten class names.
Pictures are written as PNG into a cache folder when they are first asked for.
Splits: in the official order, which is shuffled: 0 to 49,999 train, 50,000 to 54,999 validation, the rest test.

``neighbours``: base is the train part, queries are the first of another part, under Euclidean distance; the truth is
found here. It is not fashion-mnist-784-euclidean of ann-benchmarks, whose queries are the official test file.

Known faults: no product numbers are given, so a product seen twice may stand in two splits.
"""

import gzip
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quiver import files
from quiver.benchmarks.datasets import ann
from quiver.benchmarks.datasets._pack import Sample, Split, alike, finish, made, named
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source, spec
from quiver.errors import BadData
from quiver.task import Question, Task

HOME = Home(
    name="fashion_mnist",
    url="https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
    put="train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz in the folder",
)
PICTURES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
ROWS = 60_000
PARTS = {"train": slice(0, 50_000), "validation": slice(50_000, 55_000), "test": slice(55_000, None)}
CLASSES = (
    "T-shirt or top",
    "Trousers",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PROTOCOL = {
    "image": "picture to those of its class, leave-one-out; all other pictures of the split compete",
    "text": "class name to the pictures of the class; all pictures of the split compete",
}
Bytes = NDArray[np.uint8]


def load(
    *,
    track: Literal["image", "text"] = "image",
    split: Split = "test",
    folder: Path | None = None,
    cache: Path | None = None,
    partial: bool = False,
) -> Task:
    """Read the pictures of a split.

    Args:
        track: what is asked with.
        split: part of the official train file, see above.
        folder: where the idx files are; None looks at QUIVER_DATA.
        cache: where PNG files go; None for the cache folder of Quiver.
        partial: read files of other counts.

    Raises:
        BadData: the files are not on disk, or not as they should be.
    """
    source = Source(HOME, folder, partial=partial)
    pictures, labels = _idx(source, PICTURES, 3), _idx(source, LABELS, 1)
    _count(source, pictures, labels)
    root = cache or made("fashion_mnist")
    numbers = range(len(pictures))[PARTS.get(split, slice(None))]
    samples = [_sample(root, number, pictures[number], int(labels[number])) for number in numbers]
    questions: Sequence[Question]
    if track == "image":
        questions, _ = alike(samples, target="image")
    else:
        questions = named(samples, {name: name for name in CLASSES}, target="image")
    task = source.task(
        spec("fashion_mnist", track=track, split=split),
        [sample.item for sample in samples],
        questions,
        measures=("Success@1", "P@10", "AP@100"),
        target="image",
        protocol=PROTOCOL[track],
    )
    return finish(task, partial=partial)


def neighbours(
    *,
    split: Literal["validation", "test"] = "test",
    queries: int = 1_000,
    depth: int = 100,
    folder: Path | None = None,
    partial: bool = False,
) -> ann.Neighbours:
    """Take the pictures as (n, 784) uint8 vectors.

    Args:
        split: where queries come from.
        queries: how many.
        depth: how many true neighbours are found for each.
        folder: where the idx files are; None looks at QUIVER_DATA.
        partial: read files of other counts.

    Raises:
        BadData: the files are not on disk, or not as they should be.
    """
    source = Source(HOME, folder, partial=partial)
    pictures = _idx(source, PICTURES, 3)
    source.count(PICTURES, "pictures", len(pictures), ROWS)
    vectors = pictures.reshape(len(pictures), -1)
    task = ann.Neighbours(
        name=f"fashion_mnist split={split} queries={queries}",
        revision=ann.fingerprint([source.path(PICTURES)]),
        base=vectors[PARTS["train"]],
        queries=vectors[PARTS[split]][:queries],
        rows=np.empty((0, 0), np.int64),
        metric="l2",
        source=str(HOME),
        notes=(*source.notes, "not fashion-mnist-784-euclidean of ann-benchmarks: other base, other queries"),
    )
    return ann.checked(ann.compared(task, depth=depth))


def _idx(source: Source, name: str, dims: int) -> Bytes:
    """Read an idx file of bytes, gzipped or not, adding it to the revision."""
    path = source.path(name)
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        source.mark(data)
        magic, *shape = struct.unpack_from(f">{dims + 1}I", data)
        if magic != 0x800 + dims:  # 0x08 says bytes
            raise BadData(f"{path} is no idx file of {dims} dimensions of bytes: it begins with {magic:#010x}")
        return np.frombuffer(data, np.uint8, offset=4 * (dims + 1)).reshape(shape)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise BadData(f"{path} is not a whole idx file: {error}") from error


def _count(source: Source, pictures: Bytes, labels: Bytes) -> None:
    source.count(PICTURES, "pictures", len(pictures), ROWS)
    source.count(LABELS, "labels", len(labels), len(pictures))
    if len(labels) != len(pictures) or labels.max(initial=0) >= len(CLASSES):
        raise BadData(f"{source.path(LABELS)}: a label of {len(CLASSES)} classes is needed for each picture")


def _sample(root: Path, number: int, pixels: Bytes, label: int) -> Sample:
    path = root / f"{number // 1000:02d}" / f"{number:05d}.png"
    files.once(path, lambda part: _save(part, pixels))
    meta: dict[str, Any] = {"class": CLASSES[label]}
    return Sample(f"{number:05d}", {"image": str(path)}, CLASSES[label], str(number), meta)


def _save(path: Path, pixels: Bytes) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path)
