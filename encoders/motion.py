"""Motion of a clip, without weights: what moves where to, turns, grows, and how often; nothing of how it looks.

``motion`` or ``motion frames=32``. Beside an encoder of frames, as in ``timm model=resnet50 + motion``, it tells clips
apart whose single frames are alike. It embeds videos alone: a still has no motion.

Optical flow of cells by least squares (Lucas and Kanade, IJCAI 1981) on two scales, counted by direction (histograms of
flow: Laptev et al., CVPR 2008), with growth and turns about its centre, the path of its mean, and the spectrum of the
change of frames. Histograms are square roots of shares, so that a dot product is a Hellinger kernel.

Shapes: n clips, T frames, S side in pixels, G cells along a side, K directions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.encoders import _fingerprint
from quiver.encoders._tower import Tower, Towers
from quiver.errors import BadSpec
from quiver.media import ImageReader, VideoReader
from quiver.protocols import Encoder
from quiver.types import Floats, Space

SIDE = 64  # pixels; what the reader gives
SCALES, CELL = (16, 32), 4  # pixels of the two scales, and of a cell
DIRECTIONS, LAGS, TONES = 8, 4, 8
DIM = len(SCALES) * (5 * DIRECTIONS + 1 + 6 + LAGS + 5) + TONES + 1
#: Flow, in pixels of its scale per frame, below which a cell counts as being at rest.
_NOISE = 0.05
#: Regularises the flow of flat cells; squares of differences of square-rooted luma, summed over a cell.
_FLAT = 2e-3


def load(*, frames: int = 16) -> Encoder:
    """Load the descriptor; there are no weights.

    Args:
        frames: frames taken evenly from a clip.

    Raises:
        BadSpec: there are fewer than 2 frames.
    """
    if frames < 2:
        raise BadSpec(f"motion: frames must be at least 2, not {frames}: one frame does not move")
    reader = VideoReader(frames=frames, image=ImageReader(SIDE, fit="squash", resample="bilinear"))
    revision = _fingerprint.of_parts("motion 1", f"{frames} frames")
    return Towers(Space("motion", DIM, "cosine", revision), {"video": Tower(reader, describe)})


def describe(clips: Sequence[NDArray[np.uint8]]) -> Floats:
    """Describe clips.

    Args:
        clips: n arrays (T, S, S, 3) uint8 RGB, T at least 1; a clip of one frame is at rest.

    Returns:
        (n, DIM) float32, of any length above 0.
    """
    return np.stack([_describe(clip) for clip in clips]) if len(clips) else np.empty((0, DIM), np.float32)


def _describe(clip_TSS3: NDArray[np.uint8]) -> Floats:
    luma = np.sqrt(clip_TSS3 @ np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255))
    if len(luma) < 2:
        luma = np.repeat(luma, 2, axis=0)
    parts = [part for side in SCALES for part in _of_flow(flow(_shrunk(luma, side)))]
    return np.concatenate([*parts, _spectrum(luma)]).astype(np.float32)


def flow(luma_TSS: NDArray[Any]) -> NDArray[Any]:
    """Return the optical flow of cells, across and down: (T - 1, G, G, 2) pixels per frame."""
    change, middle = luma_TSS[1:] - luma_TSS[:-1], np.float32(0.5) * (luma_TSS[1:] + luma_TSS[:-1])
    across, down = np.zeros_like(middle), np.zeros_like(middle)
    across[:, :, 1:-1] = np.float32(0.5) * (middle[:, :, 2:] - middle[:, :, :-2])
    down[:, 1:-1] = np.float32(0.5) * (middle[:, 2:] - middle[:, :-2])
    xx, yy, xy = (_cells(product) for product in (across * across, down * down, across * down))
    xt, yt = _cells(across * change), _cells(down * change)
    xx, yy = xx + _FLAT, yy + _FLAT
    determinant = xx * yy - xy**2
    return np.stack([xy * yt - yy * xt, xy * xt - xx * yt], axis=-1) / determinant[..., None]


def _shrunk(luma_TSS: NDArray[Any], side: int) -> NDArray[Any]:
    times, size = luma_TSS.shape[:2]
    return luma_TSS.reshape(times, side, size // side, side, size // side).mean(axis=(2, 4))


def _cells(values_TSS: NDArray[Any]) -> NDArray[Any]:
    times, side = values_TSS.shape[:2]
    return values_TSS.reshape(times, side // CELL, CELL, side // CELL, CELL).sum(axis=(2, 4))


def _of_flow(flow_TGG2: Floats) -> list[Floats]:
    """Return directions, deformation, persistence and path of a flow."""
    return [_directions(flow_TGG2), _deformation(flow_TGG2), _persistence(flow_TGG2), _path(flow_TGG2)]


def _directions(flow_TGG2: Floats) -> Floats:
    """Count flow by direction, in the whole and in four quarters: (5 K + 1,), the last entry is rest."""
    half = flow_TGG2.shape[1] // 2
    speed = np.linalg.norm(flow_TGG2, axis=-1) + np.float32(1e-9)
    counts = np.empty((*speed.shape, DIRECTIONS), np.float32)
    for k, angle in enumerate(2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS):
        along = np.maximum(flow_TGG2 @ np.array([np.cos(angle), np.sin(angle)], np.float32), 0)
        counts[..., k] = along**3 / speed**2  # a soft bin, as in ``classic``
    total = counts.mean(axis=0)
    quarters = [total[a : a + half, b : b + half].mean(axis=(0, 1)) for a in (0, half) for b in (0, half)]
    bins = np.concatenate([total.mean(axis=(0, 1)), *(quarter / 4 for quarter in quarters)])
    return np.sqrt(np.append(bins, _NOISE) / (bins.sum() + _NOISE))


def _deformation(flow_TGG2: Floats) -> Floats:
    """Return how much flow grows, shrinks and turns either way about its centre, and the rest: (6,) roots of shares."""
    middles = np.arange(flow_TGG2.shape[1], dtype=np.float32) + 0.5
    place = np.stack(np.meshgrid(middles, middles), axis=-1)
    speed = np.linalg.norm(flow_TGG2, axis=-1, keepdims=True) + np.float32(1e-9)
    centre = (speed * place).sum(axis=(1, 2), keepdims=True) / speed.sum(axis=(1, 2), keepdims=True)
    arm = place - centre
    out = (flow_TGG2 * arm).sum(axis=(1, 2, 3))
    around = (arm[..., 0] * flow_TGG2[..., 1] - arm[..., 1] * flow_TGG2[..., 0]).sum(axis=(1, 2))
    whole = (speed[..., 0] * np.linalg.norm(arm, axis=-1)).sum(axis=(1, 2))
    rest = np.maximum(whole - np.abs(out) - np.abs(around), 0)
    kinds = [np.maximum(out, 0), np.maximum(-out, 0), np.maximum(around, 0), np.maximum(-around, 0), rest]
    means = np.array([*(kind.mean() for kind in kinds), _NOISE * flow_TGG2.shape[1] ** 2])
    return np.sqrt(means / means.sum())


def _persistence(flow_TGG2: Floats) -> Floats:
    """Return how much flow is like that of 1 to LAGS frames before: (LAGS,) from -1 to 1."""
    energy = np.square(flow_TGG2).sum() + _NOISE
    later = range(1, 1 + LAGS)
    return np.array(
        [(flow_TGG2[lag:] * flow_TGG2[:-lag]).sum() / energy if lag < len(flow_TGG2) else 0 for lag in later]
    )


def _path(flow_TGG2: Floats) -> Floats:
    """Return shares of the mean flow across, down, along both diagonals, and how much it turns: (5,)."""
    mean = flow_TGG2.mean(axis=(1, 2))
    energy = np.square(mean).sum() + _NOISE**2
    x, y = mean.T
    turning = np.abs((x[1:] * y[:-1] - y[1:] * x[:-1]).sum()) if len(mean) > 1 else 0.0
    return np.array([(x**2).sum(), (y**2).sum(), (x * y).sum(), -(x * y).sum(), turning]) / energy


def _spectrum(luma_TSS: Floats) -> Floats:
    """Return how often the frames' change swells, and its level: (TONES + 1,)."""
    level = np.abs(np.diff(luma_TSS, axis=0)).mean(axis=(1, 2))
    tones = np.abs(np.fft.rfft(level - level.mean(), n=2 * TONES))[1 : TONES + 1]
    whole = level.sum() + 1e-3
    return np.append(tones / whole, np.sqrt(whole / len(level)))
