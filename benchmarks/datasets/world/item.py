"""Records of a synthetic world: a world, and its items, each created on access."""

from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from quiver.benchmarks.datasets.world import film as _film
from quiver.benchmarks.datasets.world import gesture as _gesture
from quiver.benchmarks.datasets.world.cloth import garment as _render_garment
from quiver.benchmarks.datasets.world.garment import Piece, Triplet, draw_piece, product_text, triplets
from quiver.benchmarks.datasets.world.model import FILM, Play, describe_play, draw_play, retake, stream
from quiver.benchmarks.datasets.world.motion import hits_within
from quiver.benchmarks.datasets.world.sound import soundtrack
from quiver.benchmarks.datasets.world.table import Table, describe_table, draw_table
from quiver.benchmarks.datasets.world.words import captions, changes, narration
from quiver.errors import BadSpec
from quiver.types import Floats

Picture = NDArray[np.uint8]
Facts = dict[str, str | int | float]
NOISE, SOUND, WORDS, AGAIN, VIEW = 1, 2, 3, 4, 5  # parts of an item's random stream, besides the item itself


@dataclass(frozen=True, slots=True)
class World:
    """A world and how it is recorded.

    Attributes:
        seed: another seed, another world; not negative.
        size: width and height of pictures in pixels, even, 16 to 1024.
        frames: frames of a clip. fps: frames per second; activities are made to be read at 8 or more.
        rate: sampling rate of sound in Hz, at least 4000.
        nuisance: in [0, 1]; 0 takes camera, light and noise away and leaves the matter.

    Raises:
        BadSpec: one of these is out of range.
    """

    seed: int = 0
    size: int = 64
    frames: int = 16
    fps: float = 8.0
    rate: int = 16_000
    nuisance: float = 1.0

    def __post_init__(self) -> None:
        ranges = {"seed": (0, 2**32), "size": (16, 1024), "frames": (1, 10_000), "fps": (0.5, 240)}
        for name, (low, high) in {**ranges, "rate": (4000, 192_000), "nuisance": (0, 1)}.items():
            if not low <= getattr(self, name) <= high:
                raise BadSpec(f"world {name} must be from {low} to {high}, not {getattr(self, name)}")
        if self.size % 2:
            raise BadSpec(f"world size must be even, not {self.size}: video codecs halve it")

    @property
    def seconds(self) -> float:
        """Length of a clip."""
        return self.frames / self.fps

    def scene(self, index: int) -> "Scene":
        """Return scene ``index``; it is rendered on access to its video or audio."""
        return Scene(self, _checked(index))

    def still(self, index: int) -> "Still":
        """Return still ``index``."""
        return Still(self, _checked(index))

    def pair(self, index: int) -> "Pair":
        """Return pair ``index``."""
        return Pair(self, _checked(index))

    def garment(self, index: int) -> "Garment":
        """Return garment ``index``."""
        return Garment(self, _checked(index))

    def gesture(self, index: int) -> "GestureClip":
        """Return the clip of gesture ``index``."""
        return GestureClip(self, _checked(index))

    def pose(self, index: int) -> "Pose":
        """Return pose ``index``, a photograph of a gesture."""
        return Pose(self, _checked(index))

    def triplets(self, garments: int) -> tuple[Triplet, ...]:
        """List the composed queries among the first ``garments``, by reference.

        Every change of one attribute between members of a family is one; targets are all garments of the
        reference's split that have the new value and are otherwise as the reference, whatever their family.
        """
        return triplets(self.seed, _checked(garments))


def _checked(index: int) -> int:
    if index < 0:
        raise BadSpec(f"items of a world are counted from 0; there is no {index}")
    return index


@dataclass(frozen=True, slots=True)
class Line:
    """Something said: its text and when, in seconds from the middle of the clip it is listed for."""

    text: str
    offset: float


