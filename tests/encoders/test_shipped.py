"""Checkpoints that ship with Quiver: small, named, trusted on any machine, and right about things they never saw."""

import importlib
import json
import re

import pytest
from typer.testing import CliRunner

import quiver
from quiver import registry, trust
from quiver.benchmarks import datasets
from quiver.cli import app
from quiver.engine.core.encoder import load
from quiver.errors import MissingWeights

SHIPPED = [(family, name) for family in registry.names("encoders") for name in registry.shipped("encoders", family)]
#: A world that no checkpoint has learnt from, and how many of its first items are searched.
WORLD, COUNT = "seed=5", 80


def test_there_are_some():
    assert ("mmv", "world") in SHIPPED


@pytest.mark.parametrize(("family", "name"), SHIPPED)
def test_a_checkpoint_is_small_and_says_where_it_comes_from(family, name):
    folder = registry.shipped("encoders", family)[name]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".md"}
    assert sum(path.stat().st_size for path in files) < 3_000_000
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"^quiver train {family} .*seed=", readme, re.M), "the command and the seed that made it"
    for said in ("torch 2", "random", "quiver bench recall", f"{family} checkpoint={name}"):
        assert said in readme
    json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize(("family", "name"), SHIPPED)
def test_a_name_is_the_same_model_in_any_folder_and_for_anybody(family, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path / "config"))
    spec = f"{family} checkpoint={name}"
    (tmp_path / name).mkdir()  # a folder of that name is another thing: ./NAME
    assert registry.canonical(spec) == spec and trust.is_plain(spec)
    assert load(spec).encoder.keys
    with pytest.raises(MissingWeights, match=f"the name of a checkpoint that ships with Quiver: {name}"):
        registry.load("encoders", f"{family} checkpoint=./{name}")
    assert registry.canonical(f"{family} checkpoint=./{name}") == f"{family} checkpoint={tmp_path / name}"


def test_a_folder_without_a_slash_does_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert registry.canonical("mmv checkpoint=model") == f"mmv checkpoint={tmp_path / 'model'}"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return the share of questions of a track with a right answer among the first ten, and that of chance."""

    def success(track, spec):
        place = tmp_path_factory.mktemp("world")
        task = datasets.load(f"world track={track} {WORLD} count={COUNT} folder={place / 'files'}")
        shop = quiver.open(place / "shop", catch_up=False)
        report = shop.add(*task.items, encoder=spec, workers=0, progress=False)
        assert (report.added, report.quarantined) == (len(task.items), 0)
        hits = shop.search_batch([quiver.Query(**asked(each)) for each in task.questions])
        right = [
            bool({hit.id for hit in each} & set(ask.relevant)) for each, ask in zip(hits, task.questions, strict=True)
        ]
        misses = [1 - len(each.relevant) / len(task.items) for each in task.questions]
        return sum(right) / len(right), 1 - sum(miss**10 for miss in misses) / len(misses)

    return success


def asked(question):
    query = question.query
    return {"media": query.media, "target": query.target, "exclude": question.exclude, "k": 10}


@pytest.mark.parametrize(("track", "family"), [("text_video", "mmv"), ("text_audio", "mmv")])
def test_right_answers_are_among_the_first_ten_of_things_never_seen(found, track, family, one_thread):
    share, chance = found(track, f"{family} checkpoint=world")
    assert share >= 0.9 > chance


def test_the_demo_finds_what_it_asks_for(tmp_path, monkeypatch, one_thread):
    monkeypatch.setattr(
        importlib.import_module("quiver.cli.demo"), "_COUNTS", {"scenes": 40, "stills": 8, "pairs": 16, "garments": 64}
    )
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0 and " 0 quarantined" in done.stdout
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("<p class=asked>") == 7 and "class=right" in page
    right, of = re.search(r"the first hit is right for (\d) of (\d) questions", done.stdout).groups()
    assert int(of) == 7 and int(right) >= 5
