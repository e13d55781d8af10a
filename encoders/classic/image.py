"""A picture as edge directions on a grid and colours in four quarters and the whole.

Edges follow Dalal and Triggs, "Histograms of oriented gradients" (CVPR 2005): overlapping blocks of 2 x 2 cells,
here with directions rather than orientations and with the square root of the L1-normalised block, so that a dot
product is a Hellinger kernel. Colours are counted in CIE Lab, each pixel shared among near prototypes.

Shapes: n pictures, H and W their sides in pixels, K directions, C cells along a side, P colour prototypes.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from quiver.encoders import _pool
from quiver.types import Floats

SIDE = 96  # pixels; what the reader gives, though any H and W of at least CELLS can be described
CELLS, DIRECTIONS, PROTOTYPES = 6, 8, 64
DIM = (CELLS - 1) ** 2 * 4 * DIRECTIONS + 5 * PROTOTYPES
#: Share of the colours in a cosine, against 1 for the edges.
COLOUR = 0.5
RECIPE = f"1 side={SIDE} cells={CELLS} directions={DIRECTIONS} prototypes={PROTOTYPES} colour={COLOUR}"

_BITS = 5  # of each colour channel that the table of colours keeps
_CHUNK = 8  # pictures at a time, few enough to stay in the processor's cache
_NOISE = 2e-3  # mean gradient of a block below which it fades to nothing; full contrast is about 1


def describe(pictures: Sequence[NDArray[np.uint8]]) -> Floats:
    """Describe pictures, of one size or of many.

    Args:
        pictures: n arrays (H, W, 3) uint8 RGB.

    Returns:
        (n, DIM) float32, rows of unit length.
    """
    out = np.empty((len(pictures), DIM), np.float32)
    shapes = [picture.shape for picture in pictures]
    for shape in sorted(set(shapes)):
        places = [place for place, own in enumerate(shapes) if own == shape]
        for start in range(0, len(places), _CHUNK):
            chunk = places[start : start + _CHUNK]
            out[chunk] = _describe(np.stack([pictures[place] for place in chunk]))
    return out


def _describe(image_nHW3: NDArray[np.uint8]) -> Floats:
    # A flat picture has no edges: its rows of zeros stay zero, and its colours speak alone.
    parts = [edges(image_nHW3), np.sqrt(COLOUR) * _pool.unit(colours(image_nHW3))]
    return _pool.unit(np.concatenate(parts, axis=1))


def edges(image_nHW3: NDArray[np.uint8]) -> Floats:
    """Measure edge directions: (n, (CELLS - 1)^2 * 4 * DIRECTIONS) float32, rows of length 1, or 0 if flat."""
    across, down = _gradients(image_nHW3)
    square = across**2 + down**2 + np.float32(1e-12)
    high, wide = (_tents(side) for side in image_nHW3.shape[1:3])
    cells = np.empty((len(across), DIRECTIONS, CELLS, CELLS), np.float32)
    for k, angle in enumerate(2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS):
        along = np.maximum(across * np.float32(np.cos(angle)) + down * np.float32(np.sin(angle)), 0)
        # Magnitude times the cubed cosine of the angle to direction k: a soft bin without an arctangent.
        cells[:, k] = high @ (along * along * along / square) @ wide.T
    blocks = np.concatenate(
        [cells[:, :, :-1, :-1], cells[:, :, 1:, :-1], cells[:, :, :-1, 1:], cells[:, :, 1:, 1:]], axis=1
    )
    blocks = np.sqrt(blocks / (blocks.sum(axis=1, keepdims=True) + np.float32(_NOISE)))
    rows = blocks.reshape(len(blocks), -1)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))


def colours(image_nHW3: NDArray[np.uint8]) -> Floats:
    """Count colours: (n, 5 * PROTOTYPES) float32, square roots of shares, the whole first, then the quarters."""
    n, high, wide, _ = image_nHW3.shape
    levels = image_nHW3.astype(np.int32) >> (8 - _BITS)
    code = (levels[..., 0] << 2 * _BITS) | (levels[..., 1] << _BITS) | levels[..., 2]
    quarter = 2 * (np.arange(high) >= high / 2)[:, None] + (np.arange(wide) >= wide / 2)
    part = np.arange(n)[:, None, None] * 4 + quarter
    near, share = _table()
    place = part[..., None] * PROTOTYPES + near[code]
    counts = np.bincount(place.ravel(), share[code].ravel(), minlength=4 * n * PROTOTYPES)
    quarters = counts.reshape(n, 4, PROTOTYPES)
    parts = np.concatenate([quarters.sum(axis=1, keepdims=True), quarters], axis=1)
    return np.sqrt(parts / parts.sum(axis=2, keepdims=True)).reshape(n, -1).astype(np.float32)


def _gradients(image_nHW3: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Return central differences across and down of the square root of luma, zero at the rim: (n, H, W) each."""
    luma = np.sqrt(image_nHW3 @ np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255))
    across, down = np.zeros_like(luma), np.zeros_like(luma)
    np.subtract(luma[:, :, 2:], luma[:, :, :-2], out=across[:, :, 1:-1])
    np.subtract(luma[:, 2:], luma[:, :-2], out=down[:, 1:-1])
    return across, down


@cache
def _tents(side: int) -> Floats:
    """Return (CELLS, side) weights of linear interpolation between the middles of cells; rows sum to 1."""
    place = (np.arange(side) + 0.5) / side * CELLS - 0.5
    weights = np.maximum(0, 1 - np.abs(place - np.arange(CELLS)[:, None]))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@cache
def _table() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (2^15, 4) the prototypes nearest to each colour, and how much of each it is; rows sum to 1."""
    lab = _lab()
    prototypes = _spread(lab, PROTOTYPES)
    apart = ((prototypes[:, None] - prototypes) ** 2).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    width = 0.35**2 * apart.min(axis=1).mean()
    distance = ((lab[:, None] - prototypes) ** 2).sum(axis=2)
    near = distance.argsort(axis=1)[:, :4]
    weights = np.exp(-np.take_along_axis(distance, near, axis=1) / (2 * width))
    return near, weights / weights.sum(axis=1, keepdims=True)


def _lab() -> NDArray[np.float64]:
    """Return (2^15, 3) CIE 1976 L*a*b* (D65) of the sRGB colours with _BITS bits a channel."""
    level = (np.arange(1 << _BITS) + 0.5) / (1 << _BITS)
    rgb = np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(-1, 3)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
    xyz = linear @ (to_xyz / [[0.9505], [1.0], [1.0888]]).T
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def _spread(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Pick points far from each other: the first nearest mid grey, each next farthest from those before it."""
    chosen = [int(((points - [50, 0, 0]) ** 2).sum(axis=1).argmin())]
    near = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < count:
        chosen.append(int(near.argmax()))
        near = np.minimum(near, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]
