"""Made change pairs: four squares on a 16 x 16 picture, one of which changes its colour or vanishes."""

from pathlib import Path

import numpy as np
from PIL import Image

from quiver.encoders._settings import changed
from quiver.encoders.clip4idc.recipe import PRESETS
from quiver.task import Question, Task
from quiver.types import Item, Query

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 220), "white": (250, 250, 250)}
PLACES = {"left": (2, 6), "right": (10, 6)}


SHORT = {"loop.device": "cpu", "loop.log_every": 100, "loop.save_every": 0}


def small(**changes):
    """Return the tiny recipe, for these pictures."""
    sizes = {"model.dim": 16, "model.vision.width": 32, "model.vision.intra": 0, "model.text.width": 32}
    sizes |= {"model.text.vocabulary": 200, "grid.rows": 2, "grid.columns": 2, "model.text.length": 16}
    return changed(PRESETS["tiny"], SHORT | sizes | changes)


def picture(colours: dict[str, str], light: int = 0) -> np.ndarray:
    shown = np.full((16, 16, 3), 60 + light, np.uint8)
    for place, colour in colours.items():
        x, y = PLACES[place]
        shown[y : y + 4, x : x + 4] = COLOURS[colour]
    return shown


def write(folder: Path) -> Task:
    """Twenty-four pairs: each square in turn turns from one colour to another; each with two sentences."""
    folder.mkdir(parents=True, exist_ok=True)
    items, questions = [], []
    for place in PLACES:
        other = next(each for each in PLACES if each != place)
        for old in COLOURS:
            for new in COLOURS:
                if old == new:
                    continue
                id = f"{place}-{old}-{new}"
                media, rest = {}, {other: "white"}
                for name, colour in (("before", old), ("after", new)):
                    media[name] = str(folder / f"{id}-{name}.png")
                    Image.fromarray(picture({place: colour, **rest})).save(media[name])
                far = str(folder / f"{id}-far.png")
                Image.fromarray(picture({place: old, **rest}, light=40)).save(far)
                items.append(Item(id, media, {"distractor": far}))
                texts = (f"the {place} square turned from {old} to {new}", f"{place}: {old} became {new}")
                for number, text in enumerate(texts):
                    questions.append(Question(f"{id}#{number}", Query({"text": text}, target="pair"), {id: 1}))
    return Task("squares", "0", items, questions, ("Success@1",), "pair", "", "made here")
