"""Every preset of every model takes a step by its own code, and leaves all of its files.

Sizes that memory or time demand are reduced by ``Case.small`` of the measurement; weights that would be downloaded are
random ones of the same library.
"""

import importlib
import json
import shlex
from pathlib import Path

import pytest
import torch

import quiver.encoders
from quiver import registry
from quiver.benchmarks.speed import presets
from quiver.benchmarks.speed.presets import CASES, run

#: What a model's folder holds beside config.json and model.safetensors.
BESIDE = {
    "mmv": ("words.txt", "deflated.safetensors"),
    "fashionbert": ("tokenizer.json", "patches.json"),
    "clip4idc": ("caption/config.json", "caption/model.safetensors"),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_no_preset_is_left_out():
    folders = [Path(place) for place in quiver.encoders.__path__]
    found = (path.parent.name for folder in folders for path in folder.glob("*/recipe.py"))
    models = {name for name in found if not name.startswith("_")}
    known = {
        (model, preset)
        for model in models
        for preset in importlib.import_module(f"quiver.encoders.{model}.recipe").PRESETS
    }
    assert {(case.model, case.preset) for case in CASES} == known


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A folder for the media, which are the same for all presets."""
    return tmp_path_factory.mktemp("made") / "media"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_step_leaves_a_whole_model(case, tmp_path, media):
    found = run(case, tmp_path, small=True, steps=1, media=media)
    assert found["rows_per_second"] > 0 and found["rss_mib"] > 0
    out = tmp_path / "run"
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"train", "validation"}
    assert (out / "resume").is_dir()
    wanted = ("config.json", "model.safetensors", *BESIDE.get(case.model, ()))
    assert [name for name in wanted if not (out / "model" / name).is_file()] == []
    spec = shlex.join([case.model, f"checkpoint={out / 'model'}"])
    encoder = registry.load("encoders", f"{spec} device=cpu")
    assert encoder.keys


def test_the_command_prints_a_row_per_preset(capsys):
    presets.main(["map_ivr tiny", "--small", "--steps", "2", "--json"])
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["preset"] == "map_ivr tiny" and told["batch"] == 4 and told["rows_per_second"] > 0
    with pytest.raises(SystemExit):
        presets.main(["mmv huge"])
    assert "there is no preset 'mmv huge'" in capsys.readouterr().err
