import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from quiver.encoders._train import forget, write_recipe
from quiver.errors import BadSpec


@dataclass(frozen=True, kw_only=True)
class Recipe:
    rate: float = 0.1
    steps: int = 10
    warm_steps: int = 2
    backbone: Path = Path("weights")
    device: str = "auto"


@pytest.fixture
def begun(tmp_path):
    write_recipe(tmp_path, Recipe(), model="mine", data=["a.csv"])
    (tmp_path / "resume").mkdir()
    return tmp_path


def test_the_recipe_is_written_with_model_and_data(begun):
    write_recipe(begun, Recipe())
    found = json.loads((begun / "recipe.json").read_text())
    assert found["model"] == "mine" and found["data"] == ["a.csv"]
    assert found["recipe"]["rate"] == 0.1 and found["recipe"]["backbone"] == "weights"


def test_steps_may_be_raised_and_the_device_may_be_another(begun):
    write_recipe(begun, replace(Recipe(), steps=11, warm_steps=3, device="cpu"))
    assert json.loads((begun / "recipe.json").read_text())["recipe"]["steps"] == 11


@pytest.mark.parametrize(
    ("changes", "said", "names"),
    [
        ({"rate": 0.2}, {}, "rate=0.1, not 0.2"),
        ({"steps": 9}, {}, "steps=10, not 9"),
        ({"backbone": Path("other")}, {}, "backbone=weights, not other"),
        ({}, {"model": "yours"}, "model=mine, not yours"),
        ({}, {"data": ["b.csv"]}, r"--data=\['a.csv'\], not \['b.csv'\]"),
    ],
)
def test_another_setting_is_named_and_refused(begun, changes, said, names):
    with pytest.raises(BadSpec, match=f"was begun with {names}"):
        write_recipe(begun, replace(Recipe(), **changes), **said)
    assert json.loads((begun / "recipe.json").read_text())["recipe"]["rate"] == 0.1


def test_nothing_saved_binds_nobody_and_forgetting_leaves_strangers_files(begun):
    (begun / "notes.txt").touch()
    forget(begun)
    assert [path.name for path in begun.iterdir()] == ["notes.txt"]
    write_recipe(begun, replace(Recipe(), rate=0.2))
    write_recipe(begun, replace(Recipe(), rate=0.3))


def test_a_folder_that_holds_no_run_is_left_alone(tmp_path):
    (tmp_path / "model").mkdir()
    forget(tmp_path)
    assert (tmp_path / "model").is_dir()
