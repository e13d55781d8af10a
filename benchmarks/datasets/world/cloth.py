"""Cloth: garments laid flat and photographed from above. Painted at three times the size, then averaged.

Garment coordinates: u to the right and v down, both about -1 to 1; masks are bool, M = 3 S pixels a side.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.datasets.world.garment import DYES, Cut
from quiver.types import Floats

Mask = NDArray[np.bool_]
OVER = 3  # supersampling


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Garment coordinates of every pixel, both (M, M); side is abs(u), since garments are symmetric."""

    u: Floats
    v: Floats
    side: Floats


def garment(cut: Cut, size: int, *, nuisance: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render a garment as uint8 (S, S, 3): dye and cut are the matter, all else comes from rng."""
    view = (rng.uniform(-1, 1, 8) * nuisance).astype(np.float32)
    grid = _grid(view, size)
    body, inside = SILHOUETTES[cut.type](grid, cut)
    light = _folds(grid, rng, nuisance)
    cloth = _dyed(cut, grid, rng)
    cloth = np.where(_trim(grid, cut, body)[..., None], 0.35 * cloth + 0.65 * _trim_colour(cut), cloth)
    shadow = np.roll(body | inside, (2 * OVER, OVER), axis=(0, 1))
    picture = _ground(grid, rng, size) * (1 - 0.35 * shadow[..., None])
    picture = np.where(inside[..., None], 0.35 * cloth, picture)
    picture = np.where(body[..., None], cloth * light[..., None] * _edges(body), picture)
    small = picture.reshape(size, OVER, size, OVER, 3).mean(axis=(1, 3))
    small = small * (1 + 0.15 * view[4]) * (1 + 0.04 * view[5:8])
    noise = np.frombuffer(rng.bytes(small.size), np.int8).reshape(small.shape)
    return np.clip(255 * small + 0.05 * nuisance * noise + 0.5, 0, 255).astype(np.uint8)


def _grid(view: Floats, size: int) -> Grid:
    line = (np.arange(size * OVER, dtype=np.float32) + 0.5) / (size * OVER) * 2 - 1
    x, y = line[None, :] - 0.07 * view[0], line[:, None] - 0.05 * view[1]
    turn, scale = 0.22 * view[2], 1.12 + 0.11 * view[3]
    u, v = (np.cos(turn) * x + np.sin(turn) * y) * scale, (np.cos(turn) * y - np.sin(turn) * x) * scale
    return Grid(u.astype(np.float32), v.astype(np.float32), np.abs(u).astype(np.float32))


def _ground(grid: Grid, rng: np.random.Generator, size: int) -> Floats:
    """Return what the garment lies on: plain, or boards, (M, M, 3)."""
    level, chroma = rng.uniform(0.45, 0.98), rng.uniform(-0.07, 0.07, 3)
    boards = 1 - 0.10 * (np.sin(grid.v * rng.uniform(8, 16) + 3) > 0.9) * (rng.random() < 0.35)
    slope = 1 + rng.uniform(-0.12, 0.12) * grid.u + rng.uniform(-0.12, 0.12) * grid.v
    return ((boards * slope)[..., None] * np.clip(level + chroma, 0, 1)).astype(np.float32)


def _folds(grid: Grid, rng: np.random.Generator, nuisance: float) -> Floats:
    """Return the light on a creased cloth, (M, M), about 1."""
    light = 1 - 0.10 * grid.u
    for _ in range(3):
        angle, wave, phase = rng.uniform(-0.9, 0.9), rng.uniform(4, 11), rng.uniform(0, 6.28)
        crease = np.sin(wave * (grid.u * np.cos(angle) + grid.v * np.sin(angle)) + phase + np.sin(3 * grid.v))
        light = light + 0.05 * nuisance * crease
    return light.astype(np.float32)


def _edges(body: Mask) -> Floats:
    """Return a factor (M, M, 1) that darkens the seam along the outline."""
    inner = body.copy()
    for axis in (0, 1):
        for step in (-OVER, OVER):
            inner &= np.roll(body, step, axis=axis)
    return np.where(inner, 1.0, 0.62).astype(np.float32)[..., None]


def _dyed(cut: Cut, grid: Grid, rng: np.random.Generator) -> Floats:
    """Return the patterned cloth (M, M, 3) before light."""
    base = np.clip(np.array(DYES[cut.colour]) * rng.uniform(0.9, 1.08) + rng.uniform(-0.03, 0.03, 3), 0, 1)
    second = base * 0.45 if base.mean() > 0.5 else base * 0.35 + 0.6
    fine = float(rng.uniform(0.85, 1.2))
    return np.where(PATTERNED[cut.pattern](grid.u * fine, grid.v * fine)[..., None], second, base).astype(np.float32)


PATTERNED: dict[str, Callable[[Floats, Floats], Mask]] = {
    "plain": lambda u, v: np.zeros(np.broadcast(u, v).shape, bool),
    "striped": lambda u, v: np.sin(24 * v) > 0.25,
    "pinstriped": lambda u, v: np.sin(34 * u) > 0.72,
    "dotted": lambda u, v: np.cos(20 * u) * np.cos(20 * v) > 0.48,
    "checked": lambda u, v: (np.sin(17 * u) > 0.1) != (np.sin(17 * v) > 0.1),
    "zigzag": lambda u, v: np.sin(22 * v + 4.2 * np.arcsin(np.sin(11 * u))) > 0.2,
}


def _trim_colour(cut: Cut) -> Floats:
    dark = sum(DYES[cut.colour]) < 1.2
    return np.array((0.95, 0.93, 0.85) if dark else (0.14, 0.11, 0.10), np.float32)


WAIST = {
    "skirt": -0.52,
    "trousers": -0.82,
    "shirt": 0.06,
    "hoodie": 0.10,
    "jacket": 0.06,
    "dress": -0.12,
    "jumpsuit": -0.2,
}


def _trim(grid: Grid, cut: Cut, body: Mask) -> Mask:
    """Return where buttons, pockets or a belt are, and the seams a type always has."""
    v, side = grid.v, grid.side
    waist, low = WAIST[cut.type], cut.type in ("skirt", "trousers")
    if cut.detail == "belt":
        extra = np.abs(v - waist) < 0.055
    elif cut.detail == "buttons":
        extra = (side < 0.05) & (np.abs(((v * 5.5) % 1) - 0.5) < 0.24)
        extra &= (v > waist) & (v < waist + 0.5) if low else v > -0.5
    elif cut.detail == "pockets":
        x, y = side - (0.17 if low else 0.24), v - waist - (0.24 if low else -0.22)
        frame = np.maximum(np.abs(x) / 0.11, np.abs(y) / 0.12)
        extra = (frame < 1) & (frame > 0.68)
    else:
        extra = np.zeros_like(body)
    if cut.type == "jacket":
        extra |= (side < 0.018) & (v > -0.35)
        extra |= np.abs(side - 0.5 * (-0.35 - v)) < 0.022
    if cut.type == "hoodie":
        extra |= (np.abs(side - 0.05) < 0.018) & (v > -0.58) & (v < -0.3)
    return extra & body


def _torso(grid: Grid, cut: Cut, hem: float) -> Mask:
    half = 0.38 if cut.fit == "slim" else 0.48
    chest = half + 0.03 * np.cos(5 * grid.v)
    shoulder = -0.74 + 0.28 * np.clip(grid.side - 0.16, 0, 1)
    return (grid.v > shoulder) & (grid.v < hem) & (grid.side < chest)


def _sleeves(grid: Grid, cut: Cut) -> Mask:
    """Return both arms; the arm hole of a sleeveless cut stays as it is."""
    if cut.sleeve not in ("short", "long"):
        return np.zeros(grid.v.shape, bool)
    length, wide = (0.42, 0.17) if cut.sleeve == "short" else (1.02, 0.155)
    wide += 0.03 * (cut.fit == "loose")
    lean = 0.62 if cut.sleeve == "short" else 0.42
    x, y = grid.side - 0.30, grid.v + 0.56
    along, across = x * np.sin(lean) + y * np.cos(lean), x * np.cos(lean) - y * np.sin(lean)
    return (along > -0.06) & (along < length) & (np.abs(across) < wide - 0.05 * along)


def _neck(grid: Grid, cut: Cut, body: Mask) -> tuple[Mask, Mask]:
    """Cut the neckline out: return the garment and the inside of its back that shows through."""
    side, down = grid.side, grid.v + 0.76
    if cut.neck == "high":
        return body | ((side < 0.17) & (down > -0.16) & (down < 0.1)), np.zeros_like(body)
    hole = {
        "v": side < 0.24 * (1 - down / 0.52),
        "square": (side < 0.23) & (down < 0.27),
    }.get(cut.neck, (side / 0.21) ** 2 + (down / 0.22) ** 2 < 1)
    inside = hole & (down > 0.055) & (side < 0.22)
    return body & ~hole, body & inside


def _upper(grid: Grid, cut: Cut) -> tuple[Mask, Mask]:
    hem = {"short": -0.02, "medium": 0.36, "long": 0.80}[cut.length]
    body = _torso(grid, cut, hem) | _sleeves(grid, cut)
    if cut.type == "shirt":
        return _neck(grid, cut, body)
    if cut.type == "hoodie":
        hood = (grid.side / 0.31) ** 2 + ((grid.v + 0.72) / 0.25) ** 2 < 1
        face = (grid.side / 0.17) ** 2 + ((grid.v + 0.74) / 0.14) ** 2 < 1
        return (body | hood) & ~face, face
    opening = grid.side < 0.5 * (-0.40 - grid.v)
    return body & ~opening, body & opening & (grid.v > -0.68)


def _dress(grid: Grid, cut: Cut) -> tuple[Mask, Mask]:
    hem = {"short": 0.22, "medium": 0.56, "long": 0.95}[cut.length]
    flare = 0.24 if cut.fit == "slim" else 0.52
    bodice = _torso(grid, cut, -0.10) & (grid.side < 0.36 + 0.5 * np.clip(-0.30 - grid.v, 0, 1))
    bodice |= _sleeves(grid, cut) | ((grid.v > -0.12) & (grid.v < hem) & (grid.side < 0.30 + flare * (grid.v + 0.12)))
    return _neck(grid, cut, bodice)


def _legs(grid: Grid, cut: Cut, top: float) -> Mask:
    hem = {"short": top + 0.62, "medium": top + 1.08, "long": 0.96}[cut.length]
    down = grid.v - top
    middle, wide = 0.17 + 0.10 * down, (0.19 if cut.fit == "slim" else 0.26) - 0.035 * down
    legs = (np.abs(grid.side - middle) < wide) & ((down < 0.36) | (grid.side > 0.02 + 0.06 * (down - 0.36)))
    return legs & (down > 0) & (grid.v < hem)


def _jumpsuit(grid: Grid, cut: Cut) -> tuple[Mask, Mask]:
    body = _torso(grid, cut, -0.18) & (grid.side < 0.42)
    return _neck(grid, cut, body | _sleeves(grid, cut) | _legs(grid, cut, -0.22))


def _skirt(grid: Grid, cut: Cut) -> tuple[Mask, Mask]:
    hem = {"short": 0.02, "medium": 0.44, "long": 0.90}[cut.length]
    flare = 0.16 if cut.fit == "slim" else 0.46
    body = (grid.v > -0.58) & (grid.v < hem + 0.04 * np.cos(9 * grid.u)) & (grid.side < 0.28 + flare * (grid.v + 0.58))
    return body, np.zeros_like(body)


def _trousers(grid: Grid, cut: Cut) -> tuple[Mask, Mask]:
    body = _legs(grid, cut, -0.88)
    return body, np.zeros_like(body)


SILHOUETTES: dict[str, Callable[[Grid, Cut], tuple[Mask, Mask]]] = {
    "shirt": _upper,
    "hoodie": _upper,
    "jacket": _upper,
    "dress": _dress,
    "jumpsuit": _jumpsuit,
    "skirt": _skirt,
    "trousers": _trousers,
}
