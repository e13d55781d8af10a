"""Shared by all tests: where the real data is, and small media made on the spot."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image, ImageDraw

from quiver.attribute_edits import edited
from quiver.task import Task
from quiver.types import Item

#: The same examples on every run: what is drawn anew each time is found by chance, on somebody else's machine.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def own_trust(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what tests name as trusted out of the settings of whoever runs them."""
    os.environ["QUIVER_CONFIG"] = str(tmp_path_factory.mktemp("config"))


#: Files that take longest: they come first, so that no process is left alone with one at the end.
LONGEST = ("tests/test_readme.py", "tests/benchmarks/ann/test_run.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, everything else in the order of its name."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Run torch in one thread: threads that wait for each other take longest where the models are tiny."""
    import torch

    held = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(held)


@pytest.fixture(scope="session")
def packs() -> Path:
    """The folder of real data packs; tests that ask for it are skipped where there is none."""
    folder = Path(os.environ.get("QUIVER_DATA", ROOT / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set QUIVER_DATA")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 24 small pictures: three colours, eight shades of each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(7)
    for colour, base in {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 200)}.items():
        for n in range(8):
            pixels = np.clip(np.array(base) + rng.integers(-25, 25, (24, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{colour}{n}.png")
    return folder


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package called lab, on the path of this test alone, for modules of a third party."""
    folder = tmp_path / "site" / "lab"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(folder.parent)
    forget_lab()
    yield folder
    forget_lab()


def forget_lab() -> None:
    """Forget imported modules of a package called lab: a later test has another one of that name."""
    for name in [name for name in sys.modules if name.split(".")[0] == "lab"]:
        del sys.modules[name]


@pytest.fixture
def prices(photos: Path) -> Path:
    """A table of metadata for the photos."""
    lines = ["file,colour,price,name"]
    for n, path in enumerate(sorted(photos.iterdir())):
        lines.append(f"{path.name},{path.stem[:-1]},{n},the {path.stem[:-1]} thing number {n}")
    table = photos.parent / "prices.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Two pictures of every colour and shape, and the templated questions for another colour or shape."""
    folder = tmp_path_factory.mktemp("shelf")
    items = []
    for colour in ("red", "green", "blue", "yellow"):
        for shape in ("ellipse", "rectangle", "bar"):
            for size in (20, 26):
                picture = Image.new("RGB", (64, 64), "white")
                box = (28, 2, 36, 32 + size) if shape == "bar" else (32 - size, 32 - size, 32 + size, 32 + size)
                kind = "ellipse" if shape == "ellipse" else "rectangle"
                getattr(ImageDraw.Draw(picture), kind)(box, fill=colour)
                path = folder / f"{colour}-{shape}-{size}.png"
                picture.save(path)
                meta = {"colour": colour, "shape": shape, "name": f"{colour} {shape}"}
                items.append(Item(path.stem, {"image": str(path)}, meta))
    task = Task("shelf", "0", items, [], ("Success@1",), "image", "all compete", "made")
    return edited(task, ("colour", "shape"))
