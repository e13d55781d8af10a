import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from quiver.cli import app, main

SHOP = '''
"""A shop of twelve pictures."""

from pathlib import Path

from quiver.task import Question, Task
from quiver.types import Item, Query


def load(*, folder: Path, split: str = "test") -> Task:
    paths = sorted(folder.glob("*.png"))[::2]
    items = [Item(path.stem, {"image": str(path)}) for path in paths]
    questions = [
        Question(i.id, Query(dict(i.media), target="image"),
                 {o.id: 1 for o in items if o.id != i.id and o.id[:-1] == i.id[:-1]}, (i.id,))
        for i in items
    ]
    return Task(f"lab.shop split={split}", "77", items, questions, ("Success@1", "AP@5"), "image", "alike", "made")
'''


@pytest.fixture
def shop(lab, photos):
    (lab / "shop.py").write_text(SHOP)
    return f"lab.shop folder={photos}"


def run(*arguments):
    done = CliRunner().invoke(app, ["bench", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_one_command_writes_everything(shop, tmp_path):
    out = {name: tmp_path / f"a.{name}" for name in ("json", "html", "markdown")}
    folders = ["--trec", tmp_path / "trec", "--plots", tmp_path / "plots", "--work", tmp_path / "work"]
    files = [each for name, path in out.items() for each in (f"--{name}", path)]
    done = run("recall", shop, "--encoder", "classic", *files, *folders)
    rows = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    assert [row[0] for row in rows] == ["system", "classic", "random"]
    report = json.loads(out["json"].read_text())
    assert report["headline"] == "Success@1" and report["dataset"]["questions"] == 12
    assert sorted(path.name for path in (tmp_path / "trec").iterdir()) == ["classic.run", "qrels.txt"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["depth.svg", "latency.svg"]  # no loss
    assert out["markdown"].read_text().startswith("| system |") and "<figure" in out["html"].read_text()
    same = run("compare", out["json"], out["json"], "--json")
    assert json.loads(same.stdout)["questions"] == 12


def test_json_to_standard_output_is_json_alone_and_a_pipe_is_quiet(shop, lab, tmp_path):
    command = [
        sys.executable,
        "-m",
        "quiver",
        "bench",
        "recall",
        shop,
        "--encoder",
        "classic",
        "--json",
        "-",
    ]
    done = subprocess.run(
        [*command, "--work", tmp_path / "work", "--no-baselines", "--measure", "RR"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(lab.parent)},
    )
    assert done.stderr == ""
    assert list(json.loads(done.stdout)["systems"][0]["figures"]) == ["RR"]


def test_the_list_says_what_each_data_set_is_and_whether_it_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("QUIVER_DATA", str(tmp_path))
    (tmp_path / "annotations" / "cirr").mkdir(parents=True)
    found = {each["name"]: each for each in json.loads(run("list", "--json").stdout)}
    assert found["cirr"]["here"] is True and found["fashion_iq"]["here"] is False
    assert found["world"]["here"] is None
    assert all(each["says"].strip() for each in found.values())
    assert "record" not in found and "_place" not in found


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["recall", "esc51", "--encoder", "classic"], "did you mean esc50?"),
        (["recall", "{shop}"], "give --encoder"),
        (["recall", "{shop} speed=9", "--encoder", "classic"], "has no option 'speed'"),
        (["recall", "{shop}", "--encoder", "classik"], "did you mean classic?"),
        (["recall", "{shop}", "--encoder", "classic", "--plan", "none.toml"], "none.toml"),
        (["recall", "{shop}", "--encoder", "classic", "--measure", "Recall@5"], "say R@5"),
        (["recall", "sift100k", "--encoder", "classic"], "it takes no encoder"),
        (["compare", "none.json", "none.json"], "cannot read a benchmark from none.json"),
    ],
)
def test_what_a_user_can_put_right_is_one_line(shop, arguments, problem, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["quiver", "bench", *(each.format(shop=shop) for each in arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("quiver: ") and problem in line
