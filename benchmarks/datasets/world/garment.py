"""Garments: attributes, families that differ in one of them, product texts, and modifications.

A family is eight photographs of one split: a product seen twice, and six products that differ from
it in one attribute each. So every modification has a target, and most have near misses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from quiver.benchmarks.datasets.world.model import CYCLE, RGB, pick, split_of, stream

DYES: dict[str, RGB] = {
    "red": (0.78, 0.10, 0.13),
    "orange": (0.93, 0.50, 0.12),
    "yellow": (0.95, 0.83, 0.25),
    "green": (0.16, 0.50, 0.24),
    "teal": (0.10, 0.60, 0.60),
    "blue": (0.16, 0.33, 0.76),
    "purple": (0.45, 0.20, 0.60),
    "pink": (0.94, 0.56, 0.70),
    "brown": (0.42, 0.26, 0.15),
    "black": (0.10, 0.10, 0.12),
    "white": (0.95, 0.95, 0.94),
    "grey": (0.55, 0.55, 0.57),
}
TYPES = ("shirt", "hoodie", "jacket", "dress", "jumpsuit", "skirt", "trousers")
PATTERNS = ("plain", "striped", "pinstriped", "dotted", "checked", "zigzag")
SLEEVES = ("sleeveless", "short", "long")
NECKS = ("round", "v", "square", "high")
LENGTHS = ("short", "medium", "long")
FITS = ("slim", "loose")
DETAILS = ("none", "buttons", "pockets", "belt")
FAMILY = 8
MEMBERS, TEXTS, WISHES = 1, 100, 200  # parts of the stream of a family or garment; TEXTS and WISHES are ranges

SLEEVED = ("shirt", "hoodie", "jacket", "dress", "jumpsuit")
NECKED = ("shirt", "dress", "jumpsuit")
ATTRIBUTES = ("colour", "pattern", "sleeve", "neck", "length", "fit", "detail")


@dataclass(frozen=True, slots=True)
class Cut:
    """Attributes of a garment, independent of the photograph; sleeve and neck are empty if the type has none."""

    type: str
    colour: str
    pattern: str
    sleeve: str
    neck: str
    length: str
    fit: str
    detail: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A garment before it is rendered: its cut, the split and product it belongs to."""

    split: str
    product: str
    cut: Cut


@lru_cache(maxsize=64)
def _rule(seed: int) -> dict[str, int]:
    rng = stream(seed, "rule", 1)
    ranks = {name: int(rank) for name, rank in zip(DYES, rng.permutation(len(DYES)), strict=True)}
    return ranks | {name: int(rank) for name, rank in zip(TYPES, rng.permutation(len(DYES)), strict=False)}


def cut_split(seed: int, kind: str, colour: str) -> str:
    """Return the split that (type, colour) belongs to: 7 colours of a type in train, 2 in validation, 3 in test."""
    return (*CYCLE, "validation", "test")[(_rule(seed)[kind] + _rule(seed)[colour]) % len(DYES)]


def values_of(seed: int, cut: Cut, attribute: str, split: str) -> tuple[str, ...]:
    """Return the values a cut may have instead, within its split; none where its type lacks the attribute."""
    choices = {
        "colour": tuple(name for name in DYES if cut_split(seed, cut.type, name) == split),
        "pattern": PATTERNS,
        "sleeve": SLEEVES if cut.type in SLEEVED else (),
        "neck": NECKS if cut.type in NECKED else (),
        "length": LENGTHS,
        "fit": FITS,
        "detail": DETAILS,
    }[attribute]
    return tuple(value for value in choices if value != getattr(cut, attribute))


def draw_piece(seed: int, index: int) -> Piece:
    """Draw one garment; those of a family are drawn from the same stream."""
    family, member = divmod(index, FAMILY)
    split, cuts = split_of(family), _family(seed, family)
    variant = max(member - 1, 0)  # the first two are photographs of one product
    return Piece(split, f"p{family:05d}{'abcdefg'[variant]}", cuts[variant])


