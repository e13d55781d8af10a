"""A shop of coloured squares with names, as a task, and recipes that learn it in a second."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from quiver.encoders._settings import changed
from quiver.encoders.two_tower.train import PRESETS, Recipe
from quiver.task import Question, Task
from quiver.types import Item, Query

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 220), "grey": (128, 128, 128)}
SIZES = ("small", "large")


def shop_task(folder: Path, *, own: bool = False) -> Task:
    """Eight products: squares on white; each is asked for by its name, or holds it itself."""
    folder.mkdir(parents=True, exist_ok=True)
    items, questions = [], []
    for colour, rgb in COLOURS.items():
        for size in SIZES:
            name = f"{size} {colour} square"
            picture = np.full((32, 32, 3), 255, np.uint8)
            side = 16 if size == "small" else 29
            picture[3 : 3 + side, 3 : 3 + side] = rgb
            file = folder / f"{name}.png"
            Image.fromarray(picture).save(file)
            media = {"image": str(file), **({"text": name} if own else {})}
            items.append(Item(name, media))
            if not own:
                questions.append(Question(name, Query(media={"text": name}), relevant={name: 1}))
    return task_of(items, questions)


def task_of(items: list[Item], questions: list[Question], *, target: str = "image") -> Task:
    return Task(
        name="shop",
        revision="0",
        items=items,
        questions=questions,
        measures=("Success@1",),
        target=target,
        protocol="name to picture",
        source="made here",
    )


def recipe_of(**changes: Any) -> Recipe:
    usual = {"dim": 16, "buckets": 256, "steps": 300, "batch": 8, "rate": 0.02, "warmup": 2, "decay": 0.0}
    often = {"word_dropout": 0.0, "validate_every": 50, "save_every": 0, "log_every": 50, "device": "cpu"}
    return changed(PRESETS["paper"], {**usual, **often, **changes})
