"""The pages in docs are true: every snippet in them runs, in order, in one folder."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from quiver.cli import app

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.M | re.S)
#: Colours of scenes, each of them 4 s long.
SEA, BOAT, QUAY, STALL, FRUIT = (40, 90, 200), (210, 60, 40), (120, 120, 120), (230, 200, 90), (60, 170, 70)


def film(path, *scenes):
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for colour in scenes:
            for _ in range(20):
                picture = np.full((48, 64, 3), colour, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    film(folder / "harbour.mp4", SEA, SEA, QUAY, QUAY, BOAT, BOAT)
    film(folder / "market.mp4", STALL, FRUIT, STALL)
    Image.new("RGB", (64, 48), BOAT).save(tmp_path / "boat.jpg")


def run(page):
    """Run the snippets of a page; return what each command printed."""
    outputs = {}
    for language, code in BLOCK.findall((DOCS / page).read_text()):
        if language == "python":
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            outputs[code] = done.stdout
            continue
        for line in code.splitlines():
            program, *words = shlex.split(line)
            assert program == "quiver"
            called = CliRunner().invoke(app, words, catch_exceptions=False)
            assert called.exit_code == 0, (line, called.output)
            outputs[line] = called.stdout
    return outputs


def test_moments_are_found_as_the_page_says(tmp_path, films, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = run("image-to-video.md")
    assert len(outputs) == 9
    said = list(outputs.values())
    assert said[0].startswith("6 added")
    assert said[1].splitlines()[0].split("\t")[2] == "films/harbour.mp4#t=14,24"
    assert [line.split("\t")[2].partition("#")[0] for line in said[2].splitlines()] == [
        "films/harbour.mp4",
        "films/market.mp4",
    ]
    assert {hit["id"] for hit in json.loads(said[3])["hits"]} == {
        *(f"films/harbour.mp4#t={part}" for part in ("0,10", "5,15")),
        *(f"films/market.mp4#t={part}" for part in ("0,10", "2,12")),
    }
    assert "0:14 to 0:24</a>" in (tmp_path / "moments.html").read_text()
    assert "windows: 6 of 2 films" in said[5]
    assert said[6].split() == ["films/harbour.mp4#t=14,24", "films/harbour.mp4", "14.0", "24.0"]
    assert "0 added" in said[7] and "6 embedded" in said[7] and "6 embedded" in said[8]
