"""A picture as a grid of patches: their features from a CNN, or their bare pixels.

Reference: alibaba/EasyTransfer, ``image_feature_extract``, Apache-2.0: the picture is cut on a regular grid, pixels
that do not divide evenly are dropped at the right and bottom, every cell is resized to the CNN's input, and its
feature is the CNN's average-pooled output (``Cells``).
Deviates: ``Averaged`` runs the CNN once on the whole picture, not once per cell, and averages its feature map over
the cells; a cell then sees its surroundings. ``Pixels`` needs no CNN: the model's projection learns
from pixels. A network is anything from (n, 3, h, w) to a feature map (n, F, h', w'): ``forward_features`` of a timm
CNN, or a torchvision CNN without its pooling and classifier.
Shapes: n pictures, P = rows x columns patches in reading order, F features, H x W pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from quiver.errors import BadMedia, BadSpec
from quiver.types import Floats

Picture = NDArray[np.uint8]
Network = Callable[[Tensor], Tensor]
Channels = tuple[float, float, float]

#: Of ImageNet, for pixel values from 0 to 1.
MEAN: Channels = (0.485, 0.456, 0.406)
STD: Channels = (0.229, 0.224, 0.225)


def cut(picture_HW3: Picture, rows: int = 8, columns: int = 8) -> Picture:
    """Return the cells (P, H // rows, W // columns, 3) of a picture.

    Raises:
        BadMedia: the picture has fewer pixels than the grid has cells, in one direction.
    """
    height, width = picture_HW3.shape[0] // rows, picture_HW3.shape[1] // columns
    if not height or not width:
        high, wide = picture_HW3.shape[:2]
        raise BadMedia(f"{wide}x{high} px is too small for a grid of {columns}x{rows} patches")
    whole = picture_HW3[: rows * height, : columns * width]
    return whole.reshape(rows, height, columns, width, 3).swapaxes(1, 2).reshape(-1, height, width, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Patches are their pixels.

    Attributes:
        side: every cell is resized to this square, in pixels; F = 3 side^2.
        rows: of the grid.
        columns: likewise.
        mean: of each channel, for values from 0 to 1.
        std: likewise.
    """

    side: int = 8
    rows: int = 8
    columns: int = 8
    mean: Channels = MEAN
    std: Channels = STD

    def __call__(self, pictures: Sequence[Picture]) -> Floats:
        """Return (n, P, 3 side^2) float32 of pictures (H, W, 3) uint8."""
        cells = [_scaled(cut(one, self.rows, self.columns), self.side, self.mean, self.std) for one in pictures]
        return np.stack([cell.permute(0, 2, 3, 1).flatten(1).numpy() for cell in cells])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Extracted:
    """Patches are features of a CNN.

    Attributes:
        network: in eval mode, frozen.
        size: side of its input in pixels.
        rows: of the grid.
        columns: likewise.
        mean: of each channel, for values from 0 to 1.
        std: likewise.
        device: of the network.
        at_once: inputs that go through it together.
    """

    network: Network
    size: int = 224
    rows: int = 8
    columns: int = 8
    mean: Channels = MEAN
    std: Channels = STD
    device: str | torch.device = "cpu"
    at_once: int = 16


class Cells(Extracted):
    """Patches are the features that a CNN extracts from each cell separately, as in the reference."""

    __slots__ = ()

    def __call__(self, pictures: Sequence[Picture]) -> Floats:
        """Return (n, P, F) float32 of pictures (H, W, 3) uint8."""
        return np.stack([self._features(cut(picture, self.rows, self.columns)) for picture in pictures])

    def _features(self, cells: Picture) -> Floats:
        with torch.inference_mode():
            parts = [
                self.network(_scaled(part, self.size, self.mean, self.std).to(self.device)).mean(dim=(2, 3))
                for part in np.split(cells, range(self.at_once, len(cells), self.at_once))
            ]
            return np.asarray(torch.cat(parts).float().cpu().numpy())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Averaged(Extracted):
    """Patches are averages of a CNN's feature map of the whole picture: a deviation that runs it once, not 64 times.

    Attributes:
        size: the picture is squashed to this square, in pixels; a CNN of stride 32 has 8 x 8 places at 256.
        at_once: pictures that go through it together.
    """

    size: int = 256
    at_once: int = 8

    def __call__(self, pictures: Sequence[Picture]) -> Floats:
        """Return (n, P, F) float32 of pictures (H, W, 3) uint8.

        Raises:
            BadSpec: the feature map is coarser than the grid.
        """
        parts = [pictures[start : start + self.at_once] for start in range(0, len(pictures), self.at_once)]
        return np.concatenate([self._features(part) for part in parts])

    def _features(self, pictures: Sequence[Picture]) -> Floats:
        pixels = torch.cat([_scaled(picture[None], self.size, self.mean, self.std) for picture in pictures])
        with torch.inference_mode():
            map_nFHW = self.network(pixels.to(self.device))
            high, wide = map_nFHW.shape[2:]
            if high < self.rows or wide < self.columns:
                raise BadSpec(
                    f"a feature map of {high}x{wide} cannot be averaged over {self.rows}x{self.columns} patches: "
                    f"give a size above {self.size}"
                )
            cells_nFRC = functional.adaptive_avg_pool2d(map_nFHW.float(), (self.rows, self.columns))
            return np.asarray(cells_nFRC.flatten(2).transpose(1, 2).cpu().numpy())


def _scaled(cells_nHW3: Picture, side: int, mean: Channels, std: Channels) -> Tensor:
    """Resize cells to squares and normalise them: (n, 3, side, side) float32."""
    pixels = torch.from_numpy(np.ascontiguousarray(cells_nHW3)).permute(0, 3, 1, 2).float() / 255
    if pixels.shape[2:] != (side, side):
        pixels = functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    middle, spread = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return (pixels - middle) / spread
