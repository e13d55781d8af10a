"""Elements of the synthetic world: vocabularies, bodies, takes, and the rule of the split.

Everything is drawn from ``stream(seed, kind, index)``; nothing here knows pixels or samples.
Lengths are shares of the picture's width, or stage units where that is said: one stage unit is
``Stage.unit`` of the picture, and a stage is two units wide, its floor at height 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np

T = TypeVar("T")
RGB = tuple[float, float, float]

COLOURS: dict[str, RGB] = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.97, 0.52, 0.06),
    "yellow": (0.96, 0.87, 0.12),
    "green": (0.15, 0.62, 0.20),
    "cyan": (0.10, 0.78, 0.82),
    "blue": (0.13, 0.27, 0.86),
    "purple": (0.50, 0.16, 0.68),
    "pink": (0.97, 0.50, 0.71),
    "white": (0.96, 0.96, 0.96),
    "black": (0.09, 0.09, 0.10),
}
SHAPES = ("ball", "cube", "pyramid", "star", "ring", "cross", "heart", "hexagon")
MATERIALS = ("metal", "wood", "glass", "rubber", "jelly")
TEXTURES = ("plain", "striped", "spotted", "checked")
#: Activity to its apparatus. Two activities share each, so that the apparatus alone tells half.
PROPS = {
    "bounce": "trampoline",
    "shake": "trampoline",
    "roll": "slope",
    "slide": "slope",
    "orbit": "post",
    "spin": "post",
    "swing": "rope",
    "fall": "rope",
    "grow": "pump",
    "float": "pump",
}
ACTIVITIES = tuple(PROPS)
CHANGES = ("colour", "shape", "material", "texture", "size", "move", "add", "remove", "none")
#: Share of its speed that a body keeps when it lands.
SPRING = {"metal": 0.80, "wood": 0.76, "glass": 0.84, "rubber": 0.95, "jelly": 0.72}
#: Repetitions per second of each activity, slowest and fastest; one run of a slope or a fall takes 1 / tempo.
TEMPO = {
    "bounce": (1.2, 2.2),
    "shake": (1.8, 3.2),
    "roll": (0.60, 1.1),
    "slide": (0.60, 1.1),
    "orbit": (0.45, 1.0),
    "spin": (0.5, 1.4),
    "swing": (0.5, 1.0),
    "fall": (1.4, 2.6),
    "grow": (1.4, 2.8),
    "float": (0.8, 1.8),
}

#: Split of unit i is CYCLE[i % 10]: seven, one and two tenths, mixed from the start.
CYCLE = ("train", "train", "test", "train", "validation", "train", "train", "test", "train", "train")
FILM = 4  # this many consecutive clips make a film; a film is of one split
KINDS = ("rule", "scene", "still", "pair", "garment", "film", "gesture", "pose")


def stream(seed: int, kind: str, index: int, part: int = 0) -> np.random.Generator:
    """Return the random stream of one item; its words and its noise are other parts."""
    return np.random.default_rng((seed, KINDS.index(kind), index, part))


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """Return one of the choices, all equally likely."""
    return choices[int(rng.integers(len(choices)))]


def split_of(unit: int) -> str:
    """Return the split of a unit: a film, a still, a pair or a family of garments."""
    return CYCLE[unit % len(CYCLE)]


@lru_cache(maxsize=64)
def _rule(seed: int) -> dict[str, int]:
    rng = stream(seed, "rule", 0)
    ranks: dict[str, int] = {}
    for names in (SHAPES, tuple(COLOURS), ACTIVITIES, CHANGES):
        ranks |= dict(zip(names, (int(rank) for rank in rng.permutation(10)), strict=False))
    return ranks


def combination_split(seed: int, shape: str, colour: str, third: str) -> str:
    """Return the split that (shape, colour, activity or change) belongs to.

    The seeded ranks of the three names are added modulo 10: seven of ten colours of a (shape, third) are train,
    so every two of the three occur in train together, but a triple occurs in one split only.
    """
    ranks = _rule(seed)
    return CYCLE[(ranks[shape] + ranks[colour] + ranks[third]) % 10]


@dataclass(frozen=True, slots=True)
class Body:
    """One object: what captions may tell of it, and its size (1 is usual), which only picture and sound tell."""

    shape: str
    colour: str
    rgb: RGB
    material: str
    texture: str
    size: float


@dataclass(frozen=True, slots=True)
class Act:
    """How one body does an activity: tempo in Hz, phase and reach in [0, 1], way -1 or 1, spring in (0, 1)."""

    activity: str
    tempo: float
    phase: float
    reach: float
    way: int
    spring: float


@dataclass(frozen=True, slots=True)
class Stage:
    """Where an act takes place: middle x and floor y (down) as shares of the picture, and its unit."""

    x: float
    y: float
    unit: float


@dataclass(frozen=True, slots=True)
class Mover:
    """A body, its act and its stage."""

    body: Body
    act: Act
    stage: Stage


@dataclass(frozen=True, slots=True)
class Placed:
    """A body at rest at (x, y), y down, with its radius, all as shares of the picture; turn in radians."""

    body: Body
    x: float
    y: float
    radius: float
    turn: float = 0.0


@dataclass(frozen=True, slots=True)
class Take:
    """Nuisance factors: camera, light, walls, noise.

    Attributes:
        wall: colour of the wall. floor: colour of the floor. horizon: where they meet, y down.
        ripple: frequencies and phases of the wall's shading. lamp: direction of the light, y down.
        shift: camera offset. zoom: camera scale. sway: amplitude of the hand-held camera.
        gain: brightness. tint: colour of the light. grain: amplitude of the pixel noise.
    """

    wall: RGB
    floor: RGB
    horizon: float
    ripple: tuple[float, ...]
    lamp: tuple[float, float]
    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    sway: float = 0.0
    gain: float = 1.0
    tint: RGB = (1.0, 1.0, 1.0)
    grain: float = 0.0


@dataclass(frozen=True, slots=True)
class Play:
    """A scene before it is rendered: movers, of which the first is its subject, and onlookers that rest."""

    split: str
    movers: tuple[Mover, ...]
    onlookers: tuple[Placed, ...]
    take: Take

    @property
    def activity(self) -> str:
        """The activity of all movers."""
        return self.movers[0].act.activity


def draw_body(rng: np.random.Generator, shape: str, colour: str) -> Body:
    """Draw the rest of a body: a shade of its colour, material, texture and size."""
    shade = rng.uniform(0.9, 1.08) + rng.uniform(-0.035, 0.035, 3)
    red, green, blue = (float(v) for v in np.clip(np.array(COLOURS[colour]) * shade, 0.03, 1.0))
    size = round(float(rng.uniform(0.72, 1.32)), 3)
    return Body(shape, colour, (red, green, blue), pick(rng, MATERIALS), pick(rng, TEXTURES), size)


def draw_take(rng: np.random.Generator, nuisance: float) -> Take:
    """Draw walls and light, and as much camera and noise as ``nuisance`` in [0, 1] allows."""
    level, chroma = rng.uniform(0.3, 0.9, 2), rng.uniform(-1, 1, (2, 3)) * 0.10
    wall, floor = (tuple(float(v) for v in np.clip(level[i] + chroma[i], 0.08, 1)) for i in (0, 1))
    ripple = (*rng.uniform(2, 14, 2), *rng.uniform(0, 6.28, 2), rng.uniform(0.0, 0.10))
    turn = float(rng.uniform(-0.9, 0.9))
    base = Take(
        (wall[0], wall[1], wall[2]),
        (floor[0], floor[1], floor[2]),
        float(rng.uniform(0.55, 0.8)),
        tuple(float(v) for v in ripple),
        (float(np.sin(turn)), float(-np.cos(turn))),
    )
    return retake(rng, base, nuisance)


def retake(rng: np.random.Generator, take: Take, nuisance: float) -> Take:
    """Photograph the same place again: another camera position, light and noise."""
    shift, zoom, gain = rng.uniform(-0.03, 0.03, 2), rng.uniform(-0.06, 0.06), rng.uniform(-0.22, 0.12)
    tint, sway, grain = rng.uniform(-0.06, 0.06, 3), rng.uniform(0, 0.012), rng.uniform(0.01, 0.05)
    return replace(
        take,
        shift=(float(shift[0]) * nuisance, float(shift[1]) * nuisance),
        zoom=1 + float(zoom) * nuisance,
        gain=1 + float(gain) * nuisance,
        tint=(1 + float(tint[0]) * nuisance, 1 + float(tint[1]) * nuisance, 1 + float(tint[2]) * nuisance),
        sway=float(sway) * nuisance,
        grain=float(grain) * nuisance,
    )


@lru_cache(maxsize=64)  # every scene of a film asks for those beside it: what is said there may be of another
def draw_play(seed: int, kind: str, index: int, nuisance: float) -> Play:
    """Draw a scene or a still: one to three bodies, one or two of which do the same activity."""
    rng = stream(seed, kind, index)
    split = split_of(index // FILM if kind == "scene" else index)
    activity = pick(rng, ACTIVITIES)
    many = int(rng.choice((1, 2, 3), p=(0.5, 0.35, 0.15)))
    moving = min(many, 1 + int(rng.random() < 0.5))
    stages = _stages(rng, moving)
    movers = tuple(_mover(rng, seed, split, activity, stage) for stage in stages)
    onlookers = tuple(_onlooker(rng) for _ in range(many - moving))
    return Play(split, movers, onlookers, draw_take(rng, nuisance))


def _stages(rng: np.random.Generator, moving: int) -> list[Stage]:
    floor = float(rng.uniform(0.84, 0.92))
    if moving == 1:
        return [Stage(float(rng.uniform(0.46, 0.54)), floor, float(rng.uniform(0.38, 0.45)))]
    middles = (0.26, 0.74) if rng.random() < 0.5 else (0.74, 0.26)
    return [Stage(x + float(rng.uniform(-0.03, 0.03)), floor, float(rng.uniform(0.27, 0.31))) for x in middles]


def _mover(rng: np.random.Generator, seed: int, split: str, activity: str, stage: Stage) -> Mover:
    shape = pick(rng, SHAPES)
    body = draw_body(rng, shape, colour_in(rng, seed, split, shape, activity))
    tempo, phase, reach = (float(v) for v in (rng.uniform(*TEMPO[activity]), rng.random(), rng.uniform(0.6, 1)))
    spring = SPRING[body.material] * float(rng.uniform(0.94, 1.02))
    return Mover(body, Act(activity, tempo, phase, reach, pick(rng, (-1, 1)), spring), stage)


def colour_in(rng: np.random.Generator, seed: int, split: str, shape: str, third: str) -> str:
    """Return a colour with which (shape, colour, third) belongs to the split."""
    return pick(rng, [name for name in COLOURS if combination_split(seed, shape, name, third) == split])


def _onlooker(rng: np.random.Generator) -> Placed:
    body = draw_body(rng, pick(rng, SHAPES), pick(rng, tuple(COLOURS)))
    radius = 0.075 * body.size
    x, y = float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.80, 0.94))
    return Placed(body, x, y - radius, radius, float(rng.uniform(-0.4, 0.4)))


def describe_play(play: Play) -> dict[str, str | int | float]:
    """Return the factors of a scene or still, as a manifest has them."""
    first = play.movers[0]
    facts: dict[str, str | int | float] = {
        "activity": play.activity,
        "prop": PROPS[play.activity],
        **describe_body(first.body),
        "tempo": round(first.act.tempo, 3),
        "phase": round(first.act.phase, 3),
        "way": first.act.way,
        "movers": len(play.movers),
        "onlookers": len(play.onlookers),
    }
    partner = describe_body(play.movers[1].body) if len(play.movers) > 1 else dict.fromkeys(BODY, "")
    return facts | {f"partner_{name}": value for name, value in partner.items()}


BODY = ("shape", "colour", "material", "texture", "size")


def describe_body(body: Body) -> dict[str, str | float]:
    """Return the factors of one body."""
    return {name: getattr(body, name) for name in BODY}