@dataclass(frozen=True)
class Scene:
    """A clip with sound; its parts are rendered on access and kept."""

    world: World
    index: int

    @property
    def id(self) -> str:
        """Its name among all items of this world."""
        return f"scene{self.index:06d}"

    @cached_property
    def play(self) -> Play:
        """The script of the clip, before rendering."""
        return draw_play(self.world.seed, "scene", self.index, self.world.nuisance)

    @property
    def split(self) -> str:
        """``train``, ``validation`` or ``test``."""
        return self.play.split

    @cached_property
    def video(self) -> Picture:
        """(frames, size, size, 3) uint8 RGB; frame f shows the moment f / fps."""
        t = np.arange(self.world.frames, dtype=np.float32) / np.float32(self.world.fps)
        return _film.film(self.play, t, self.world.size, self._stream(NOISE))

    @cached_property
    def audio(self) -> Floats:
        """(round(seconds * rate),) float32, peaks below 1."""
        world, rng = self.world, self._stream(SOUND)
        return soundtrack(self.play, world.seconds, world.rate, nuisance=world.nuisance, rng=rng)

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """Five captions, the plainest first."""
        return captions(self.play, self._stream(WORDS))

    @cached_property
    def narrations(self) -> tuple[Line, ...]:
        """Spoken lines of its film, nearest in time first: zero to four lines, maybe of another clip."""
        lines = _script(self.world, self.index // FILM)
        middle = (self.index % FILM + 0.5) * self.world.seconds
        near = (Line(line.text, round(line.offset - middle, 3)) for line in lines)
        return tuple(sorted(near, key=lambda line: abs(line.offset)))

    @property
    def factors(self) -> Facts:
        """All facts, including ``hits``: its subject's impacts in seconds, separated by spaces."""
        hits = hits_within(self.play.movers[0], self.world.seconds)
        return describe_play(self.play) | {"hits": " ".join(f"{hit:.3f}" for hit in hits)}

    def _stream(self, part: int) -> np.random.Generator:
        return stream(self.world.seed, "scene", self.index, part)


@lru_cache(maxsize=8)  # each scene of a film asks for it
def _script(world: World, film: int) -> tuple[Line, ...]:
    """Return the lines of a film, offsets from its beginning."""
    rng = stream(world.seed, "film", film)
    silent, lines = rng.random() < 0.3, []
    for index in range(film * FILM, film * FILM + FILM):
        speaks, displaced, when = rng.random() < 0.85, rng.random() < 0.3, rng.uniform(0.3, 0.7)
        late = rng.choice((-1, 1)) if displaced else 0
        if speaks and not silent:
            text = narration(world.scene(index).play, stream(world.seed, "scene", index, AGAIN))
            lines.append(Line(text, float((index % FILM + when + late) * world.seconds)))
    return tuple(lines)


@dataclass(frozen=True)
class Still:
    """A photograph of an activity."""

    world: World
    index: int

    @property
    def id(self) -> str:
        """Its name among all items of this world."""
        return f"still{self.index:06d}"

    @cached_property
    def play(self) -> Play:
        """The script of the clip, before rendering."""
        return draw_play(self.world.seed, "still", self.index, self.world.nuisance)

    @property
    def split(self) -> str:
        """``train``, ``validation`` or ``test``."""
        return self.play.split

    @cached_property
    def image(self) -> Picture:
        """(size, size, 3) uint8 RGB, blurred by the motion."""
        rng = stream(self.world.seed, "still", self.index, NOISE)
        return _film.still(self.play, self.world.seconds, self.world.size, rng)

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """Five captions, the plainest first."""
        return captions(self.play, stream(self.world.seed, "still", self.index, WORDS))

    @property
    def factors(self) -> Facts:
        """All facts."""
        return describe_play(self.play)


@dataclass(frozen=True)
class Pair:
    """A table photographed twice: one change, or none."""

    world: World
    index: int

    @property
    def id(self) -> str:
        """Its name among all items of this world."""
        return f"pair{self.index:06d}"

    @cached_property
    def table(self) -> Table:
        """The objects, before rendering."""
        return draw_table(self.world.seed, self.index, self.world.nuisance)

    @property
    def split(self) -> str:
        """``train``, ``validation`` or ``test``."""
        return self.table.split

    @cached_property
    def before(self) -> Picture:
        """(size, size, 3) uint8 RGB."""
        rng = stream(self.world.seed, "pair", self.index, NOISE)
        return _film.photograph(self.table.before, self.table.takes[0], self.world.size, rng)

    @cached_property
    def after(self) -> Picture:
        """(size, size, 3) uint8 RGB, from a slightly different place in a different light."""
        rng = stream(self.world.seed, "pair", self.index, AGAIN)
        return _film.photograph(self.table.after, self.table.takes[1], self.world.size, rng)

    @cached_property
    def view(self) -> Picture:
        """(size, size, 3) uint8 RGB: the table before once more, from a third place in a third light."""
        rng = stream(self.world.seed, "pair", self.index, VIEW)
        take = retake(rng, self.table.takes[0], self.world.nuisance)
        return _film.photograph(self.table.before, take, self.world.size, rng)

    @property
    def changed_at(self) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
        """Middle of the body that changes, (x, y) as shares of the picture before and of that after, y down.

        None where the body is not in a picture, or nothing changes.
        """
        table = self.table
        bodies = (
            table.before[0] if table.change not in ("none", "add") else None,
            table.after[0] if table.change not in ("none", "remove") else None,
        )
        before, after = (
            None if body is None else _film.seen_at(body, take) for body, take in zip(bodies, table.takes, strict=True)
        )
        return before, after

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """Four sentences about the change; those of unchanged pairs are the same for many pairs."""
        return changes(self.table, stream(self.world.seed, "pair", self.index, WORDS))

    @property
    def factors(self) -> Facts:
        """All facts: change, old and new value, and the subject."""
        return describe_table(self.table)


@dataclass(frozen=True)
class Garment:
    """A photograph of a product; two photographs of a family show the same one."""

    world: World
    index: int

    @property
    def id(self) -> str:
        """Its name among all items of this world."""
        return f"garment{self.index:06d}"

    @cached_property
    def piece(self) -> Piece:
        """The garment, before rendering."""
        return draw_piece(self.world.seed, self.index)

    @property
    def split(self) -> str:
        """``train``, ``validation`` or ``test``."""
        return self.piece.split

    @cached_property
    def image(self) -> Picture:
        """(size, size, 3) uint8 RGB."""
        rng = stream(self.world.seed, "garment", self.index, AGAIN)
        return _render_garment(self.piece.cut, self.world.size, nuisance=self.world.nuisance, rng=rng)

    @cached_property
    def text(self) -> tuple[str, str]:
        """Name and description of the product."""
        return product_text(self.world.seed, self.index)

    @property
    def factors(self) -> Facts:
        """All facts: the product that it shows, and its attributes (empty if its type has none)."""
        return {"product": self.piece.product, **asdict(self.piece.cut)}


@dataclass(frozen=True)
class GestureClip:
    """A clip of a gesture, which its single frames do not tell."""

    world: World
    index: int

    @property
    def id(self) -> str:
        """Its name among all items of this world."""
        return f"gesture{self.index:06d}"

    @cached_property
    def gesture(self) -> _gesture.Gesture:
        """The gesture, before rendering."""
        return _gesture.draw_gesture(self.world.seed, "gesture", self.index, self.world.nuisance)

    @property
    def split(self) -> str:
        """``train``, ``validation`` or ``test``."""
        return self.gesture.split

    @cached_property
    def video(self) -> Picture:
        """(frames, size, size, 3) uint8 RGB; frame f shows the moment f / fps."""
        t = np.arange(self.world.frames, dtype=np.float32) / np.float32(self.world.fps)
        rng = stream(self.world.seed, "gesture", self.index, NOISE)
        return _gesture.clip(self.gesture, t, self.world.size, rng)

    @property
    def factors(self) -> Facts:
        """All facts."""
        return _gesture.describe_gesture(self.gesture)


@dataclass(frozen=True)
class Pose:
    """A photograph of a gesture, blurred by half a period of its motion."""

    world: World
    index: int

    @property
    def id(self) -> str:
        """Its name among all items of this world."""
        return f"pose{self.index:06d}"

    @cached_property
    def gesture(self) -> _gesture.Gesture:
        """The gesture, before rendering."""
        return _gesture.draw_gesture(self.world.seed, "pose", self.index, self.world.nuisance)

    @property
    def split(self) -> str:
        """``train``, ``validation`` or ``test``."""
        return self.gesture.split

    @cached_property
    def image(self) -> Picture:
        """(size, size, 3) uint8 RGB."""
        rng = stream(self.world.seed, "pose", self.index, NOISE)
        return _gesture.pose(self.gesture, self.world.seconds, self.world.size, rng)

    @property
    def factors(self) -> Facts:
        """All facts."""
        return _gesture.describe_gesture(self.gesture)
