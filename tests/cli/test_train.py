import json
import shlex
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from quiver.cli import app
from quiver.errors import BadSpec

#: A model that learns a number from a text's length; all of a trainable model's folder, in two files.
MODEL = '''
"""Lengths."""
'''
TRAIN = '''
"""How lengths are learned."""
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import save_file
from torch import nn

from quiver.encoders._train import Loop, Outcome, fit, write_recipe


@dataclass(frozen=True, kw_only=True)
class Model:
    """The line.

    Attributes:
        start: its first slope and
            height.
        rate: of nothing, as another group has that name too.
    """

    start: float = 0.0
    rate: int = 1


def loop(steps):
    return Loop(steps=steps, batch=8, rate=0.3, schedule="constant", device="cpu")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How.

    Attributes:
        stop: the step at which somebody presses Ctrl-C.
    """

    FORMER: ClassVar[Mapping[str, str]] = {"learning_rate": "loop.rate"}

    stop: int | None = None
    model: Model = field(default_factory=Model)
    loop: Loop = field(default_factory=lambda: loop(60))


PRESETS: Mapping[str, Recipe] = {"paper": Recipe(), "cpu": Recipe(loop=loop(40))}


def table(task):
    x = torch.tensor([[float(len(item.media["text"]))] for item in task.items])
    return x, torch.tensor([[float(item.meta["price"])] for item in task.items])


def train(learn, validation, out: Path, *, recipe: Recipe) -> Outcome:
    """Learns from texts with a column price."""
    torch.manual_seed(0)
    model, (x, y), taken = nn.Linear(1, 1), table(learn), []
    held = table(validation or learn)
    write_recipe(out, recipe)

    def loss(network, batch):
        taken.append(1)
        if len(taken) == abs(recipe.stop or 0):  # a scheduler's SIGTERM is written as a negative one
            signal.raise_signal(signal.SIGINT if recipe.stop > 0 else signal.SIGTERM)
        return {"loss": (network(batch[0]) - batch[1]).square().mean()}

    outcome = fit(model, loss, fetch=lambda rows, rng: (x[rows], y[rows]), count=len(x), out=out, loop=recipe.loop,
                  validate=lambda network: {"fit": -(network(held[0]) - held[1]).square().mean().item()})
    (out / "model").mkdir(exist_ok=True)
    save_file(model.state_dict(), out / "model/model.safetensors")
    return outcome
'''


@pytest.fixture
def lengths(lab, tmp_path):
    """The model lab.lengths, and a manifest whose price is twice the length of the text plus one."""
    (lab / "lengths").mkdir()
    (lab / "lengths/__init__.py").write_text(MODEL)
    (lab / "lengths/train.py").write_text(TRAIN)
    path = tmp_path / "texts.csv"
    path.write_text("id,text,price\n" + "".join(f"{n},{'x' * (n % 5 + 1)},{2 * (n % 5) + 3}\n" for n in range(60)))
    return path


def call(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=True)


