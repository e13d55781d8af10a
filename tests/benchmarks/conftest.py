"""A small task of pictures, and its figures, measured once."""

import numpy as np
import pytest
from PIL import Image

from quiver.benchmarks.recall.outcome import Options
from quiver.benchmarks.recall.run import bench
from quiver.task import Question, Task
from quiver.types import Item, Query

COLOURS = {"red": (200, 40, 40), "green": (40, 170, 50), "blue": (40, 50, 200), "grey": (120, 120, 120)}
EACH = 5


@pytest.fixture(scope="session")
def swatches(tmp_path_factory):
    """Twenty pictures of four colours with much noise; the last red one cannot be decoded."""
    folder = tmp_path_factory.mktemp("swatches")
    rng = np.random.default_rng(11)
    for colour, base in COLOURS.items():
        for n in range(EACH):
            pixels = np.clip(np.array(base) + rng.normal(0, 90, (24, 24, 3)) + rng.normal(0, 60, 3), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{colour}{n}.png")
    (folder / "red4.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="session")
def task(swatches):
    """Every picture asks for the others of its colour; the two red4 are an item and a question that cannot be read."""
    names = [f"{colour}{n}" for colour in COLOURS for n in range(EACH)]
    items = [Item(name, {"image": str(swatches / f"{name}.png")}, {"colour": name[:-1]}) for name in names]
    questions = [
        Question(
            id=f"q-{name}",
            query=Query({"image": str(swatches / f"{name}.png")}, target="image"),
            relevant={other: 1 for other in names if other[:-1] == name[:-1] and other != name},
            exclude=(name,),
        )
        for name in names
    ]
    return Task(
        name="swatches",
        revision="5a",
        items=items,
        questions=questions,
        measures=("Success@1", "R@4", "RR"),
        target="image",
        protocol="picture to pictures of its colour, itself left out",
        source="made by the test",
    )


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A work folder that tests share, so that pictures are embedded once."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="session")
def measured(task, work):
    """The task with classic and random."""
    return bench(task, ["classic"], options=Options(work=work, resamples=500, progress=False))
