"""Clips and stills of three made activities, and a model trained on them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quiver.benchmarks.datasets.world.files import save_video
from quiver.encoders._settings import changed
from quiver.encoders.map_ivr.train import PRESETS, train
from quiver.task import Question, Task
from quiver.types import Item, Query

COLOURS = {"dig": (210, 40, 40), "row": (40, 170, 60), "ski": (50, 60, 220)}
QUICK = {
    "device": "cpu", "image": "classic", "video": "classic frames=2 + motion frames=4", "loop.batch": 12,
    "loop.epochs": 60.0, "validations": 2, "log_every": 100,
}  # fmt: skip


def picture(rng, colour, at):
    frame = np.full((48, 48, 3), 128, np.uint8) + rng.integers(0, 12, (48, 48, 3), dtype=np.uint8)
    frame[10:30, at : at + 20] = colour
    return frame


def made(folder: Path, *, clips=4, stills=4, seed=0) -> Task:
    """Stills ask for the clips of their colour; still n was taken from clip n, which does not compete."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    items, questions = [], []
    for name, colour in COLOURS.items():
        for number in range(clips):
            path = folder / f"{name}{number}.mp4"
            save_video(path, np.stack([picture(rng, colour, 2 * t) for t in range(8)]), 8.0)
            meta = {"activity": name, "person": ("ann", "ben")[number % 2]}
            items.append(Item(f"{name}{number}", {"video": str(path)}, meta))
        for number in range(stills):
            path = folder / f"{name}{number}.png"
            Image.fromarray(picture(rng, colour, 8)).save(path)
            right = {f"{name}{other}": 1 for other in range(clips)}
            own = (f"{name}{number}",) if number < clips else ()
            query = Query(media={"image": str(path)}, target="video")
            questions.append(Question(f"{name} {number}", query, right, exclude=own))
    return Task("made", "0", items, questions, ("APh@10",), "video", "made", "made here")


@pytest.fixture(scope="session")
def task(tmp_path_factory) -> Task:
    return made(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def trained(task, tmp_path_factory) -> Path:
    """The folder of a run."""
    out = tmp_path_factory.mktemp("run") / "hands"
    train(task, task, out, recipe=changed(PRESETS["tiny"], QUICK | {"data.probe": "person"}))
    return out
