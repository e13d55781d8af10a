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
from tests.encoders import captioners
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


def write_module(page, tmp_path, monkeypatch):
    """Write the module that a page shows, and let it be imported."""
    path, code = re.search(r"^```python (\S+)\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S).groups()
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)


def test_captions_are_written_as_the_page_says(tmp_path, photos, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    write_module("captions.md", tmp_path, monkeypatch)
    for kind, name in (("blip", "Salesforce/blip-image-captioning-base"), ("qwen3_vl", "Qwen/Qwen3-VL-2B-Instruct")):
        captioners.write(kind, tmp_path / name)  # a folder of this name comes before the Hub
    said = list(run("captions.md").values())
    assert len(said) == 11
    assert re.fullmatch(r"-\d+\.\d{3}  .*\n", said[0])
    assert said[1].splitlines()[3] == "photos/blue0.png" and len(said[1].splitlines()) == 6
    assert said[4].startswith("24 added") and "24 captioned" in said[4]
    assert "caption_by: transformers/blip-image-captioning-base@" in said[5]
    assert "captioned" not in said[7] and said[8] == said[0]
    assert "24 captioned" in said[9]
    found = [line.split("\t")[2] for line in said[10].splitlines()]
    assert found == ["photos/red0.png", "photos/red1.png", "photos/red2.png"]