def run(*arguments):
    done = call(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def refused(*arguments):
    done = call(*arguments)
    assert isinstance(done.exception, BadSpec), done.output
    return str(done.exception)


def test_a_model_of_somebody_elses_is_trained_end_to_end(lengths, tmp_path):
    done = run("lab.lengths", "--data", lengths, "--out", tmp_path / "run", "steps=300", "preset=cpu")
    assert "training on 5" in done.stdout and "split by a hash of the id" in done.stdout
    assert "step 300/300  loss " in done.stdout and "best state: step 300, fit -" in done.stdout
    place = tmp_path / "run/model"
    assert done.stdout.splitlines()[-1] == (
        f'use it: quiver add COLLECTION FILES --encoder "lab.lengths checkpoint={place}"'
    )
    from safetensors.numpy import load_file

    weights = load_file(place / "model.safetensors")
    assert weights["weight"].item() == pytest.approx(2, abs=0.05)
    assert weights["bias"].item() == pytest.approx(1, abs=0.2)
    recipe = json.loads((tmp_path / "run/recipe.json").read_text())
    assert recipe["data"] == [str(lengths)] and recipe["recipe"]["loop"]["steps"] == 300


def test_json_is_alone_on_stdout(lengths, tmp_path):
    done = run("lab.lengths", "--data", lengths, "--out", tmp_path / "run", "--json", "--preset", "cpu")
    found = json.loads(done.stdout)
    assert found["step"] == found["best"] == 40 and found["encoder"].startswith("lab.lengths checkpoint=")
    assert "step 40/40" in done.stderr


def test_the_same_command_goes_on_and_other_settings_are_refused_but_for_fresh(lengths, tmp_path):
    command = ["lab.lengths", "--data", lengths, "--out", tmp_path / "run"]
    run(*command, "steps=20")
    assert "resuming from step 20" in run(*command, "steps=30").stdout
    assert "was started with loop.rate=0.3, not 0.1" in refused(*command, "steps=30", "loop.rate=0.1")
    assert "was started with loop.steps=30, not 29" in refused(*command, "steps=29")
    fresh = run(*command, "steps=30", "learning_rate=0.1", "--fresh").stdout
    assert "resuming" not in fresh and "30 steps" in fresh
    other = tmp_path / "other.csv"
    other.write_text(lengths.read_text())
    assert "--data=" in refused("lab.lengths", "--data", other, *command[3:], "steps=30", "loop.rate=0.1")


@pytest.mark.parametrize(("stop", "status", "name"), [(7, 130, "SIGINT"), (-7, 143, "SIGTERM")])
def test_ctrl_c_and_a_schedulers_signal_say_that_the_same_command_goes_on(lengths, tmp_path, lab, stop, status, name):
    command = [sys.executable, "-m", "quiver", "train", "lab.lengths", "--data", lengths, "--out"]
    done = subprocess.run(
        [*command, tmp_path / "run", f"stop={stop}"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(lab.parent), "OMP_NUM_THREADS": "1", "PATH": ""},
        check=False,
    )
    assert done.returncode == status and "Traceback" not in done.stderr
    assert "the same command resumes" in done.stderr
    assert f"stopped by {name} after step 7" in done.stdout
    states = list((tmp_path / "run/resume/main").iterdir())
    assert [each.name for each in states] == ["step-00000007-00000000"]


def test_the_recipe_is_listed_by_groups_with_types_presets_and_one_line_each(lengths):
    lines = [line.split("\t") for line in run("lab.lengths", "--recipe").stdout.splitlines()]
    assert lines[0] == ["setting", "type", "paper", "cpu", "meaning"]
    assert lines[1] == ["stop", "whole number or none", "none", "none", "the step at which somebody presses Ctrl-C."]
    assert lines[2] == ["model", "group", "", "", "The line."]
    assert lines[3] == ["model.start", "number", "0.0", "0.0", "its first slope and height."]
    assert ["loop", "group", "", "", "Optimisation."] in lines
    assert [line[:4] for line in lines if line[0] == "loop.steps"] == [["loop.steps", "whole number", "60", "40"]]
    assert [line[1] for line in lines if line[0] == "loop.schedule"] == ["cosine|constant|halve"]
    found = json.loads(run("lab.lengths", "--recipe", "--json").stdout)
    assert [group["name"] for group in found["groups"]] == ["model", "loop"]
    assert found["fields"][1]["name"] == "model.start" and found["presets"]["cpu"]["loop.steps"] == 40


@pytest.mark.parametrize("model", ["artemis", "fashionbert", "mmv", "two_tower"])
def test_every_setting_of_every_model_has_a_line(model):
    found = json.loads(run(model, "--recipe", "--json").stdout)
    assert {"model", "loop", "data"} <= {group["name"] for group in found["groups"]}
    assert [each["name"] for each in [*found["groups"], *found["fields"]] if not each["says"]] == []
    assert [each["name"] for each in found["fields"] if "class" in each["kind"]] == []
    assert found["presets"].keys() >= {"paper", "cpu"}


def test_missing_and_unknown_settings_are_explained(lengths, tmp_path):
    assert "needs --data SPEC (Learns from texts with a column price.): give --data" in refused("lab.lengths")
    assert "needs --out DIR" in refused("lab.lengths", "--data", lengths)
    whole = ["lab.lengths", "--data", lengths, "--out", tmp_path / "run"]
    assert "has no setting 'depth'; `quiver train lab.lengths --recipe` lists them" in refused(*whole, "depth=3")
    assert "has no setting 'stpes': did you mean loop.steps?" in refused(*whole, "stpes=3")
    assert "has no setting 'loop.sched': did you mean loop.schedule?" in refused(*whole, "loop.sched=halve")
    says = "model.rate (of nothing, as another group has that name too) or loop.rate (peak learning rate): give the"
    assert says in refused(*whole, "rate=3")
    assert "loop.steps is given twice" in refused(*whole, "steps=3", "loop.steps=4")
    assert "has no preset 'huge'; its presets are paper, cpu" in refused(*whole, "preset=huge")
    assert "loop.steps must be a whole number, not 'many'" in refused(*whole, "steps=many")
    assert not (tmp_path / "run").exists()


def test_to_give_epochs_is_to_give_no_steps(lengths, tmp_path):
    run("lab.lengths", "--data", lengths, "--out", tmp_path / "run", "epochs=2")
    loop = json.loads((tmp_path / "run/recipe.json").read_text())["recipe"]["loop"]
    assert (loop["steps"], loop["epochs"]) == (0, 2.0)


def test_a_model_that_cannot_be_trained_is_refused_with_those_that_can(lab):
    (lab / "still.py").touch()
    for name in ("timm", "classic", "lab.still"):
        assert f"{name} cannot be trained; trainable models: " in refused(name)


@pytest.mark.parametrize(
    ("model", "quick", "column"),
    [
        ("two_tower", ["steps=2", "dim=8", "batch=8"], "--text name"),
        ("artemis", ["image=classic", "epochs=1", "dim=8", "hidden=0", "warmup=0"], "edits=colour"),
    ],
)
def test_data_without_questions_is_answered_by_a_command_that_works(photos, prices, tmp_path, model, quick, column):
    said = str(call(model, "--data", photos, "--meta", prices, "--out", tmp_path / "a", *quick).exception)
    assert f"--meta {prices}" in said and column in said, said
    _, command = said.split("Try: quiver train ")
    assert all(setting in shlex.split(command) for setting in quick)
    assert "use it: quiver add" in run(*shlex.split(command)).stdout


def test_train_and_add_take_the_same_columns(photos, tmp_path):
    rows = [f"{path.name},a {path.stem[:-1]} thing" for path in sorted(photos.iterdir())]
    (photos / "shop.csv").write_text("\n".join(["the photo,product name", *rows]) + "\n")
    columns = [photos / "shop.csv", "--text", "product name", "--image", "the photo"]
    done = run("two_tower", "--data", *columns, "--out", tmp_path / "run", "steps=2", "dim=8")
    assert "training on 23 items and 23 questions" in done.stdout
    added = CliRunner().invoke(app, ["add", str(tmp_path / "shop"), *map(str, columns), "--encoder", "classic"])
    assert added.exit_code == 0 and added.stdout.startswith("24 added"), added.output
