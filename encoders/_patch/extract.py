"""Features of patches: their extraction from pictures, in training and in use, and a file of them.

Shapes: n pictures, P patches, F features.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from quiver import registry
from quiver.encoders import _fingerprint, _frozen
from quiver.encoders._frozen import Readers
from quiver.encoders._patch.grid import Averaged, Cells, Pixels
from quiver.encoders._train.feature import embed_each
from quiver.encoders._train.progress import Progress
from quiver.encoders._train.reading import QUARANTINE, attempt, identity, quarantine
from quiver.encoders._train.sharing import divided
from quiver.errors import BadSpec, MissingWeights
from quiver.files import write_json
from quiver.media import ImageReader
from quiver.protocols import Reader
from quiver.types import Floats

FILE = "patches.json"
Halves = NDArray[np.float16]

#: Pictures between two notes of how far it is: what an interruption can cost.
BLOCK = 512
#: Pictures decoded, then looked at, together.
AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Extractor:
    """Extraction of patches from pictures; stored next to a model's weights as patches.json.

    Attributes:
        features: ``pixels``, or the spec of a CNN of timm, such as ``timm model=resnet50.tv_in1k``, the
            weights of the paper: torchvision's first ones, without which timm takes other ones of its own.
        view: whether the CNN looks at ``cells``, one by one as in the reference, or once at the whole picture, and
            its map is ``averaged`` over the cells.
        size: side of what the CNN looks at, in pixels.
        side: of a cell with ``pixels``, in pixels.
        rows: of the grid.
        columns: of the grid.
        whole: encoders of pictures, joined by " + ", of which each adds one more patch, of the whole picture.

    Raises:
        BadSpec: a number is not positive.
    """

    features: str = "timm model=resnet50.tv_in1k"
    view: Literal["cells", "averaged"] = "cells"
    size: int = 224
    side: int = 8
    rows: int = 8
    columns: int = 8
    whole: str = ""

    def __post_init__(self) -> None:
        if min(self.size, self.side, self.rows, self.columns) < 1:
            raise BadSpec("size, side, rows and columns of patches must be at least 1")

    @property
    def wholes(self) -> tuple[str, ...]:
        """The specs of the encoders of whole pictures."""
        return tuple(_frozen.split(self.whole))

    @property
    def patches(self) -> int:
        """Number of patches of a picture, including those of the whole picture."""
        return self.rows * self.columns + len(self.wholes)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read patches.json of a model's folder.

        Raises:
            MissingWeights: there is none.
        """
        try:
            return cls(**json.loads((folder / FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise MissingWeights(f"{folder / FILE} does not define the extraction of patches: {error}") from error

    def write(self, folder: Path) -> None:
        """Write patches.json, and copy the files of the encoders next to it."""
        specs = {"whole": self.whole} | ({"features": self.features} if self.features != "pixels" else {})
        placed = _frozen.keep(specs, folder)
        replace(self, whole=placed["whole"], features=placed.get("features", self.features)).note(folder)

    def note(self, folder: Path) -> None:
        """Write patches.json alone."""
        write_json(folder / FILE, asdict(self), indent=2)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """An extractor with its network.

    Attributes:
        read: decodes a picture.
        look: n pictures as ``read`` gives them to (n, P, F) float32.
        width: F.
        revision: what tells these features from others.
    """

    read: Reader
    look: Callable[[Sequence[Any]], Floats]
    width: int
    revision: str


def open(extractor: Extractor, *, device: str = "auto", folder: Path | None = None) -> Source:
    """Load the network and the encoders that an extractor names.

    Args:
        extractor: as training was given it, or as a model's folder holds it.
        device: of those encoders that take one and name none.
        folder: of the model.

    Raises:
        BadSpec: it is no CNN of timm, its map is coarser than the grid, or a whole picture's encoder embeds none.
        MissingWeights: a file of an encoder is missing.
    """
    cells = _cells(extractor, device, folder)
    return _joined(cells, extractor, device, folder) if extractor.whole else cells


def _joined(cells: Source, extractor: Extractor, device: str, folder: Path | None) -> Source:
    """Add patches of the whole picture; rows are as wide as the widest, the rest of the others is zero."""
    frozen = _frozen.open(_frozen.placed(extractor.whole, folder, device=device), "image")
    spaces = [space for _, space in frozen.parts]
    width, count = max(cells.width, *(space.dim for space in spaces)), extractor.rows * extractor.columns

    def look(views: Sequence[Any]) -> Floats:
        rows = np.zeros((len(views), count + len(spaces), width), np.float32)
        rows[:, :count, : cells.width] = cells.look([view[0] for view in views])
        for place, (encoder, space) in enumerate(frozen.parts):
            rows[:, count + place, : space.dim] = encoder.embed("image", [view[1 + place] for view in views], space)
        return rows

    revision = _fingerprint.of_parts("fashionbert whole 1", cells.revision, *frozen.named)
    return Source(Readers((cells.read, *frozen.reader.parts)), look, width, revision)


def _cells(extractor: Extractor, device: str, folder: Path | None) -> Source:
    if extractor.features == "pixels":
        revision = _fingerprint.of_parts("fashionbert pixels 1", str(extractor))
        cells = Pixels(side=extractor.side, rows=extractor.rows, columns=extractor.columns)
        return Source(ImageReader(), cells, 3 * extractor.side**2, revision)
    spec = extractor.features
    if registry.split(spec)[0] != "timm":
        raise BadSpec(f"features={spec!r} is no CNN: give pixels, or one of timm, as in timm model=resnet50")
    encoder = registry.load("encoders", _frozen.placed(spec, folder, device=device))
    eye = encoder.towers["image"].features
    whole = extractor.view == "averaged"
    mean, std = (tuple((values.flatten() / 255).tolist()) for values in (eye.mean, eye.std))
    kind: Any = Averaged if whole else Cells
    look = kind(
        network=eye.network.forward_features,
        size=extractor.size,
        rows=extractor.rows,
        columns=extractor.columns,
        mean=mean,
        std=std,
        device=eye.mean.device,
    )
    read = ImageReader(extractor.size, fit="squash", resample="bilinear") if whole else ImageReader()
    space = encoder.spaces("image")[0]
    taken = (extractor.view, extractor.size, extractor.rows, extractor.columns)  # the spec may name other paths
    return Source(
        read, look, _width(look, extractor), _fingerprint.of_parts("fashionbert 1", space.revision, str(taken))
    )


def _width(look: Callable[[Sequence[Any]], Floats], extractor: Extractor) -> int:
    try:
        return look([np.zeros((extractor.size, extractor.size, 3), np.uint8)]).shape[2]
    except (ValueError, IndexError) as error:
        raise BadSpec(f"features={extractor.features!r} gives no map to cut into patches: take a CNN") from error


def extract(
    source: Source, refs: Sequence[str], *, folder: Path, shape: tuple[int, int]
) -> tuple[Halves, NDArray[np.bool_]]:
    """Return the features of pictures, from the file that keeps them as far as it goes.

    Ranks share the work, block by block, each on its own device.

    Args:
        source: of ``open``.
        refs: n references.
        folder: where the file is, named by the extractor and by the references with their sizes and times of change.
        shape: P and F.

    Returns:
        (n, P, F) float16, mapped from disk, and (n,) False where a picture cannot be read: such a row is zero, and
        its reason stands in ``quarantine.jsonl``.
    """
    name = _fingerprint.of_parts(source.revision, *map(identity, refs))[:16]
    kept = _Kept(source, refs, folder / f"{name}.npy", shape)
    kept.fill()
    bad = kept.bad()
    mask = np.ones(len(refs), bool)
    mask[bad] = False
    if not mask.all():
        print(
            f"note: {(~mask).sum():,} of {len(refs):,} pictures cannot be read: see {folder / QUARANTINE}",
            file=sys.stderr,
        )
    return np.load(kept.path, mmap_mode="r"), mask


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """The file of the features of pictures, a note of all that is done, and one of each block.

    Attributes:
        source: gives features.
        refs: n references.
        path: of the file.
        shape: P and F.
    """

    source: Source
    refs: Sequence[str]
    path: Path
    shape: tuple[int, int]

    def fill(self) -> None:
        """Compute what is left, together with the other ranks."""
        note = self.path.with_suffix(".json")
        whole: dict[str, Any] = _told(note) if self.path.is_file() else {"done": 0, "bad": []}
        if self.path.is_file() and whole["done"] == len(self.refs):
            return
        locks = self.path.with_suffix(".locks")
        for _ in divided(1, done=lambda _: self.path.is_file(), work=lambda _: self._begin(), folder=locks / "file"):
            pass
        fresh = set[int]()
        with Progress("patches", len(self.refs), unit="pictures") as progress:
            before = int(whole["done"])  # by an older version, which noted how far it was
            blocks = -(-len(self.refs) // BLOCK)

            def done(number: int) -> bool:
                return min((number + 1) * BLOCK, len(self.refs)) <= before or self._note(number).is_file()

            def work(number: int) -> None:
                fresh.add(number)
                self._compute(number, progress)

            for number in divided(blocks, done=done, work=work, folder=locks):
                if number not in fresh:
                    progress.skip(len(self.refs[number * BLOCK : (number + 1) * BLOCK]))
        found = [_told(self._note(number))["bad"] for number in range(blocks) if self._note(number).is_file()]
        bad = sorted({*whole["bad"], *(row for rows in found for row in rows)})
        write_json(note, {"done": len(self.refs), "bad": bad})  # the same on every rank
        shutil.rmtree(locks, ignore_errors=True)

    def bad(self) -> list[int]:
        """Return the places of pictures that cannot be read."""
        return list(_told(self.path.with_suffix(".json"))["bad"])

    def _note(self, number: int) -> Path:
        return self.path.with_suffix(".blocks") / f"{number:06d}.json"

    def _begin(self) -> None:
        """Make the file at its full size, so that it appears at once; it has holes where nothing is written yet."""
        shutil.rmtree(self.path.with_suffix(".blocks"), ignore_errors=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(f".{os.getpid()}.part")
        np.lib.format.open_memmap(part, "w+", np.float16, (len(self.refs), *self.shape)).flush()
        part.replace(self.path)

    def _compute(self, number: int, progress: Progress) -> None:
        """Write one block, then its note. Other ranks write elsewhere in the file, so nothing is written by mapping."""
        start = number * BLOCK
        refs = self.refs[start : start + BLOCK]
        rows = np.zeros((len(refs), *self.shape), np.float16)
        reasons = _look(self.source, refs, rows, progress)
        with self.path.open("r+b") as file:
            file.seek(np.load(self.path, mmap_mode="r").offset + start * rows[0].nbytes)
            file.write(rows.tobytes())
            file.flush()
            os.fsync(file.fileno())
        lines = ({"ref": refs[place], "reason": why, "key": "image"} for place, why in sorted(reasons.items()))
        quarantine(self.path.parent, lines)
        write_json(self._note(number), {"bad": [start + place for place in reasons]})


def _look(source: Source, refs: Sequence[str], out: Halves, progress: Progress) -> dict[int, str]:
    """Fill (n, P, F); return the reason of each picture that cannot be read or cut, by its place."""
    reasons: dict[int, str] = {}
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="decode") as pool:
        for start in range(0, len(refs), AT_ONCE):
            found = list(pool.map(partial(attempt, source.read), refs[start : start + AT_ONCE]))
            reasons |= {start + place: why for place, (_, why) in enumerate(found) if why}
            good = [place for place, (_, why) in enumerate(found) if not why]
            rows, refused = embed_each(source.look, [found[place][0] for place in good])
            reasons |= {start + good[place]: why for place, why in refused.items()}
            for place, row in rows.items():
                out[start + good[place]] = row
            progress.update(len(found))
    return reasons


def _told(note: Path) -> dict[str, Any]:
    """Read a note: how far a file is filled, and which of its rows are of pictures that cannot be read."""
    if not note.is_file():
        return {"done": 0, "bad": []}
    told: dict[str, Any] = json.loads(note.read_text())
    return told
