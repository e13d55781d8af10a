"""Words: captions, narrations and sentences of change, from templates and synonyms.

Text is coarse: it tells shape, colour, activity, at times material, texture and apparatus; never
size, tempo, moment or direction of what moves, which only picture and sound share.
"""

import numpy as np

from quiver.benchmarks.datasets.world.model import PROPS, Body, Play, pick
from quiver.benchmarks.datasets.world.table import Table

SHAPE_WORDS = {
    "ball": ("ball", "sphere", "orb"),
    "cube": ("cube", "box", "block"),
    "pyramid": ("pyramid", "triangle"),
    "star": ("star",),
    "ring": ("ring", "hoop", "donut"),
    "cross": ("cross", "plus sign"),
    "heart": ("heart",),
    "hexagon": ("hexagon", "hex tile"),
}
COLOUR_WORDS = {
    "red": ("red", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden"),
    "green": ("green",),
    "cyan": ("cyan", "turquoise"),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rosy"),
    "white": ("white",),
    "black": ("black",),
}
MATERIAL_WORDS = {
    "metal": ("metal", "steel"),
    "wood": ("wooden", "wood"),
    "glass": ("glass", "see-through"),
    "rubber": ("rubber",),
    "jelly": ("jelly", "wobbly"),
}
TEXTURE_WORDS = {
    "plain": ("plain",),
    "striped": ("striped", "stripy"),
    "spotted": ("spotted", "dotted"),
    "checked": ("checked", "chequered"),
}
#: Each activity in the singular; ``are`` and the plural are made from it.
VERBS = {
    "bounce": ("is bouncing", "is hopping up and down", "keeps bouncing"),
    "shake": ("is shaking", "is rattling from side to side", "keeps shaking"),
    "roll": ("is rolling down", "rolls downhill", "is rolling"),
    "slide": ("is sliding down", "slides downhill", "is sliding"),
    "orbit": ("is orbiting", "is circling around", "goes around in circles"),
    "spin": ("is spinning", "is turning on the spot", "keeps spinning"),
    "swing": ("is swinging", "swings to and fro", "keeps swinging"),
    "fall": ("is falling", "drops to the ground", "falls down"),
    "grow": ("is growing", "is being inflated", "gets bigger and bigger"),
    "float": ("is floating up", "rises into the air", "is floating"),
}
PLACES = {
    "trampoline": ("on a trampoline", "on a springy pad"),
    "slope": ("on a slope", "on a ramp"),
    "post": ("at a post", "at a pole"),
    "rope": ("below a beam with a rope", "at a rope"),
    "pump": ("above an air pump", "over a nozzle"),
}
OPENINGS = ("so here", "okay and now", "you can see how", "right", "and look", "well")
CLOSINGS = ("just like that", "as you can hear", "isn't that nice", "there we go", "let us watch", "")


def captions(play: Play, rng: np.random.Generator) -> tuple[str, ...]:
    """Return five captions of a scene or still, from the plainest to the most detailed; all name its subject."""
    first, *rest = (mover.body for mover in play.movers)
    place = pick(rng, PLACES[PROPS[play.activity]])
    verb = [pick(rng, VERBS[play.activity]) for _ in range(5)]
    both = f"{a(thing(first, rng))} and {a(thing(rest[0], rng))}" if rest else ""
    seen = f", beside {a(thing(play.onlookers[0].body, rng))}" if play.onlookers else ""
    return (
        f"{a(thing(first, rng))} {verb[0]}",
        f"{both} {_plural(verb[1])}" if rest else f"there is {a(thing(first, rng))} that {verb[1]}",
        f"{a(thing(first, rng, 'material'))} {verb[2]} {place}",
        f"{a(thing(first, rng, 'texture', 'material'))} {verb[3]}{seen}",
        f"{both or a(thing(first, rng, 'texture'))} {_plural(verb[4]) if rest else verb[4]} {place}{seen}",
    )


def narration(play: Play, rng: np.random.Generator) -> str:
    """Return one spoken line about a scene: wordy, and not always naming the colour."""
    body = play.movers[0].body
    named = thing(body, rng) if rng.random() < 0.8 else pick(rng, SHAPE_WORDS[body.shape])
    line = f"{pick(rng, OPENINGS)} {a(named)} {pick(rng, VERBS[play.activity])} {pick(rng, CLOSINGS)}"
    return line.strip()


def thing(body: Body, rng: np.random.Generator, *more: str) -> str:
    """Name a body by colour and shape, and by its material or texture where asked."""
    words = [pick(rng, COLOUR_WORDS[body.colour])]
    if "texture" in more and body.texture != "plain":
        words.insert(0, pick(rng, TEXTURE_WORDS[body.texture]))
    if "material" in more:
        words.append(pick(rng, MATERIAL_WORDS[body.material]))
    return " ".join([*words, pick(rng, SHAPE_WORDS[body.shape])])


def a(words: str) -> str:
    """Put the indefinite article before words.

    >>> a("orange ball")
    'an orange ball'
    """
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _plural(verb: str) -> str:
    """Turn ``is bouncing`` into ``are bouncing`` and ``keeps spinning`` into ``keep spinning``."""
    first, _, rest = verb.partition(" ")
    stem = {"is": "are", "goes": "go"}.get(first, first.removesuffix("s"))
    return f"{stem} {rest}".strip()


def changes(table: Table, rng: np.random.Generator) -> tuple[str, ...]:
    """Return four sentences about the change in a pair."""
    body = table.subject
    if body is None:
        return tuple(NOTHING[i] for i in rng.permutation(len(NOTHING))[:4])
    frames = TOLD[table.change]
    order = [frames[i] for i in rng.permutation(len(frames))[:4]]
    return tuple(_tell(frame, table, body, rng) for frame in order)


def _tell(frame: str, table: Table, body: Body, rng: np.random.Generator) -> str:
    values: dict[str, str] = {"old": _word(table.change, table.old, rng), "new": _word(table.change, table.new, rng)}
    shape = pick(rng, SHAPE_WORDS[body.shape])
    full = thing(body, rng, *(() if table.change in ("material", "texture") else (pick(rng, ("material", "texture")),)))
    return frame.format(the=thing(body, rng), full=full, some=a(full), shape=shape, **values)


def _word(change: str, value: str, rng: np.random.Generator) -> str:
    if change == "shape":
        return a(pick(rng, SHAPE_WORDS[value]))
    if change == "move":
        return f"the {value}"
    words = {"colour": COLOUR_WORDS, "material": MATERIAL_WORDS, "texture": TEXTURE_WORDS}.get(change)
    return pick(rng, words[value]) if words else value


NOTHING = (
    "nothing has changed",
    "there is no difference",
    "the scene remains the same",
    "the two pictures show the same scene",
    "no change was made",
    "everything stayed as it was",
)
TOLD = {
    "colour": (
        "the {the} turned {new}",
        "the {full} became {new}",
        "the {old} {shape} is now {new}",
        "the {shape} changed its colour from {old} to {new}",
    ),
    "shape": (
        "the {the} turned into {new}",
        "the {full} became {new}",
        "the {the} was replaced by {new} of the same colour",
        "where the {full} was there is now {new}",
    ),
    "material": (
        "the {the} is now {new} instead of {old}",
        "the {the} changed from {old} to {new}",
        "the {old} {shape} became {new}",
        "someone exchanged the {the} for a {new} one",
    ),
    "texture": (
        "the {the} is now {new}",
        "the {old} {the} became {new}",
        "the surface of the {the} changed from {old} to {new}",
        "the {shape} is {new} instead of {old}",
    ),
    "size": (
        "the {the} is {new} now",
        "the {full} changed from {old} to {new}",
        "the {the} is no longer {old} but {new}",
        "the size of the {full} went from {old} to {new}",
    ),
    "move": (
        "the {the} was moved to {new}",
        "the {full} moved from {old} to {new}",
        "someone pushed the {the} to {new}",
        "the {the} is at {new} now",
    ),
    "add": (
        "{some} has appeared",
        "there is a new {the}",
        "someone added {some}",
        "the {the} was not there before",
    ),
    "remove": (
        "the {the} has disappeared",
        "the {full} is gone",
        "someone took the {the} away",
        "the {full} is missing",
    ),
}
