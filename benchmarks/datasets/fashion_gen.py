"""Fashion-Gen: studio photos of fashion products from several sides, with the words of the shop.

Rostamzadeh et al. 2018, arXiv:1806.08317. Files: ``fashiongen_256_256_{train,validation}.h5``, handed out by
https://www.elementai.com/datasets/fashiongen while that lasted, for non-commercial research after signing.

In the folder: the HDF5 files; their fields input_image (n, 256, 256, 3) uint8, input_description, input_productID,
input_category, input_subcategory and input_name (n, 1) are read. Photos are searched as files: ``extract`` writes
``images/{train,validation}/<row>.png`` once. Needs h5py.

Counts: train 260,480 photos of 60,147 products, validation 32,528 of 7,519; 293,008 in all. Papers print 35,528 for the
validation part, which does not add up.

Protocols. ``full``: every product's description asks for its photos, all photos compete and any view of the product
answers; or every photo asks for its product's description. ``sampled``: 1 + 100 as in FashionBERT and Kaleido-BERT,
see ``_protocol``: 1,000 questions a draw, one answer among 100 other products of the same sub-category, five draws.
R@1, 5 and 10. The two are not to be compared with each other.

Known faults: some sub-categories have fewer than 101 products: filled up from others, and counted; views of one product
have the same description, which is one question here. Empty descriptions are left out and counted.
"""

from functools import partial as bound
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from quiver.benchmarks.datasets import _protocol
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Lazy, Source, spec
from quiver.benchmarks.datasets.world.files import save_image
from quiver.errors import BadData, optional
from quiver.files import once
from quiver.task import Question, Task
from quiver.types import Item, Query

HOME = Home(
    "fashion_gen",
    "https://www.elementai.com/datasets/fashiongen (or its authors)",
    "non-commercial research, signed",
    "fashiongen_256_256_{train,validation}.h5 in it, then call quiver.benchmarks.datasets.fashion_gen.extract",
)
#: Photos and products.
COUNTS = {"train": (260480, 60147), "validation": (32528, 7519)}
FIELDS = ("input_description", "input_productID", "input_category", "input_subcategory")
Split = Literal["train", "validation"]


def load(
    *,
    folder: Path | None = None,
    split: Split = "validation",
    track: Literal["text_to_image", "image_to_text"] = "text_to_image",
    protocol: Literal["full", "sampled"] = "full",
    draws: int = 5,
    seed: int = 0,
    partial: bool = False,
) -> Task:
    """Read one split.

    Args:
        folder: where the files are; None looks under QUIVER_DATA.
        split: which part.
        track: what is held and what is searched.
        protocol: who competes, see above.
        draws: of the sampled protocol.
        seed: of the sampled protocol.
        partial: read files whose counts are not the official ones.

    Raises:
        BadData: files are absent, or not what they should be.
        MissingExtra: h5py is not installed.
    """
    source = Source(HOME, folder, partial=partial)
    table = _Table(source, split)
    items, questions = table.ask_text() if track == "text_to_image" else table.ask_image()
    sampling = {"draws": draws, "seed": seed} if protocol == "sampled" else {}
    task = source.task(
        spec("fashion_gen", split=split, track=track, protocol=protocol, **sampling),
        items,
        questions,
        measures=("Success@1", "Success@5", "Success@10"),
        target="image" if track == "text_to_image" else "text",
        protocol="every description is a question, all photos compete, any view of its product answers"
        if track == "text_to_image"
        else "every photo is a question, all products' descriptions compete",
    )
    if protocol == "full":
        return task
    return _protocol.sampled(task, kind="subcategory", product="product", draws=draws, seed=seed)


def extract(folder: Path, *, split: Split = "validation") -> Path:
    """Write the photos of a split as ``images/<split>/<row>.png``; those that are there are left alone.

    Returns:
        The folder of the photos.

    Raises:
        BadData: the HDF5 file is absent or has another form.
        MissingExtra: h5py is not installed.
    """
    source = Source(HOME, folder, partial=True)
    images = folder / "images" / split
    with _open(source.path(_file(split))) as data:
        photos = data["input_image"]
        for row in tqdm(range(len(photos)), desc=split, unit="", disable=None):
            once(images / f"{row:06d}.png", bound(_save, photos, row))
    return images


class _Table:
    """The words of a split, by row; products in order of first appearance."""

    def __init__(self, source: Source, split: Split) -> None:
        self.source = source
        self.images = source.media(f"images/{split}")
        with _open(source.path(_file(split))) as data:
            self.text, self.product, category, self.kind = (_words(source, data, field) for field in FIELDS)
        self.category = category
        source.count(_file(split), "photos", len(self.text), COUNTS[split][0])
        self.views: dict[str, list[int]] = {}
        for row, product in enumerate(self.product):
            self.views.setdefault(product, []).append(row)
        source.count(_file(split), "products", len(self.views), COUNTS[split][1])
        self.spoken = [name for name, rows in self.views.items() if self.text[rows[0]]]
        source.note(len(self.views) - len(self.spoken), "products have no description: left out as questions")

    def ask_text(self) -> tuple[Lazy[Item], Lazy[Question]]:
        return Lazy(len(self.text), self._photo), Lazy(len(self.spoken), self._described)

    def ask_image(self) -> tuple[Lazy[Item], Lazy[Question]]:
        rows = [row for name in self.spoken for row in self.views[name]]
        return Lazy(len(self.spoken), self._description), Lazy(len(rows), lambda index: self._shown(rows[index]))

    def _photo(self, row: int) -> Item:
        return Item(f"photo{row:06d}", {"image": self._image(row)}, self._meta(row))

    def _description(self, index: int) -> Item:
        row = self.views[self.spoken[index]][0]
        return Item(f"product{self.product[row]}", {"text": self.text[row]}, self._meta(row))

    def _described(self, index: int) -> Question:
        rows = self.views[self.spoken[index]]
        query = Query(media={"text": self.text[rows[0]]}, target="image")
        return Question(f"product{self.spoken[index]}", query, {f"photo{row:06d}": 1 for row in rows})

    def _shown(self, row: int) -> Question:
        query = Query(media={"image": self._image(row)}, target="text")
        return Question(f"photo{row:06d}", query, {f"product{self.product[row]}": 1})

    def _image(self, row: int) -> str:
        return str(self.images / f"{row:06d}.png")

    def _meta(self, row: int) -> dict[str, Any]:
        return {"product": self.product[row], "category": self.category[row], "subcategory": self.kind[row]}


def _save(photos: Any, row: int, path: Path) -> None:
    save_image(path, np.asarray(photos[row], np.uint8))


def _file(split: Split) -> str:
    return f"fashiongen_256_256_{split}.h5"


def _open(path: Path) -> Any:
    with optional():
        hdf5 = import_module("h5py")  # it has no type stubs
    try:
        return hdf5.File(path, "r")
    except OSError as error:
        raise BadData(f"{path} is not an HDF5 file: {error}") from error


def _words(source: Source, data: Any, field: str) -> list[str]:
    """Read a field of one string or number per row."""
    if field not in data:
        raise BadData(f"{data.filename} has no field {field!r}; it has {', '.join(data)}")
    values = [_decode(value) for value in np.asarray(data[field]).reshape(len(data[field])).tolist()]
    source.mark("\n".join(values).encode())
    return values


def _decode(value: Any) -> str:
    """Read one cell: bytes in UTF-8 or, in the published files, Latin-1."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode("utf-8").strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()
