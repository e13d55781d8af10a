"""Paint: distance fields, materials, textures, walls. Analytic antialiasing, all frames at once.

Legend: T frames, S pixels (pictures are square), P pixels of a patch. Pictures are float32 RGB in
[0, 1], planes first, (T, 3, S, S), until ``develop``. A distance is negative inside, in units of the body's radius.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.datasets.world.model import Body, Take
from quiver.types import Floats

#: Takes offsets from the middle, (T, 1, P) and (T, P, 1) in pixels, and gives colour and opacity.
Shader = Callable[[Floats, Floats], tuple[Floats, Floats]]


def backdrop(take: Take, sway: Floats, size: int) -> Floats:
    """Paint wall and floor, shaded by a soft pattern that moves with the camera; sway is (T, 2)."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = line[None] - sway[:, :1], line[None] - sway[:, 1:]
    low = np.clip((y - take.horizon) * size + 0.5, 0, 1)[:, None]
    depth = 1 - 0.25 * (y - 0.5)[:, None] * (1 - low)
    wall, floor = (np.array(colour, np.float32)[:, None] for colour in (take.wall, take.floor))
    column = (1 - low) * wall * depth + low * floor
    fx, fy, px, py, strength = take.ripple
    pattern = 1 + strength * (np.sin(fx * x + px)[:, None, :] * np.sin(fy * y + py)[:, :, None])
    return column[..., None].astype(np.float32) * pattern[:, None].astype(np.float32)


def shaken(take: Take, t: Floats) -> Floats:
    """Return camera offsets (T, 2) at moments t: a fixed shift and the sway of a hand."""
    phase = take.ripple[2]
    wave = np.stack([np.sin(4.1 * t + phase), np.cos(5.3 * t + 2 * phase)], axis=1)
    return (np.array(take.shift) + take.sway * wave).astype(np.float32)


def stamp(canvas: Floats, middle: Floats, reach: tuple[float, float], shade: Shader) -> None:
    """Lay a patch over the canvas, in place.

    Args:
        canvas: (T, 3, S, S).
        middle: (T, 2) x and y in pixels.
        reach: half the width and height of the patch, in pixels.
        shade: what to paint.
    """
    size, side = canvas.shape[2], 2 * np.ceil(np.array(reach)).astype(np.int64) + 2
    corner = np.floor(middle - side / 2).astype(np.int64)
    start = (corner - middle + 0.5).astype(np.float32)
    x, y = (start[:, i, None] + np.arange(side[i], dtype=np.float32) for i in (0, 1))
    colour, alpha = shade(x[:, None, :], y[:, :, None])
    low, high = np.clip(-corner, 0, side), np.clip(size - corner, 0, side)
    for frame, (x, y) in enumerate(corner):
        (x0, y0), (x1, y1) = low[frame], high[frame]
        if x0 >= x1 or y0 >= y1:
            continue
        region = canvas[frame, :, y + y0 : y + y1, x + x0 : x + x1]
        paint = colour[:, None, None] if colour.ndim == 1 else colour[frame, :, y0:y1, x0:x1]
        region += (paint - region) * alpha[frame, y0:y1, x0:x1]


