"""The folder of every trained model has the same files, so that a reader knows where to look."""

import ast
import importlib
import inspect
import re
import shlex
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import quiver.encoders
from quiver.encoders._saved import Saved
from quiver.encoders._settings import changed, parse

ENCODERS = Path(next(iter(quiver.encoders.__path__)))
TRAINED = sorted(path.parent.name for path in ENCODERS.glob("*/train.py") if not path.parent.name.startswith("_"))
FILES = ("__init__", "config", "model", "loss", "data", "recipe", "train", "validate", "encoder")


def test_there_are_trained_models():
    assert {"artemis", "clip4idc", "fashionbert", "map_ivr", "mmv", "two_tower"} <= set(TRAINED)


@pytest.mark.parametrize("model", TRAINED)
def test_a_trained_models_folder_has_its_files(model):
    found = {path.stem for path in (ENCODERS / model).glob("*.py")}
    assert set(FILES) - found == set()
    assert (ENCODERS / model / "README.md").is_file()
    encoder = importlib.import_module(f"quiver.encoders.{model}.encoder")
    if "scorers" in inspect.getsource(encoder):
        assert "scorer" in found


@pytest.mark.parametrize("model", TRAINED)
def test_each_file_holds_its_part(model):
    parts = {name: importlib.import_module(f"quiver.encoders.{model}.{name}") for name in FILES[1:]}
    assert is_dataclass(parts["config"].Config)
    assert any(issubclass(each, Saved) for _, each in inspect.getmembers(parts["model"], inspect.isclass))
    assert set(parts["recipe"].PRESETS) >= {"paper", "cpu"}
    assert parts["train"].Recipe is parts["recipe"].Recipe and parts["train"].PRESETS is parts["recipe"].PRESETS
    assert callable(parts["train"].train) and callable(parts["encoder"].build)


@pytest.mark.parametrize("model", TRAINED)
def test_a_config_is_read_without_torch(model):
    tree = ast.parse((ENCODERS / model / "config.py").read_text(encoding="utf-8"))
    taken = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [getattr(node, "module", "") or node.names[0].name for node in taken]
    assert [name for name in names if name.startswith(("torch", "quiver.encoders._train"))] == []


READMES = [Path(__file__).parents[2] / "README.md", *(ENCODERS / model / "README.md" for model in TRAINED)]
#: Words in documented commands that stand for a value.
PLACEHOLDERS = {"adaptive=RULE": "adaptive=raw", "seed=S": "seed=0"}


def commands():
    """Return the words of every documented ``quiver train``."""
    for readme in READMES:
        text = readme.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^quiver train (.*)$", text, re.M):
            yield shlex.split(line, comments=True)


@pytest.mark.parametrize("words", list(commands()), ids=lambda words: " ".join(words)[:60])
def test_settings_of_documented_commands_are_still_read(words):
    presets = importlib.import_module(f"quiver.encoders.{words[0]}.recipe").PRESETS
    options, skip = {}, False
    for word in words[1:]:
        if not skip and "=" in word and not word.startswith("--"):
            name, _, value = PLACEHOLDERS.get(word, word).partition("=")
            options[name] = value
        skip = word.startswith("--") and "=" not in word and word not in ("--recipe", "--fresh", "--json")
    preset = presets["paper" if "paper" in words else "cpu"]
    changed(preset, parse(preset, options, model=words[0]))