@lru_cache(maxsize=256)
def _family(seed: int, family: int) -> tuple[Cut, ...]:
    rng, split = stream(seed, "garment", family, MEMBERS), split_of(family)
    kind = pick(rng, TYPES)
    base = Cut(kind, "", *(pick(rng, values) for values in (PATTERNS, SLEEVES, NECKS, LENGTHS, FITS, DETAILS)))
    base = replace(
        base,
        colour=pick(rng, values_of(seed, base, "colour", split)),
        sleeve=base.sleeve if kind in SLEEVED else "",
        neck=base.neck if kind in NECKED else "",
    )
    cuts = [base]
    while len(cuts) < FAMILY - 1:
        attribute = pick(rng, ATTRIBUTES)
        options = values_of(seed, base, attribute, split)
        if options and (cut := replace(base, **{attribute: pick(rng, options)})) not in cuts:
            cuts.append(cut)
    return tuple(cuts)


@dataclass(frozen=True, slots=True)
class Triplet:
    """A reference garment, the wanted change, and every garment of its split that fits.

    Attributes:
        reference: index of a garment. texts: sentences that ask for the change.
        attribute, old, new: the change asked for. targets: indices, ascending, never the reference.
    """

    reference: int
    texts: tuple[str, ...]
    attribute: str
    old: str
    new: str
    targets: tuple[int, ...]
    split: str


def triplets(seed: int, garments: int) -> tuple[Triplet, ...]:
    """List every single-attribute change between two garments of one family among the first ``garments``."""
    pieces = [draw_piece(seed, index) for index in range(garments)]
    where: dict[tuple[str, Cut], list[int]] = {}
    for index, piece in enumerate(pieces):
        where.setdefault((piece.split, piece.cut), []).append(index)
    found = []
    for index, piece in enumerate(pieces):
        start = index - index % FAMILY
        for slot, other in enumerate(pieces[start : start + FAMILY]):
            changed = [name for name in ATTRIBUTES if getattr(other.cut, name) != getattr(piece.cut, name)]
            if len(changed) == 1 and slot != 1:  # 1 shows the same product as 0
                old, new = (getattr(cut, changed[0]) for cut in (piece.cut, other.cut))
                texts = _wishes(other.cut, changed[0], old, stream(seed, "garment", index, WISHES + slot))
                targets = tuple(where[piece.split, other.cut])
                found.append(Triplet(index, texts, changed[0], old, new, targets, piece.split))
    return tuple(found)


PATTERN_WORDS = {
    "plain": ("plain", "solid"),
    "striped": ("striped", "horizontally striped"),
    "pinstriped": ("pinstriped", "vertically striped"),
    "dotted": ("dotted", "polka-dot"),
    "checked": ("checked", "plaid"),
    "zigzag": ("zigzag", "chevron"),
}
DYE_WORDS = {
    "red": ("red", "scarlet"),
    "orange": ("orange", "apricot"),
    "yellow": ("yellow", "mustard"),
    "green": ("green", "emerald"),
    "teal": ("teal", "petrol"),
    "blue": ("blue", "royal blue"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose"),
    "brown": ("brown", "chocolate"),
    "black": ("black", "jet black"),
    "white": ("white", "ivory"),
    "grey": ("grey", "charcoal"),
}
TYPE_WORDS = {
    "shirt": ("shirt", "top"),
    "hoodie": ("hoodie", "hooded sweater"),
    "jacket": ("jacket", "coat"),
    "dress": ("dress", "gown"),
    "jumpsuit": ("jumpsuit", "overall"),
    "skirt": ("skirt",),
    "trousers": ("trousers", "pants"),
}
LENGTH_WORDS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "top": {"short": ("cropped",), "medium": ("hip-length", "regular-length"), "long": ("longline", "extra long")},
    "gown": {"short": ("mini",), "medium": ("midi", "knee-length"), "long": ("maxi", "ankle-length")},
    "legs": {"short": ("short-leg",), "medium": ("three-quarter",), "long": ("full-length",)},
}
FAMILIES_OF_LENGTH = {"dress": "gown", "skirt": "gown", "trousers": "legs", "jumpsuit": "legs"}
SLEEVE_WORDS = {"sleeveless": ("sleeveless",), "short": ("short-sleeved",), "long": ("long-sleeved",)}
NECK_WORDS = {
    "round": ("round neck", "crew neck"),
    "v": ("V-neck", "plunging neckline"),
    "square": ("square neckline",),
    "high": ("turtleneck", "high neck"),
}
FIT_WORDS = {"slim": ("slim fit", "close fit"), "loose": ("loose fit", "relaxed fit")}
DETAIL_WORDS = {
    "none": ("no extras",),
    "buttons": ("a row of buttons", "buttons down the front"),
    "pockets": ("two pockets", "patch pockets"),
    "belt": ("a belt", "a contrasting belt"),
}
MAKERS = ("Aldane", "Brisk & Co", "Corvell", "Dunmore", "Elsa Fenn", "Fjord", "Grayling", "Hallow")
FABRICS = ("cotton", "linen", "wool blend", "viscose", "jersey", "recycled polyester")
CARE = ("Machine washable.", "Hand wash only.", "Do not tumble dry.", "Dry clean.", "Model wears size M.")


