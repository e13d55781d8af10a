import importlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from quiver.encoders._settings import changed, flat, former_names
from quiver.encoders._train import Loop, Phase, checkpoint, forget, write_recipe
from quiver.encoders._train.order import Order
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


@dataclass(frozen=True, kw_only=True)
class Grouped:
    loop: Loop
    align: Phase = field(default_factory=lambda: Phase(steps=0, batch=1, rate=0.1))


def test_another_number_of_ranks_goes_on_with_as_many_rows_an_update(tmp_path, monkeypatch):
    def recipe(batch, align, **changes):
        loop = Loop(steps=4, batch=batch, rate=0.1, **changes)
        return Grouped(loop=loop, align=Phase(steps=1, batch=align, rate=0.1))

    monkeypatch.setenv("WORLD_SIZE", "4")
    write_recipe(tmp_path, recipe(6, 2, shard=True))
    (tmp_path / "resume").mkdir()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        BadSpec, match=r"started on 4 rank.* loop.batch=6, 24 rows an update: .* with 2, give loop.batch=12"
    ):
        write_recipe(tmp_path, recipe(6, 4))
    with pytest.raises(
        BadSpec, match=r"align.batch=2, 8 rows an update: to go on with 2, give align.batch=4, or --fresh"
    ):
        write_recipe(tmp_path, recipe(12, 3))
    with pytest.raises(BadSpec, match=r"started with loop.rate=0.1, not 0.2"):
        write_recipe(tmp_path, replace(recipe(12, 4), loop=Loop(steps=4, batch=12, rate=0.2)))
    write_recipe(tmp_path, recipe(12, 4, accumulate=2))
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(
        BadSpec, match=r"on 2 rank\(s\) with .* to go on with 5, take a number of ranks that divides 24"
    ):
        write_recipe(tmp_path, recipe(4, 1))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadSpec, match=r"started with loop.batch=12, not 6"):
        write_recipe(tmp_path, recipe(6, 4, accumulate=2))


@pytest.mark.parametrize("unit", ["steps", "epochs"])
def test_a_run_with_a_cosine_is_extended_only_by_a_restart(tmp_path, unit):
    def recipe(count, **changes):
        return Grouped(loop=Loop(batch=1, rate=0.1, **{unit: count}, **changes))

    write_recipe(tmp_path, recipe(4))
    (tmp_path / "resume").mkdir()
    with pytest.raises(BadSpec, match=rf"planned for loop.{unit}=4.*: loop.{unit}=8 would raise"):
        write_recipe(tmp_path, recipe(8))
    write_recipe(tmp_path, recipe(4, validations=3))  # nothing of what was refused has been written
    new = Phase(steps=9, batch=1, rate=0.1)
    write_recipe(tmp_path, replace(recipe(4), align=new))  # a part that has not begun
    write_recipe(tmp_path, replace(recipe(8, extend="restart"), align=new))
    with pytest.raises(BadSpec, match=f"was started with loop.{unit}=8.*, not 4"):
        write_recipe(tmp_path, replace(recipe(4, extend="restart"), align=new))


@pytest.mark.parametrize("schedule", [{"schedule": "constant"}, {"schedule": "halve", "halve_every": 2}])
def test_schedules_without_an_end_go_on(tmp_path, schedule):
    write_recipe(tmp_path, Grouped(loop=Loop(steps=4, batch=1, rate=0.1, **schedule)))
    (tmp_path / "resume").mkdir()
    write_recipe(tmp_path, Grouped(loop=Loop(steps=8, batch=1, rate=0.1, **schedule)))


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
    with pytest.raises(BadSpec, match=f"was started with {names}"):
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


#: What the first version wrote, whose recipes had no groups.
FORMER = json.loads((Path(__file__).parent / "former_recipes.json").read_text())


