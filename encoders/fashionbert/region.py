"""Regions of pictures, found by an object detector and kept in files; it imports no torch and travels to workers.

Shapes: R regions of a picture, F features of a region with its box terms.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.errors import BadMedia
from quiver.media import locate
from quiver.types import Floats

#: What a detector found in a picture: regions (R, F) float32 with their box terms, and the names in words.
Found = tuple[Floats, str]


@dataclass(frozen=True, slots=True)
class RegionReader:
    """Finds the regions of a picture by the name of its file; of bytes or pixels, by their SHA-256.

    Attributes:
        folder: of the files of regions.
        most: R at most.
        feature: F.
    """

    folder: Path
    most: int
    feature: int

    def __call__(self, source: Any) -> Found:
        """Return the regions of a picture.

        Raises:
            BadMedia: there are no regions of it, or they are not what they should be.
        """
        names = _names(source)
        places = [self.folder / f"{name}.npz" for name in names]
        place = next((each for each in places if each.is_file()), None)
        if place is None:
            raise BadMedia(
                f"{names[0]}: there are no regions of it: {places[0]} is missing (see quiver.encoders.oscar)"
            )
        try:
            with np.load(place, allow_pickle=False) as held:
                features, tags = np.asarray(held["features"], np.float32), [str(tag) for tag in held["tags"]]
                boxes, size = np.asarray(held["boxes"], np.float32), [float(side) for side in held["size"]]
                regions = np.concatenate([features, box_terms(boxes, width=size[0], height=size[1])], axis=1)
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise BadMedia(f"{place} holds no regions with features, boxes, size and tags: {error}") from error
        if not len(regions) or regions.shape[1] != self.feature or not np.isfinite(regions).all():
            raise BadMedia(
                f"{place} has regions {features.shape}: at least one is wanted, of {self.feature - 6} finite features"
            )
        return regions[: self.most], " ".join(tags)


def _names(source: Any) -> list[str]:
    """Return the names that a picture's file of regions may have, without the ending."""
    if isinstance(source, str | Path):
        path = Path(locate(str(source))[0])
        return [path.name, path.stem]
    if isinstance(source, np.ndarray):
        return [hashlib.sha256(np.ascontiguousarray(source).tobytes()).hexdigest()]
    return [hashlib.sha256(source).hexdigest()]


def box_terms(boxes_R4: NDArray[np.floating], *, width: float, height: float) -> Floats:
    """Return (R, 6) float32 in [0, 1]: x1, y1, x2, y2, width and height, as shares of the picture.

    Args:
        boxes_R4: x1, y1, x2, y2 in pixels, within the picture.
        width: of the picture, in pixels.
        height: likewise.

    >>> box_terms(np.array([[10.0, 0, 30, 20]]), width=40, height=20).tolist()
    [[0.25, 0.0, 0.75, 1.0, 0.5, 1.0]]
    """
    corners = np.clip(np.asarray(boxes_R4, np.float32) / np.array([width, height, width, height], np.float32), 0, 1)
    return np.concatenate([corners, corners[:, 2:] - corners[:, :2]], axis=1).astype(np.float32)