def length_word(cut: Cut, rng: np.random.Generator) -> str:
    """Say how long a garment is, in the words of its type."""
    return pick(rng, LENGTH_WORDS[FAMILIES_OF_LENGTH.get(cut.type, "top")][cut.length])


def product_text(seed: int, index: int) -> tuple[str, str]:
    """Return name and description of the product a garment is, with some that a photograph cannot show."""
    family, member = divmod(index, FAMILY)
    cut, rng = draw_piece(seed, index).cut, stream(seed, "garment", family, TEXTS + max(member - 1, 0))
    pattern = f"{pick(rng, PATTERN_WORDS[cut.pattern])} " if cut.pattern != "plain" else ""
    sleeve = f"{pick(rng, SLEEVE_WORDS[cut.sleeve])} " if cut.sleeve else ""
    kind, dye = pick(rng, TYPE_WORDS[cut.type]), pick(rng, DYE_WORDS[cut.colour])
    name = f"{pick(rng, MAKERS)} {dye} {pattern}{sleeve}{kind}"
    neck = f" It has a {pick(rng, NECK_WORDS[cut.neck])}." if cut.neck else ""
    extras = f" Comes with {pick(rng, DETAIL_WORDS[cut.detail])}." if cut.detail != "none" else ""
    long = length_word(cut, rng)
    made = f"{long} {kind} in {pick(rng, DYE_WORDS[cut.colour])} {pick(rng, FABRICS)}"
    first = f"{made[0].upper()}{made[1:]}, {pick(rng, FIT_WORDS[cut.fit])}."
    return name, f"{first}{neck}{extras} {pick(rng, CARE)}"


def _wishes(cut: Cut, attribute: str, old: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Return three ways to ask for the changed attribute of ``cut``, where ``old`` was its value."""
    value, kind = getattr(cut, attribute), pick(rng, TYPE_WORDS[cut.type])
    if attribute == "length":
        longer = LENGTHS.index(value) > LENGTHS.index(old)
        word = length_word(cut, rng)
        return f"but {word}", f"is {'longer' if longer else 'shorter'}, {word}", f"the same {kind}, {word}"
    new, was = pick(rng, WORDS[attribute][value]), pick(rng, WORDS[attribute][old])
    if attribute == "detail" and value == "none":
        return f"but without {was}", f"the same {kind} without {was}", f"is simpler, has no {old}"
    but, verb = JOINTS.get(attribute, ("", "is "))
    rather = "" if old == "none" else f" instead of {was}"
    return f"but {but}{new}", f"{verb}{new}{rather}", f"the same {kind} {but}{new}"


WORDS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "colour": DYE_WORDS,
    "pattern": PATTERN_WORDS,
    "sleeve": SLEEVE_WORDS,
    "neck": NECK_WORDS,
    "fit": FIT_WORDS,
    "detail": DETAIL_WORDS,
}
JOINTS = {
    "colour": ("in ", "is "),
    "neck": ("with a ", "has a "),
    "detail": ("with ", "has "),
    "fit": ("in a ", "is "),
}
