"""The folder of every trained model has the same files, so that a reader knows where to look."""

import ast
import importlib
import inspect
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import quiver.encoders
from quiver.encoders._saved import Saved

ENCODERS = Path(next(iter(quiver.encoders.__path__)))
TRAINED = sorted(path.parent.name for path in ENCODERS.glob("*/train.py") if not path.parent.name.startswith("_"))
FILES = ("__init__", "config", "model", "loss", "data", "recipe", "train", "validate", "encoder")


def test_there_are_trained_models():
    assert {"artemis", "fashionbert", "mmv", "two_tower"} <= set(TRAINED)


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