@pytest.mark.parametrize("model", FORMER)
def test_runs_begun_before_recipes_had_groups_go_on(model, tmp_path):
    preset = importlib.import_module(f"quiver.encoders.{model}.recipe").PRESETS["cpu"]
    known = former_names(preset, FORMER[model])
    assert sorted(map(str, known.values())) == sorted(map(str, FORMER[model].values()))  # every setting has a place
    recipe = changed(preset, known)
    (tmp_path / "resume").mkdir()
    (tmp_path / "recipe.json").write_text(json.dumps({"model": model, "data": ["x"], "recipe": FORMER[model]}))
    write_recipe(tmp_path, recipe, model=model, data=["x"])
    for name in ("loop.rate", "loop.seed", "loop.batch"):
        with pytest.raises(BadSpec, match=f"was started with {name}="):
            write_recipe(tmp_path, changed(recipe, {name: flat(recipe)[name] + 1}), model=model, data=["x"])


def test_steps_may_be_counted_in_epochs():
    loop = Loop(epochs=2.5, batch=1, rate=1.0, schedule="halve", halve_epochs=0.5, validations=4).counted(10)
    assert (loop.steps, loop.halve_every, loop.validate_every) == (25, 5, 6)
    assert (loop.epochs, loop.halve_epochs, loop.validations) == (0, 0, 0)
    assert loop.counted(99) == loop
    assert Loop(epochs=0.01, batch=1, rate=1.0).counted(10).steps == 1
    with pytest.raises(BadSpec, match="steps and epochs set the same quantity"):
        Loop(steps=1, epochs=1.0, batch=1, rate=1.0)
    with pytest.raises(BadSpec, match="steps or epochs must be above 0"):
        Loop(batch=1, rate=1.0).check_steps()


def test_epochs_are_passes_of_all_ranks_together():
    loop = Loop(epochs=50.0, batch=10, rate=1.0, halve_epochs=10.0)
    alone, eight = (Order.of(800, 10, seed=0, ranks=ranks).steps for ranks in (1, 8))
    assert (loop.counted(alone).steps, loop.counted(alone).halve_every) == (4000, 800)
    assert (loop.counted(eight).steps, loop.counted(eight).halve_every) == (500, 100)


def test_a_phase_has_settings_of_its_own_and_shares_the_others():
    base = Loop(epochs=3.0, batch=8, rate=0.1, warmup=30, decay=0.5, seed=7)
    loop = Phase(steps=100, batch=2, rate=0.2).loop(base)
    assert (loop.steps, loop.epochs, loop.batch, loop.rate, loop.warmup) == (100, 0, 2, 0.2, 10)
    assert (loop.decay, loop.seed) == (0.5, 7)


def test_a_warmup_may_be_a_share_of_all_updates():
    loop = Loop(epochs=4.0, batch=8, rate=0.1, warmup_share=0.25)
    assert (loop.counted(10).warmup, loop.counted(10).warmup_share) == (10, 0.0)
    assert Phase(steps=100, batch=2, rate=0.2).loop(loop).warmup == 25
    with pytest.raises(BadSpec, match="warmup and warmup_share set the same quantity"):
        Loop(steps=1, batch=1, rate=0.1, warmup=3, warmup_share=0.1)
    with pytest.raises(BadSpec, match="warmup_share must be from 0 to 1"):
        Loop(steps=1, batch=1, rate=0.1, warmup_share=1.5)


@pytest.mark.parametrize(("decay", "same"), [(0.0, True), (0.1, False)])
def test_without_decay_adam_and_adamw_are_one_and_the_same_run(tmp_path, decay, same):
    model, point = nn.Linear(1, 1), checkpoint.Point(step=3)
    said = {"decay": decay, "optimiser": "adam"}
    parts = [("model", checkpoint.snapshot(model)), ("optimiser", {"weight/step": torch.zeros(1)})]
    checkpoint.save(tmp_path, point, parts=parts, terms=said)
    terms = {"decay": decay, "optimiser": "adamw"}
    if same:
        assert checkpoint.resume(tmp_path, model, terms=terms).step == 3
    else:
        with pytest.raises(BadSpec, match="optimiser=adam, not adamw"):
            checkpoint.resume(tmp_path, model, terms=terms)
