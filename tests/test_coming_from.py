"""The jobs of docs/coming-from.md find the same in every library that is installed, in the lines that are counted."""

import re
from glob import glob
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "coming-from.md").read_text()
BLOCKS = re.findall(r"^```python (\w+)\n(.*?)^```", PAGE, re.M | re.S)
LIBRARIES = ("lancedb", "qdrant_client", "quiver")


def model():
    from quiver.encoders import classic

    encoder = classic.load()
    (space, *_) = encoder.spaces("image")
    return lambda path: np.asarray(encoder.embed("image", [encoder.reader("image")(path)], space))[0]


def answers(library, folder, monkeypatch):
    """Run the blocks of a library, in order; return what each job found."""
    monkeypatch.chdir(folder)
    names = {"glob": glob, "quiver_model": model}
    found = []
    for language, code in BLOCKS:
        if language in ("setup", library):
            exec(compile(code, f"coming-from.md, {library}", "exec"), names)
            found += [names["found"]] if language == library else []
    return found


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.filterwarnings("ignore")  # of other libraries
def test_every_library_finds_the_same(library, tmp_path, photos, monkeypatch):
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    vectors = np.random.default_rng(0).normal(size=(100, 8)).astype("float32")
    near = np.argsort(-(vectors @ vectors[7]) / np.linalg.norm(vectors, axis=1), kind="stable").tolist()
    brands = {}
    for n in near:
        if n != 7:
            brands.setdefault(n % 4, f"item{n}")
    first, filtered, best, count, picture = answers(library, tmp_path, monkeypatch)
    assert first == [f"item{n}" for n in near[:3]]
    assert filtered == [f"item{n}" for n in near if n < 50 and n % 4 == 0][:3]
    assert best == list(brands.values())[:3] and count == 3 and picture == "photos/red0.png"


def test_lines_are_counted_right():
    counts = {library: [] for library in LIBRARIES}
    for language, code in BLOCKS[1:]:
        lines = [line for line in code.splitlines() if line.strip() and not re.match(r"import |from ", line)]
        counts[language].append(len(lines))
    told = re.findall(r"^\| \d\. .*? \| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.M)
    assert [tuple(map(int, each)) for each in told] == list(zip(*counts.values(), strict=True))
