"""Augmentation of training clips: crop, scale, mirror, colour; gain and noise of the sound.

Alayrac et al. 2020, arXiv:2006.16228, name random crop, horizontal flip, temporal sampling, scale jitter and colour
jitter; the numbers are the defaults of google-deepmind/dmvr (processors.py, modalities.py), Apache-2.0, which their
colour jitter is said to follow.
Deviates: a scaled crop never reaches beyond the picture (theirs may be padded); hue and saturation turn and stretch
the colour plane of YIQ where theirs are those of HSV, so that all of a clip's colour is one 3x3 matrix; gain and noise
are ours and off unless asked for.
Each clip draws once for all of its frames. Everything drawn comes from the generator given.
Shapes: B clips, T frames, S side stored, H = W side cropped, L samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn.functional import grid_sample

from quiver.errors import BadSpec
from quiver.types import Floats

#: Rows Y, I, Q of RGB.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_RGB = np.linalg.inv(_YIQ)
#: What ``draw`` returns, by name in a batch.
DRAWN = ("boxes", "colours", "offsets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Jitter:
    """Strengths of the augmentations.

    Attributes:
        flip: how often a clip is mirrored.
        scale: width and height are each multiplied by 1 - scale to 1 + scale.
        colour: 1 is brightness by up to 32/255, contrast and saturation by 0.6 to 1.4; 0 leaves colours alone.
        hue: turns colours by up to this share of the circle.
        often: how often a clip's scale, and how often its colours, are changed at all.
        gain: of the sound, up to so many decibels up or down.
        noise: standard deviation of noise added to the sound, drawn from 0 to this.

    Raises:
        BadSpec: a number is out of range.
    """

    flip: float = 0.5
    scale: float = 0.2
    colour: float = 1.0
    hue: float = 0.2
    often: float = 0.8
    gain: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        most = {"flip": 1, "scale": 0.9, "colour": 2, "hue": 0.5, "often": 1, "gain": 60, "noise": 1}
        for name, limit in most.items():
            if not 0 <= getattr(self, name) <= limit:
                raise BadSpec(f"{name} must be from 0 to {limit}, not {getattr(self, name)}")


def change_video(video_BTSS3: Tensor, size: int, *, jitter: Jitter, rng: Generator) -> Tensor:
    """Crop, scale, mirror and colour clips, each in its own way.

    Args:
        video_BTSS3: (B, T, S, S, 3) uint8.
        size: side of the crop in pixels, at most S.
        jitter: how much.
        rng: what is drawn from.

    Returns:
        (B, T, size, size, 3) float32 from 0 to 1.
    """
    drawn = draw(len(video_BTSS3), video_BTSS3.shape[2], size, jitter=jitter, rng=rng)
    return apply(video_BTSS3, drawn, size)


def draw(count: int, side: int, size: int, *, jitter: Jitter, rng: Generator) -> dict[str, Tensor]:
    """Draw how clips are changed, for ``apply``, which may do so elsewhere.

    Args:
        count: B.
        side: of the clips, S in pixels.
        size: of the crop.
        jitter: how much.
        rng: what is drawn from.

    Returns:
        ``boxes`` (B, 4), and where colours change ``colours`` (B, 3, 3) and ``offsets`` (B, 3), float32.
    """
    drawn = {"boxes": torch.from_numpy(draw_boxes(count, side, size, jitter=jitter, rng=rng))}
    if jitter.colour or jitter.hue:
        colours = draw_colours(count, jitter=jitter, rng=rng)
        drawn |= {name: torch.from_numpy(each) for name, each in zip(DRAWN[1:], colours, strict=True)}
    return drawn


def apply(video_BTSS3: Tensor, drawn: Mapping[str, Tensor], size: int) -> Tensor:
    """Change clips as ``draw`` says, on their device: (B, T, size, size, 3) float32 from 0 to 1."""
    cropped = crop(video_BTSS3, drawn["boxes"].cpu().numpy(), size)
    if "colours" not in drawn:
        return cropped
    return _recolour(cropped, drawn["colours"].to(cropped.device), drawn["offsets"].to(cropped.device))


def draw_boxes(count: int, side: int, size: int, *, jitter: Jitter, rng: Generator) -> Floats:
    """Draw random crops: (B, 4) left, top, width, height in stored pixels; a mirrored box has a negative width.

    Where scale never changes these are whole numbers: then nothing is resampled.
    """
    changed = rng.random((count, 1)) < jitter.often
    factors_B2 = np.where(changed, rng.uniform(1 - jitter.scale, 1 + jitter.scale, (count, 2)), 1.0)
    sides_B2 = np.minimum(size / factors_B2, side)
    drawn_B2 = rng.random((count, 2))
    corners_B2 = drawn_B2 * (side - sides_B2) if jitter.scale else np.floor(drawn_B2 * (side - size + 1))
    mirrored = rng.random(count) < jitter.flip
    corners_B2[:, 0] += np.where(mirrored, sides_B2[:, 0], 0)
    sides_B2[:, 0] *= np.where(mirrored, -1, 1)
    return np.concatenate([corners_B2, sides_B2], axis=1).astype(np.float32)


def crop(video_BTSS3: Tensor, boxes_B4: Floats, size: int) -> Tensor:
    """Cut a box out of each clip and resize it bilinearly to (B, T, size, size, 3) float32 from 0 to 1."""
    count, frames, side = video_BTSS3.shape[:3]
    if (np.abs(boxes_B4[:, 2:]) == size).all() and (boxes_B4 == np.rint(boxes_B4)).all():
        return _cut(video_BTSS3, boxes_B4, size)
    boxes = torch.from_numpy(boxes_B4).to(video_BTSS3.device)
    centres = (torch.arange(size, dtype=torch.float32, device=boxes.device) + 0.5) / size
    x_BS, y_BS = ((boxes[:, axis, None] + boxes[:, axis + 2, None] * centres) / side * 2 - 1 for axis in (0, 1))
    grid = torch.stack([x_BS[:, None, :].expand(-1, size, -1), y_BS[:, :, None].expand(-1, -1, size)], dim=-1)
    # All frames of a clip are cut alike, so that they may be channels of one picture.
    planes = video_BTSS3.permute(0, 1, 4, 2, 3).reshape(count, frames * 3, side, side).float().div_(255)
    cut = grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return cut.view(count, frames, 3, size, size).permute(0, 1, 3, 4, 2).contiguous()


def _cut(video_BTSS3: Tensor, boxes_B4: Floats, size: int) -> Tensor:
    """Crop whole pixels, which are not resized.

    On a CPU in one thread, with numpy: next to a model that learns on the same cores, torch's threads would wait for
    its.
    """
    boxes = boxes_B4.astype(int).tolist()
    if video_BTSS3.device.type != "cpu":
        cut = [_box(clip, box, size) for clip, box in zip(video_BTSS3, boxes, strict=True)]
        return torch.stack(cut).float().div_(255)
    cut_BTHW3 = np.empty((*video_BTSS3.shape[:2], size, size, 3), np.float32)
    for place, clip_TSS3, (left, top, width, _) in zip(cut_BTHW3, video_BTSS3.numpy(), boxes, strict=True):
        first = min(left, left + width)
        box_THW3 = clip_TSS3[:, top : top + size, first : first + size]
        np.multiply(box_THW3[:, :, ::-1] if width < 0 else box_THW3, np.float32(1 / 255), out=place)
    return torch.from_numpy(cut_BTHW3)


def _box(clip_TSS3: Tensor, box: Sequence[int], size: int) -> Tensor:
    left, top, width, _ = box
    first = min(left, left + width)
    cut = clip_TSS3[:, top : top + size, first : first + size]
    return cut.flip(2) if width < 0 else cut


def centre(video_BTSS3: Tensor, size: int) -> Tensor:
    """Crop the middle: (B, T, S, S, 3) uint8 to (B, T, size, size, 3) float32 from 0 to 1."""
    first = (video_BTSS3.shape[2] - size) // 2
    return video_BTSS3[:, :, first : first + size, first : first + size].float().div_(255)


def draw_colours(count: int, *, jitter: Jitter, rng: Generator) -> tuple[Floats, Floats]:
    """Draw changes of colour: (B, 3, 3) and (B, 3), so that x becomes matrix (x - mean) + mean + offset."""
    changed = rng.random(count) < jitter.often
    bright = rng.uniform(-1, 1, count) * jitter.colour * 32 / 255
    contrast, saturation = 1 + rng.uniform(-0.4, 0.4, (2, count)) * jitter.colour
    angle = rng.uniform(-1, 1, count) * jitter.hue * 2 * math.pi
    turn_B33 = np.zeros((count, 3, 3))
    turn_B33[:, 0, 0] = 1
    turn_B33[:, 1, 1] = turn_B33[:, 2, 2] = saturation * np.cos(angle)
    turn_B33[:, 2, 1] = saturation * np.sin(angle)
    turn_B33[:, 1, 2] = -turn_B33[:, 2, 1]
    matrix_B33 = contrast[:, None, None] * (_RGB @ turn_B33 @ _YIQ)
    matrix_B33[~changed] = np.eye(3)
    offset_B3 = np.where(changed, bright, 0)[:, None] * np.ones(3)
    return matrix_B33.astype(np.float32), offset_B3.astype(np.float32)


def _recolour(video_BTHW3: Tensor, matrix: Tensor, offset_B3: Tensor) -> Tensor:
    """Contrast stretches about the mean grey of a clip; hue and saturation leave grey as it is."""
    grey_B3 = video_BTHW3.mean(dim=(1, 2, 3, 4))[:, None].expand(-1, 3)
    shift_B3 = grey_B3 - torch.einsum("brc,bc->br", matrix, grey_B3) + offset_B3
    pixels = video_BTHW3.flatten(1, 3)
    changed = torch.baddbmm(shift_B3[:, None], pixels, matrix.transpose(1, 2))
    return changed.clamp_(0, 1).view(video_BTHW3.shape)


def change_audio(audio_BL: Tensor, *, jitter: Jitter, rng: Generator) -> Tensor:
    """Change loudness and add noise: (B, L) float32 in [-1, 1] to the same."""
    count = len(audio_BL)
    gain_B = 10 ** (rng.uniform(-jitter.gain, jitter.gain, count) / 20)
    level_B = rng.random(count) * jitter.noise
    changed = audio_BL * torch.from_numpy(gain_B.astype(np.float32))[:, None]
    if jitter.noise:
        noise = rng.standard_normal(audio_BL.shape, dtype=np.float32)
        changed = changed + torch.from_numpy(noise * level_B[:, None].astype(np.float32))
    return changed.clamp(-1, 1)