def develop(canvas: Floats, take: Take, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn a canvas into uint8 (T, S, S, 3): light, tint, vignette and grain. Takes the canvas over."""
    size = canvas.shape[2]
    line = np.linspace(-1, 1, size, dtype=np.float32)
    light = take.gain * (1 - 0.08 * (line[:, None] ** 2 + line[None, :] ** 2) * (take.sway > 0))
    canvas *= (255 * light * np.array(take.tint)[:, None, None]).astype(np.float32)
    if take.grain:
        noise = np.frombuffer(rng.bytes(canvas.size), np.int8).reshape(canvas.shape)
        canvas += noise * np.float32(2 * take.grain)
    canvas += np.float32(0.5)
    planes = np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)
    picture = np.empty((*planes.shape[:1], size, size, 3), np.uint8)
    for channel in range(3):  # three strided copies are faster than one transposition
        picture[..., channel] = planes[:, channel]
    return picture


def _ball(u: Floats, v: Floats) -> Floats:
    return np.sqrt(u * u + v * v) - 1


def _cube(u: Floats, v: Floats) -> Floats:
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.86)


def _pyramid(u: Floats, v: Floats) -> Floats:
    return np.maximum(v, 0.866 * np.abs(u) - 0.5 * v) - np.float32(0.60)


def _hexagon(u: Floats, v: Floats) -> Floats:
    across, down = np.abs(u), np.abs(v)
    return np.maximum(down, 0.866 * across + 0.5 * down) - np.float32(0.90)


def _star(u: Floats, v: Floats) -> Floats:
    # A pentagram lies inside at least four of the five lines that bound it: take the second largest.
    first = second = np.float32(-9.0) + 0 * (u + v)
    for k in range(5):
        line = u * np.float32(np.sin(1.2566 * k)) - v * np.float32(np.cos(1.2566 * k))
        second = np.maximum(second, np.minimum(first, line))
        first = np.maximum(first, line)
    return second - np.float32(0.40)


def _ring(u: Floats, v: Floats) -> Floats:
    return np.abs(np.sqrt(u * u + v * v) - np.float32(0.72)) - np.float32(0.30)


def _cross(u: Floats, v: Floats) -> Floats:
    across, down = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(across - 1, down - 0.36), np.maximum(across - 0.36, down - 1))


def _heart(u: Floats, v: Floats) -> Floats:
    across = np.abs(u)
    lobe = np.sqrt((across - 0.46) ** 2 + (v + 0.36) ** 2) - np.float32(0.62)
    return np.minimum(lobe, (across + np.abs(v - 0.10) - np.float32(0.98)) * np.float32(0.707))


DISTANCES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "ball": _ball,
    "cube": _cube,
    "pyramid": _pyramid,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
    "heart": _heart,
    "hexagon": _hexagon,
}
#: Where the mark of a body is (it shows rotation even on a plain ball), in radii.
MARKS = {"ring": (0.0, -0.72), "heart": (-0.45, -0.35), "pyramid": (0.0, -0.45)}


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """A body in T frames: its radius in pixels, rotation and squash, each (T,), and the lamp's direction."""

    body: Body
    radius: Floats
    turn: Floats
    press: Floats
    lamp: tuple[float, float]


def body_shader(posed: Posed) -> Shader:
    """Return the shader of a body."""
    radius = posed.radius[:, None, None].astype(np.float32)
    turn = posed.turn[:, None, None].astype(np.float32)
    press = posed.press[:, None, None].astype(np.float32)
    tall, wide = np.reciprocal(radius * press), press * np.reciprocal(radius)  # what is squashed spreads
    cos, sin = (f(turn).astype(np.float32) for f in (np.cos, np.sin))

    def shade(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        x, y = x * wide, y * tall
        u, v = cos * x + sin * y, cos * y - sin * x
        depth = DISTANCES[posed.body.shape](u, v)
        if posed.body.material == "jelly":
            depth = depth + 0.07 * np.sin(7 * u) * np.sin(7 * v)
        cover = np.clip(0.5 - depth * radius, 0, 1)
        colour = _textured(posed.body, u, v, radius)
        light, shine, solid = MATERIAL[posed.body.material](x, y, u, v, depth, posed.lamp)
        rim = np.clip((depth + 0.10) * radius * 0.6 + 0.5, 0, 1)  # a thin dark outline, whatever the material
        painted = colour * (light * (1 - 0.45 * rim))[:, None] + shine[:, None]
        return painted, cover * solid

    return shade


def _textured(body: Body, u: Floats, v: Floats, radius: Floats) -> Floats:
    """Return the colour of every pixel (T, 3, P, P): the body's own, its second tone where its texture says so."""
    base = np.array(body.rgb, np.float32)
    if body.material == "wood":
        base = np.float32(0.78) * base + np.array((0.132, 0.088, 0.044), np.float32)
    bright = float(base @ np.array((0.3, 0.6, 0.1)))
    tone = _second_tone(body.colour, base, bright)
    at = MARKS.get(body.shape, (0.0, -0.5))
    mark = np.clip((0.17 - np.hypot(u - at[0], v - at[1])) * radius + 0.5, 0, 1)
    share = np.clip(0.5 + radius * _wave(body.texture, u, v), 0, 1) if body.texture != "plain" else 0 * mark
    mixed = base[:, None, None] + share[:, None] * (tone - base)[:, None, None]
    return mixed + mark[:, None] * (np.float32(0.06 if bright > 0.35 else 0.94) - mixed)


def _second_tone(colour: str, base: Floats, bright: float) -> Floats:
    if colour in ("white", "black"):  # a black body with white stripes would be a white one with black stripes
        return base * 0.62 if colour == "white" else base * 0.4 + 0.36
    return base * 0.30 if bright > 0.62 else base * 0.30 + 0.66


def _wave(texture: str, u: Floats, v: Floats) -> Floats:
    if texture == "striped":
        return np.sin(8.2 * u) / 8.2 - 0.01
    if texture == "spotted":
        return (np.cos(7.6 * u) * np.cos(7.6 * v) - 0.28) / 7.6
    return np.sin(6.6 * u) * np.sin(6.6 * v) / 6.6


Light = tuple[Floats, Floats, Floats]


def _spot(x: Floats, y: Floats, lamp: tuple[float, float], width: float) -> Floats:
    return np.exp(-((x - 0.42 * lamp[0]) ** 2 + (y - 0.42 * lamp[1]) ** 2) / np.float32(width))


def _facing(x: Floats, y: Floats, lamp: tuple[float, float]) -> Floats:
    return x * np.float32(lamp[0]) + y * np.float32(lamp[1])


def _metal(x: Floats, y: Floats, u: Floats, v: Floats, depth: Floats, lamp: tuple[float, float]) -> Light:
    facing = _facing(x, y, lamp)
    light = 0.70 + 0.30 * facing + 0.34 * np.sin(5.5 * facing + 0.8)
    return light, 0.95 * _spot(x, y, lamp, 0.05) + 0.10, np.ones_like(depth)


def _wood(x: Floats, y: Floats, u: Floats, v: Floats, depth: Floats, lamp: tuple[float, float]) -> Light:
    rings = np.sin(17 * v + 2.2 * np.sin(2.6 * u))
    light = (0.86 + 0.16 * _facing(x, y, lamp)) * (1 - 0.30 * np.clip(rings, 0, 1))
    return light, 0 * depth, np.ones_like(depth)


def _glass(x: Floats, y: Floats, u: Floats, v: Floats, depth: Floats, lamp: tuple[float, float]) -> Light:
    edge = np.square(np.clip(1 + 2.5 * depth, 0, 1))
    shine = _spot(x, y, lamp, 0.035) * np.float32(0.9) + _spot(-x, -y, lamp, 0.12) * np.float32(0.25) + np.float32(0.12)
    return 1 - 0.25 * edge, shine, np.clip(0.30 + 0.65 * edge + shine * 0.6, 0, 1)


def _rubber(x: Floats, y: Floats, u: Floats, v: Floats, depth: Floats, lamp: tuple[float, float]) -> Light:
    edge = np.clip(1 + depth / 0.5, 0, 1)
    return (0.90 + 0.14 * _facing(x, y, lamp)) * (1 - 0.25 * edge), 0 * depth, np.ones_like(depth)


def _jelly(x: Floats, y: Floats, u: Floats, v: Floats, depth: Floats, lamp: tuple[float, float]) -> Light:
    glow = np.clip(-_facing(x, y, lamp), 0, 1)  # light gathers on the far side
    bubbles = np.clip(np.cos(9 * u + 1.3) * np.cos(9 * v + 0.4) - 0.80, 0, 1) * 2
    light = 0.80 + 0.55 * glow
    return light, bubbles + 0.45 * _spot(x, y, lamp, 0.10), np.full_like(depth, 0.80)


MATERIAL: dict[str, Callable[[Floats, Floats, Floats, Floats, Floats, tuple[float, float]], Light]] = {
    "metal": _metal,
    "wood": _wood,
    "glass": _glass,
    "rubber": _rubber,
    "jelly": _jelly,
}


def shadow_shader(radius: Floats, strength: Floats) -> Shader:
    """Return a soft ellipse: radius (T,) in pixels, strength (T,) in [0, 1]."""

    def shade(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        wide = radius[:, None, None]
        fall = np.clip(1 - (x / wide) ** 2 - (y / (0.30 * wide)) ** 2, 0, 1)
        return np.zeros(3, np.float32), strength[:, None, None] * fall

    return shade
