"""Tables: objects before and after one change, or none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from quiver.benchmarks.datasets.world.model import (
    BODY,
    CHANGES,
    COLOURS,
    MATERIALS,
    SHAPES,
    TEXTURES,
    Body,
    Placed,
    Take,
    colour_in,
    describe_body,
    draw_body,
    draw_take,
    pick,
    retake,
    split_of,
    stream,
)


@dataclass(frozen=True, slots=True)
class Table:
    """A pair before rendering: objects before and after, and the change.

    Attributes:
        change: one of CHANGES. subject: the body changed as it was (added: as it is); None where nothing is.
        old, new: value of the changed factor before and after, empty where the change has none.
    """

    split: str
    before: tuple[Placed, ...]
    after: tuple[Placed, ...]
    takes: tuple[Take, Take]
    change: str
    subject: Body | None
    old: str
    new: str


#: Places on the table of a pair; a body lies on one of its own.
CELLS = tuple((x, y) for y in (0.36, 0.74) for x in (0.19, 0.5, 0.81))


def draw_table(seed: int, index: int, nuisance: float) -> Table:
    """Draw a pair: three or four bodies on a table, no two of one shape, and one change or none."""
    rng = stream(seed, "pair", index)
    split, change = split_of(index), pick(rng, CHANGES)
    shapes = [SHAPES[i] for i in rng.permutation(len(SHAPES))[: int(rng.integers(3, 5))]]
    colours = [colour_in(rng, seed, split, shapes[0], change), *(pick(rng, tuple(COLOURS)) for _ in shapes[1:])]
    cells = [CELLS[i] for i in rng.permutation(len(CELLS))]
    first, *others = (
        _lay(rng, draw_body(rng, *pair), cell) for *pair, cell in zip(shapes, colours, cells, strict=False)
    )
    later, old, new = _change(rng, change, first, shapes, cells[-1])
    take = draw_take(rng, nuisance)
    return Table(
        split,
        tuple(others if change == "add" else [first, *others]),
        tuple(others if later is None else [later, *others]),
        (take, retake(rng, take, nuisance)),
        change,
        None if change == "none" else first.body,
        old,
        new,
    )


def _lay(rng: np.random.Generator, body: Body, cell: tuple[float, float]) -> Placed:
    x, y = (float(v) for v in np.array(cell) + rng.uniform(-0.02, 0.02, 2))
    return Placed(body, x, y, 0.112 * body.size, float(rng.uniform(-0.6, 0.6)))


def _change(
    rng: np.random.Generator, change: str, placed: Placed, shapes: Sequence[str], free: tuple[float, float]
) -> tuple[Placed | None, str, str]:
    """Return the subject afterwards (None: gone) and the value of the changed factor before and after."""
    body = placed.body
    if change == "remove":
        return None, "", ""
    if change == "move":
        moved = replace(placed, x=free[0], y=free[1])
        return moved, side(placed.x, placed.y), side(*free)
    if change == "size":
        factor = 1.6 if body.size < 1 else 1 / 1.6
        size = round(body.size * factor, 3)
        grown = replace(placed, body=replace(body, size=size), radius=0.112 * size)
        return grown, *(("small", "big") if factor > 1 else ("big", "small"))
    if change in ("add", "none"):
        return placed, "", ""
    return _other(rng, change, placed, shapes)


def _other(rng: np.random.Generator, factor: str, placed: Placed, shapes: Sequence[str]) -> tuple[Placed, str, str]:
    """Give the subject another colour, shape, material or texture."""
    values = {"colour": tuple(COLOURS), "shape": SHAPES, "material": MATERIALS, "texture": TEXTURES}[factor]
    old = str(getattr(placed.body, factor))
    new = pick(rng, [value for value in values if value != old and value not in shapes])
    if factor == "colour":
        repainted = draw_body(rng, placed.body.shape, new).rgb
        return replace(placed, body=replace(placed.body, colour=new, rgb=repainted)), old, new
    body = {
        "shape": replace(placed.body, shape=new),
        "material": replace(placed.body, material=new),
        "texture": replace(placed.body, texture=new),
    }[factor]
    return replace(placed, body=body), old, new


def side(x: float, y: float) -> str:
    """Name the place of a point on a table, such as ``back left``."""
    return f"{'back' if y < 0.55 else 'front'} {'left' if x < 0.35 else 'right' if x > 0.65 else 'middle'}"


def describe_table(table: Table) -> dict[str, str | int | float]:
    """Return the factors of a pair."""
    subject = describe_body(table.subject) if table.subject else dict.fromkeys(BODY, "")
    count = len(table.before)
    return {"change": table.change, "old": table.old, "new": table.new, **subject, "bodies": count}
