"""Oscar: reranks pictures for a text, or texts for a picture, by their regions and the names of what is in these.

``oscar checkpoint=FOLDER regions=FOLDER``. Li et al. 2020, arXiv:2004.06165; reference: microsoft/Oscar, MIT. Regions
come from an object detector of your own: for each picture ``NAME.jpg`` a file ``NAME.jpg.npz`` (or ``NAME.npz``) in the
folder, as ``save_regions`` writes it; a picture that is no file has its SHA-256 for a name. Like FashionBERT it has no
recall of its own: whatever finds candidates, it puts them in order, by the margin of its two logits.
"""

import os
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadData
from quiver.protocols import Encoder


def load(
    *,
    checkpoint: Path,
    regions: Path,
    most: int = 50,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
) -> Encoder:
    """Load a model that was fine-tuned to tell matching pairs.

    Args:
        checkpoint: a folder as Oscar publishes it (``config.json``, ``pytorch_model.bin``, ``vocab.txt``), or as
            ``Oscar.save_pretrained`` writes it.
        regions: the folder of the regions of pictures.
        most: regions of a picture that are read, the first ones of its file.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: of scoring; ``auto`` takes bf16 where the device is made for it. What is stored is fp32 in any case.

    Returns:
        An encoder of ``text`` and ``image`` into columns for its ``scorers``.

    Raises:
        BadSpec: the model has no two classes, or ``most`` is below 1.
        MissingWeights: the folder holds no model, or one that was not fine-tuned for matching.
    """
    from quiver.encoders import _device
    from quiver.encoders.fashionbert import oscar_encoder

    return oscar_encoder.build(checkpoint, regions, most=most, device=_device.pick(device), precision=precision)


def save_regions(
    path: Path,
    *,
    features: NDArray[np.floating],
    boxes: NDArray[np.floating],
    size: tuple[float, float],
    tags: list[str],
) -> None:
    """Write what a detector found in one picture.

    Args:
        path: the file, such as ``regions/shoe.jpg.npz`` of ``shoe.jpg``.
        features: (R, F) of each region, the best first; Oscar's own have F = 2048.
        boxes: (R, 4), x1, y1, x2 and y2 in pixels.
        size: width and height of the picture, in pixels.
        tags: names of what was found, in words, the best first.

    Raises:
        BadData: the arrays do not go together.
    """
    features, boxes = np.asarray(features, np.float32), np.asarray(boxes, np.float32)
    if features.ndim != 2 or boxes.shape != (len(features), 4) or min(size) <= 0:
        raise BadData(
            f"{path}: features (R, F), boxes (R, 4) and a size are wanted, not {features.shape}, {boxes.shape}"
        )
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez(file, features=features, boxes=boxes, size=np.array(size, np.float32), tags=np.array(tags, np.str_))
    part.replace(path)
