"""Film: plays, stills and tables put on the canvas, apparatus included.

Legend: T frames, S pixels. Times in seconds; stage units and shares of the picture as in the model.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.datasets.world.model import PROPS, Mover, Placed, Play, Take
from quiver.benchmarks.datasets.world.motion import BEAM, CUT, HUB, PAD, RADIUS, TIP, Track, move, slope_height, telling
from quiver.benchmarks.datasets.world.paint import (
    Posed,
    Shader,
    backdrop,
    body_shader,
    develop,
    shadow_shader,
    shaken,
    stamp,
)
from quiver.types import Floats

SHUTTER, STEPS = 0.09, 9  # a still is open this many seconds, painted as the mean of so many moments


def film(play: Play, t: Floats, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render a play at moments t (T,) as uint8 (T, S, S, 3); the grain comes from rng."""
    return develop(_paint(play, t, size), play.take, rng)


def still(play: Play, seconds: float, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Photograph a play while something is going on: uint8 (S, S, 3), blurred by the motion."""
    t = telling(play.movers[0], seconds, rng.random()) + SHUTTER * np.linspace(-0.5, 0.5, STEPS)
    canvas = _paint(play, t.astype(np.float32), size).mean(axis=0, keepdims=True, dtype=np.float32)
    return develop(canvas, play.take, rng)[0]


def photograph(placed: tuple[Placed, ...], take: Take, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render bodies at rest as uint8 (S, S, 3)."""
    camera = Camera(take, shaken(take, np.zeros(1, np.float32)), size)
    canvas = backdrop(take, camera.offset, size)
    for one in sorted(placed, key=lambda one: one.y):
        _rest(canvas, camera, one)
    return develop(canvas, take, rng)[0]


def seen_at(placed: Placed, take: Take) -> tuple[float, float]:
    """Return where the middle of a body at rest is in its photograph, (x, y) as shares of the picture, y down."""
    camera = Camera(take, shaken(take, np.zeros(1, np.float32)), 1)
    x, y = camera.at(placed.x, placed.y)[0].tolist()
    return x, y


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """Maps shares of the picture to pixels in T frames."""

    take: Take
    offset: Floats
    size: int

    def at(self, x: Floats | float, y: Floats | float) -> Floats:
        """Return pixels (T, 2) of a point or of T points."""
        frames = len(self.offset)
        point = np.stack([np.broadcast_to(np.asarray(v, np.float32), frames) for v in (x, y)], axis=1)
        return ((point - 0.5) * self.take.zoom + 0.5 + self.offset) * self.size

    def scale(self, length: Floats | float) -> Floats:
        """Return a length in pixels, (T,)."""
        pixels = np.asarray(length, np.float32) * self.take.zoom * self.size
        return np.broadcast_to(pixels, len(self.offset))


def _paint(play: Play, t: Floats, size: int) -> Floats:
    camera = Camera(play.take, shaken(play.take, t), size)
    canvas = backdrop(play.take, camera.offset, size)
    for onlooker in play.onlookers:
        _rest(canvas, camera, onlooker)
    for mover in play.movers:
        track = move(mover, t)
        _apparatus(canvas, camera, mover, track)
        _body(canvas, camera, mover, track)
    return canvas


def _rest(canvas: Floats, camera: Camera, placed: Placed) -> None:
    frames = len(camera.offset)
    radius = camera.scale(placed.radius)
    shadow = shadow_shader(1.15 * radius, np.full(frames, 0.45, np.float32))
    foot = camera.at(placed.x, placed.y + placed.radius)
    stamp(canvas, foot, (1.2 * radius[0], 0.4 * radius[0]), shadow)
    turn, press = np.full(frames, placed.turn, np.float32), np.ones(frames, np.float32)
    posed = Posed(placed.body, radius, turn, press, camera.take.lamp)
    stamp(canvas, camera.at(placed.x, placed.y), (1.45 * radius[0], 1.45 * radius[0]), body_shader(posed))


def _body(canvas: Floats, camera: Camera, mover: Mover, track: Track) -> None:
    stage = mover.stage
    radius = camera.scale(RADIUS * mover.body.size * stage.unit * track.grow)
    x, y = stage.x + stage.unit * track.x, stage.y - stage.unit * track.y
    height = np.clip(track.y, 0, 2)
    strength, wide = 0.5 * np.exp(-1.2 * height), radius * (1.1 + 0.3 * height)
    far, reach = float(wide.max()), 1.55 * float(radius.max())
    if PROPS[mover.act.activity] != "slope":  # which stands between a body and the floor
        stamp(canvas, camera.at(x, stage.y), (far, 0.3 * far), shadow_shader(wide, strength))
    posed = Posed(mover.body, radius, track.turn, track.press, camera.take.lamp)
    stamp(canvas, camera.at(x, y), (reach, reach), body_shader(posed))


def _apparatus(canvas: Floats, camera: Camera, mover: Mover, track: Track) -> None:
    prop, stage = PROPS[mover.act.activity], mover.stage
    unit = float(camera.scale(stage.unit)[0])
    dark = sum(camera.take.wall) > 1.5
    half, low, high = PARTS[prop]
    middle = camera.at(stage.x, stage.y - stage.unit * (low + high) / 2)
    shader = _prop_shader(prop, mover, track, unit=unit, dark=dark)
    stamp(canvas, middle, (unit * half, unit * (high - low) / 2), shader)


#: Half width, lowest and highest point of what each apparatus fills, stage units.
PARTS = {
    "trampoline": (0.65, 0.0, 0.20),
    "slope": (1.05, -0.1, 1.2),
    "post": (0.3, 0.0, 1.05),
    "rope": (1.1, 0.3, 1.95),
    "pump": (0.4, 0.0, 0.4),
}


def _prop_shader(prop: str, mover: Mover, track: Track, *, unit: float, dark: bool) -> Shader:
    _, low, high = PARTS[prop]
    tone = np.array((0.25, 0.24, 0.26) if dark else (0.74, 0.73, 0.70), np.float32)

    def shade(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        x, y = x / unit, (low + high) / 2 - y / unit
        cover = np.clip(0.5 - DRAWN[prop](x, y, mover, track) * unit, 0, 1)
        return tone, cover

    return shade


def _box(x: Floats, y: Floats, middle: tuple[float, float], half: tuple[float, float]) -> Floats:
    return np.maximum(np.abs(x - middle[0]) - half[0], np.abs(y - middle[1]) - half[1])


def _line(x: Floats, y: Floats, top: tuple[float, float], bottom: tuple[Floats, Floats]) -> Floats:
    """Distance from the segments between a point and T others."""
    ex, ey = (np.asarray(b - a)[:, None, None] for a, b in zip(top, bottom, strict=True))
    along = np.clip(((x - top[0]) * ex + (y - top[1]) * ey) / (ex * ex + ey * ey + 1e-6), 0, 1)
    return np.hypot(x - top[0] - along * ex, y - top[1] - along * ey) - np.float32(0.022)


def _trampoline(x: Floats, y: Floats, mover: Mover, track: Track) -> Floats:
    cloth = _box(x, y, (0, PAD - 0.035), (0.62, 0.035))
    return np.minimum(cloth, np.maximum(np.abs(np.abs(x) - 0.52) - 0.03, np.abs(y - PAD / 2) - PAD / 2))


def _slope(x: Floats, y: Floats, mover: Mover, track: Track) -> Floats:
    across = mover.act.way * x
    plank = np.maximum((y - slope_height(across)) * 0.89, np.abs(across) - 0.98)
    return np.minimum(np.maximum(plank, -y), _box(across, y, (0.98, 0.2), (0.05, 0.28)))


def _post(x: Floats, y: Floats, mover: Mover, track: Track) -> Floats:
    pole = np.minimum(_box(x, y, (0, HUB / 2), (0.035, HUB / 2)), _box(x, y, (0, 0.03), (0.25, 0.03)))
    return np.minimum(pole, np.hypot(x, y - HUB) - np.float32(0.11))


def _rope(x: Floats, y: Floats, mover: Mover, track: Track) -> Floats:
    beam = _box(x, y, (0, BEAM), (0.45, 0.05))
    swings = mover.act.activity == "swing"
    end = (track.x, track.y) if swings else (0 * track.x, 0 * track.y + CUT)
    return np.minimum(beam, _line(x, y, (0.0, BEAM), end))


def _pump(x: Floats, y: Floats, mover: Mover, track: Track) -> Floats:
    box = _box(x, y, (0, 0.10), (0.34, 0.10))
    return np.minimum(box, np.maximum(np.abs(x) - 0.06 - 0.5 * (TIP - y), np.abs(y - TIP / 2) - TIP / 2))


DRAWN = {"trampoline": _trampoline, "slope": _slope, "post": _post, "rope": _rope, "pump": _pump}
