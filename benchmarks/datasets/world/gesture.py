"""Gestures: activities that look alike in every single frame, so that only motion tells them apart.

A body sways, bobs, circles, turns, swells ... before a wall. Its place, size, rotation and the phase of the gesture are
drawn alike for every gesture: a sharp frame of a clip tells next to nothing. A pose is a photograph with a slow
shutter, half a period of a gesture long: its blur tells.

Legend: T frames, S pixels. Lengths are shares of the picture's width, times seconds, angles radians.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.datasets.world.film import Camera
from quiver.benchmarks.datasets.world.model import (
    COLOURS,
    SHAPES,
    Body,
    Take,
    describe_body,
    draw_body,
    draw_take,
    pick,
    split_of,
    stream,
)
from quiver.benchmarks.datasets.world.paint import Posed, backdrop, body_shader, develop, shaken, stamp
from quiver.types import Floats

GESTURES = ("rest", "sway", "bob", "rise", "dip", "circle", "turn", "swell")
#: Direction of the gestures that go to and fro: across and down.
AXES = {"sway": (1.0, 0.0), "bob": (0.0, 1.0), "rise": (0.7071, -0.7071), "dip": (0.7071, 0.7071)}
TEMPO = (0.8, 1.6)  # periods per second, slowest and fastest
SHUTTER, STEPS = 0.5, 15  # periods that the shutter of a pose is open, painted as the mean of so many moments


@dataclass(frozen=True, slots=True)
class Gesture:
    """A body and its motion.

    Attributes:
        split: ``train``, ``validation`` or ``test``.
        name: one of GESTURES.
        body: the body; x, y and radius its middle and radius at rest; angle its rotation at rest.
        tempo: periods per second. phase: share of a period at time 0. reach: half the length of the way.
        way: 1 or -1, the sense of circles and turns.
        take: walls, light, camera and noise.
    """

    split: str
    name: str
    body: Body
    x: float
    y: float
    radius: float
    angle: float
    tempo: float
    phase: float
    reach: float
    way: int
    take: Take


@lru_cache(maxsize=64)
def draw_gesture(seed: int, kind: str, index: int, nuisance: float) -> Gesture:
    """Draw a gesture; ``kind`` is ``gesture`` for a clip and ``pose`` for a photograph."""
    rng = stream(seed, kind, index)
    name = pick(rng, GESTURES)
    body = draw_body(rng, pick(rng, SHAPES), pick(rng, tuple(COLOURS)))
    x, y, radius, angle = (float(rng.uniform(*span)) for span in ((0.3, 0.7), (0.3, 0.7), (0.11, 0.17), (0, 2 * np.pi)))
    tempo, phase, reach = float(rng.uniform(*TEMPO)), float(rng.random()), float(rng.uniform(0.055, 0.085))
    take = draw_take(rng, nuisance)
    return Gesture(split_of(index), name, body, x, y, radius, angle, tempo, phase, reach, pick(rng, (-1, 1)), take)


def clip(gesture: Gesture, t: Floats, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render a gesture at moments t (T,) as uint8 (T, S, S, 3); the grain comes from rng."""
    return develop(_paint(gesture, t, size), gesture.take, rng)


def pose(gesture: Gesture, seconds: float, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Photograph a gesture with a slow shutter at some moment of a clip: uint8 (S, S, 3)."""
    open_for = SHUTTER / gesture.tempo * np.linspace(-0.5, 0.5, STEPS)
    t = (rng.uniform(0, seconds) + open_for).astype(np.float32)
    canvas = _paint(gesture, t, size).mean(axis=0, keepdims=True, dtype=np.float32)
    return develop(canvas, gesture.take, rng)[0]


def describe_gesture(gesture: Gesture) -> dict[str, str | int | float]:
    """Return the factors of a clip or pose, as a manifest has them."""
    facts = {"tempo": round(gesture.tempo, 3), "phase": round(gesture.phase, 3), "way": gesture.way}
    return {"gesture": gesture.name, **describe_body(gesture.body), **facts}


def moved(gesture: Gesture, t: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return x, y, radius and rotation at moments t: (T,) each."""
    cycle = 2 * np.pi * (gesture.tempo * t + gesture.phase)
    still = np.zeros_like(t)
    x, y, radius, angle = still + gesture.x, still + gesture.y, still + gesture.radius, still + gesture.angle
    if gesture.name in AXES:
        across, down = AXES[gesture.name]
        x, y = x + gesture.reach * across * np.sin(cycle), y + gesture.reach * down * np.sin(cycle)
    elif gesture.name == "circle":
        x, y = x + gesture.reach * np.sin(gesture.way * cycle), y + gesture.reach * np.cos(gesture.way * cycle)
    elif gesture.name == "turn":
        angle = angle + gesture.way * cycle
    elif gesture.name == "swell":
        radius = radius * (1 + 0.25 * np.sin(cycle))
    return x, y, radius, angle


def _paint(gesture: Gesture, t: Floats, size: int) -> Floats:
    take = gesture.take
    camera = Camera(take, shaken(take, t), size)
    canvas = backdrop(take, camera.offset, size)
    x, y, radius, angle = moved(gesture, t)
    pixels = camera.scale(radius)
    posed = Posed(gesture.body, pixels, angle, np.ones_like(t), take.lamp)
    reach = 1.45 * float(pixels.max())
    stamp(canvas, camera.at(x, y), (reach, reach), body_shader(posed))
    return canvas
