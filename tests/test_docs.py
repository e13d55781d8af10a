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
import soundfile
from PIL import Image
from tests.encoders import captioners
from tests.encoders.conftest import clap, write_kind
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


def rows_of(output):
    """Return the ids of printed hits."""
    return [line.split("\t")[2] for line in output.splitlines()]


def test_own_vectors_are_searched_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = list(run("your-vectors.md").values())
    assert len(said) == 8
    first, filtered, batch = said[0].splitlines()
    assert first.startswith("('item7', ") and filtered.startswith("('item7', ") and batch == "item42"
    assert said[1].strip() == "1" and said[2].startswith("1,000 added") and "items: 1,000" in said[3]
    assert said[5].strip() == "('item7',)"
    assert np.load("mine.npy").shape == (10, 64)


def test_own_questions_are_measured_as_the_page_says(tmp_path, photos, prices, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUIVER_CACHE", str(tmp_path / "cache"))
    prices.rename(tmp_path / "photos.csv")
    text = (DOCS / "measure.md").read_text()
    for name, table in re.findall(r"^```(?:csv|toml) (\S+)\n(.*?)^```", text, re.M | re.S):
        (tmp_path / name).write_text(table)
    said = list(run("measure.md").values())
    assert len(said) == 6 and said[0].startswith("24 added")
    assert [line.split("\t")[0] for line in said[1].splitlines() if "\t" in line] == [
        "system",
        "shop",
        "classic",
        "random",
    ]
    assert "1 of 6 right answers name no item with image, such as 'photos/nowhere.png'" in said[1]
    assert said[2].splitlines()[0].startswith("system\tR@2 [95%]\tnDCG@10")
    assert "data-mark" in (tmp_path / "marks.html").read_text() and "data-mark" in (tmp_path / "shop.html").read_text()
    assert "3 questions in common" in said[5]
    assert sorted(path.name for path in (tmp_path / "trec").iterdir()) == ["classic.run", "qrels.txt"]


def test_sounds_are_found_as_the_page_says(tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    write_kind(clap, tmp_path / "laion" / "clap-htsat-unfused")
    (tmp_path / "sounds").mkdir()
    lines = ["file,place,note"]
    for name, pitch in (("low", 110), ("high", 1760)):
        for n in range(3):
            time = np.arange(16_000) / 16_000
            wave = 0.3 * np.sin(2 * np.pi * (pitch + 5 * n) * time)
            soundfile.write(tmp_path / "sounds" / f"{name}{n}.wav", wave.astype(np.float32), 16_000)
            lines.append(f"{name}{n}.wav,{'harbour' if n else 'wood'},{name} tone recorded in {'fog' if n else 'rain'}")
    (tmp_path / "sounds.csv").write_text("\n".join(lines) + "\n")
    said = list(run("sounds.md").values())
    assert len(said) == 9 and said[0].startswith("6 added")
    assert len(rows_of(said[2])) == 3 and rows_of(said[3])[0] == "sounds/low0.wav"
    assert "sounds/low0.wav" not in rows_of(said[4])
    assert (tmp_path / "sounds.html").stat().st_size > 5000
    assert len(rows_of(said[6])) == 3
    assert set(rows_of(said[8])[:3]) == {f"sounds/low{n}.wav" for n in range(3)}


def test_composed_search_works_as_the_page_says(tmp_path, photos, prices, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    prices.rename(tmp_path / "photos.csv")
    said = list(run("fashion.md").values())
    assert len(said) == 9 and said[0].startswith("24 added")
    assert [name.rpartition("/")[2][:4] for name in rows_of(said[4])] == ["blue"] * 3
    assert len(rows_of(said[6])) == 3 and "artemis" in said[7] and len(said[8].splitlines()) == 3


def test_answers_are_shaped_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = run("answers.md")
    said = {command: printed for command, printed in outputs.items() if command.startswith("quiver ")}

    def ids(command):
        return [line.split("\t")[2] for line in said[command].splitlines()]

    assert said["quiver facets shop brand"].splitlines() == ["brand\titems", "a\t5", "b\t5"]
    assert ids("quiver search shop --vector 1,0 -k 5 --order-by price") == ["v2", "v11", "v0", "v10", "v1"]
    assert ids('quiver search shop --vector 1,0 -k 5 --order-by "price desc"') == ["v10", "v0", "v2", "v11", "v1"]
    assert ids("quiver search shop --vector 1,0 -k 3 --deduplicate 0.996") == ["v0", "v10", "v30"]
    assert len(said["quiver duplicates shop --threshold 0.996"].splitlines()) == 7
    assert ids("quiver search shop --vector 1,1 -k 3 --unlike v70")[0] in ("v11", "v30")
    assert "v90" in ids("quiver search shop --vector 1,0 -k 3 --diversity 0.7")
    learned = next(printed for code, printed in outputs.items() if "circle" in code and code.startswith("import"))
    assert "learned on 60 questions" in learned and learned.splitlines()[-1] == "0"
    assert len(ids("quiver search circle --id g3-0 --min-score auto")) == 2
